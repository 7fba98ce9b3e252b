# case: {"args": ["unguarded"], "out": "True True True True True\n", "exit": 0, "children": [{"out": "True True True True True\n", "exit": 0}], "fresh": true}
# case: {"args": ["guarded"], "out": "True True True True True\n", "exit": 0, "children": [{"out": "True True True True True\n", "exit": 0}]}
"""A class of the script is the same class in every process, and a member of an Enum the same one."""

import dataclasses
import enum
import sys

from constellation import Receiver, Sender, init, spawn


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = 2

    class Inner:
        pass


class Color(enum.Enum):
    RED = "red"


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


BOTH = Access.READ | Access.WRITE


def check(values):
    point, color, access, inner, kind = values
    print(
        isinstance(point, Point) and point == Point(1) and hash(point) == hash(Point(1)),
        color is Color.RED,
        access == BOTH and isinstance(access, Access),
        isinstance(inner, Point.Inner),
        kind is Point,
    )


def child(parent):
    values = Receiver(parent).recv().block()
    check(values)
    Sender(parent).send(values).block()


def main():
    init()
    pid = spawn(child).block()
    Sender(pid).send((Point(1), Color.RED, BOTH, Point.Inner(), Point)).block()
    check(Receiver(pid).recv().block())


if sys.argv[1] == "unguarded" or __name__ == "__main__":
    main()
