# case: {"out": "done\n", "exit": 0, "children": [{"out": "depth 3\n", "exit": 0, "children": [{"out": "depth 2\n", "exit": 0, "children": [{"out": "depth 1\n", "exit": 0}]}]}, {"out": "lambda [1, 2]\n", "exit": 0}, {"out": "method of 7\n", "exit": 0}, {"out": "partial 1 2 3\n", "exit": 0}, {"out": "hello, package\n", "exit": 0}, {"out": "hello, module\n", "exit": 0}, {"out": "late: captured\n", "exit": 0}, {"out": "later: late\n", "exit": 0}, {"out": "called 5\n", "exit": 0}, {"out": "coroutine\n", "exit": 0}, {"out": "rebound\n", "exit": 0}, {"out": "class method of Counter\n", "exit": 0}, {"out": "static\n", "exit": 0}], "fresh": true}
"""Whatever can be called can be spawned; there is no `if __name__ == "__main__"` here."""

import asyncio
import functools

import family
from family import greeting

from constellation import ProcessExited, Receiver, init, spawn


def wait(pid):
    try:
        Receiver(pid).recv().block()
    except ProcessExited as error:
        assert error.status.success


def run(*args, **kwargs):
    wait(spawn(*args, **kwargs).block())


def recursive(parent, depth):
    print("depth", depth)
    if depth > 1:
        run(recursive, depth - 1)


class Counter:
    def __init__(self, start):
        self.start = start

    def method(self, parent):
        print("method of", self.start)

    def __call__(self, parent):
        print("called", self.start)

    @classmethod
    def of_class(cls, parent):
        print("class method of", cls.__name__)

    @staticmethod
    def static(parent):
        print("static")


def three(a, parent, b, *, c):
    print("partial", a, b, c)


def first(parent):
    print("never bound again")


init()

run(recursive, 3)
numbers = [1, 2]
run(lambda parent: print("lambda", numbers))
run(Counter(7).method)
run(functools.partial(three, 1, c=3), 2)
run(family.greet, "package")
run(greeting.greet, "module")


def make(word):
    def late(parent):
        print("late:", word)

    return late


run(make("captured"))


def helper():
    return "late"


def later(parent):
    print("later:", helper())


run(later)
run(Counter(5))


async def coroutine(parent):
    await asyncio.sleep(0)
    print("coroutine")


run(coroutine)


def first(parent):  # noqa: F811 - that is what is tried
    print("rebound")


run(first)
run(Counter.of_class)
run(Counter.static)
print("done")
