# case: {"args": ["SIGABRT"], "exit": "SIGABRT", "code": 134}
# case: {"args": ["SIGSEGV"], "exit": "SIGSEGV", "code": 139}
# case: {"args": ["SIGKILL"], "exit": "SIGKILL", "code": 137}
# case: {"args": ["SIGTERM"], "exit": "SIGTERM", "code": 143}
# case: {"args": ["SIGTERM", "caught"], "out": "caught\n", "exit": 0, "code": 0, "fresh": true}
import os
import signal
import sys

from constellation import init

init()
number = getattr(signal, sys.argv[1])
if "caught" in sys.argv:
    signal.signal(number, lambda *_: (print("caught"), sys.exit(0)))
os.kill(os.getpid(), number)
