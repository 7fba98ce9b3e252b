# case: {"out": "atexit\nfrom C\n", "exit": 0, "fresh": true}
"""What is left in buffers is written: of files and of C; what was before `init()` is not repeated."""

import atexit
import ctypes
import os
import tempfile

from constellation import init

path = tempfile.mktemp()
file = open(path, "w")
file.write("before, ")


def check():
    with open(path) as again:
        assert again.read() == "before, ", "what was before is written by then"
    os.unlink(path)
    print("atexit")


init()
file.write("after")
atexit.register(check)
ctypes.CDLL(None).printf(b"from C\n")
