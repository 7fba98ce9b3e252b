# case: {"err~": "Traceback .*KeyboardInterrupt", "exit": "SIGINT", "code": 130}
from constellation import init

init()
raise KeyboardInterrupt
