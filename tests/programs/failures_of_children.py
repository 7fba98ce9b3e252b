# case: {"exit": 0, "code": 101, "children": [{"exit": 1, "err~": "^Traceback [^\n]*\n  File [^\n]*failures_of_children.py\", line \\d+, in two\n.*Two: three\n$"}, {"exit": 1, "err~": "^Traceback [^\n]*\n.*Wordless: <exception str.. failed>\n$"}, {"exit": 1, "err~": "^TypeError: few\\(\\) takes 1 positional argument but 3 were given\nconstellation: spawn[^\n]* comes first\n$"}, {"exit": 1, "err~": "^Error in sys.excepthook:\n.*ZeroDivisionError.*\nOriginal exception was:\n.*ValueError: first\n$"}, {"exit": 1, "err~": "RecursionError: maximum recursion depth exceeded"}, {"exit": 1, "err~": "^Traceback [^\n]*\n  File \"[^\n]*failures_of_children.py\".*\n  File \"<string>\", line 1\n.*SyntaxError: "}, {"exit": "SIGINT", "err~": "^Traceback [^\n]*\n  File [^\n]*failures_of_children.py\", line \\d+, in interrupted\n.*KeyboardInterrupt\n$"}, {"exit": 1, "err~": "^Traceback .*in coroutine\n.*ValueError: awaited\n$"}, {"exit": 0, "err~": "^Exception in thread Thread-1 .*ZeroDivisionError"}, {"exit": 0, "out": "goodbye\n", "err~": "^Exception ignored in atexit callback.*ZeroDivisionError"}]}
"""A child that fails shows its own traceback, with no frame of the library in front of it."""

import atexit
import sys
import threading

from constellation import ProcessExited, Receiver, init, spawn


class Two(Exception):
    def __init__(self, one, two):
        super().__init__("three")


class Wordless(Exception):
    def __str__(self):
        raise ValueError("no words")


def two(parent):
    raise Two(1, 2)


def wordless(parent):
    raise Wordless


def few(parent):
    print("never called")


def hook(parent):
    sys.excepthook = lambda *_: 1 / 0
    raise ValueError("first")


def recursion(parent):
    recursion(parent)


def syntax(parent):
    exec("a b")


def interrupted(parent):
    raise KeyboardInterrupt


async def coroutine(parent):
    raise ValueError("awaited")


def in_thread(parent):
    threading.Thread(target=lambda: 1 / 0).start()


def at_exit(parent):
    atexit.register(print, "goodbye")
    atexit.register(lambda: 1 / 0)


def main():
    init()
    for start, *arguments in (
        (two,),
        (wordless,),
        (few, 1, 2),
        (hook,),
        (recursion,),
        (syntax,),
        (interrupted,),
        (coroutine,),
        (in_thread,),
        (at_exit,),
    ):
        try:
            Receiver(spawn(start, *arguments).block()).recv().block()
        except ProcessExited:
            pass


if __name__ == "__main__":
    main()
