# case: {"stdin": "one\ntwo", "out": "'one\\n'\n'two'\n''\n", "exit": 0, "fresh": true}
# case: {"stdin": "", "out": "''\n''\n''\n", "exit": 0}
import sys

from constellation import init

init()
for _ in range(3):
    print(repr(sys.stdin.readline()))
