# case: {"out": "before\n", "err~": "Traceback .*File .*uncaught.py.*in fail.*ValueError: so it is", "exit": 1, "code": 1}
from constellation import init


def fail():
    raise ValueError("so it is")


init()
print("before")
fail()
