# case: {"exit": 0, "code": 101, "out": "0\n1\n1\n44\n255\n255\n1\n7\n", "children": [{"exit": 0}, {"exit": 1, "err": "words\n"}, {"exit": 1}, {"exit": 44}, {"exit": 255}, {"exit": 255}, {"exit": 1, "err": "(1, 2)\n"}, {"exit": 7}]}
"""What `sys.exit` is given means in a spawned process what it means everywhere."""

import sys

from constellation import ProcessExited, Receiver, init, spawn


def child(parent, code):
    sys.exit(code)


def main():
    init()
    for code in (None, "words", True, 300, -1, 10**30, (1, 2), 7):
        try:
            Receiver(spawn(child, code).block()).recv().block()
        except ProcessExited as error:
            print(error.status.code)


if __name__ == "__main__":
    main()
