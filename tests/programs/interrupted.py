# case: {"err~": "Traceback .*KeyboardInterrupt", "exit": "SIGINT", "code": 130, "fresh": true}
from constellation import init

init()
raise KeyboardInterrupt
