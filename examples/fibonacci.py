"""Recursion over processes: each spawns two more, and adds what they send.

Run it with `python examples/fibonacci.py [N]`; fibonacci(5), the default, is 15 processes, and
fibonacci(10) is 177.
"""

from __future__ import annotations

import argparse

from constellation import Pid, Receiver, Resources, Sender, init, spawn

SMALL = Resources(mem="20 MiB", cpu=0.01)


def fibonacci(n: int) -> int:
    if n <= 1:
        return n
    left = spawn(child, n - 1, resources=SMALL).block()
    right = spawn(child, n - 2, resources=SMALL).block()
    return Receiver[int](left).recv().block() + Receiver[int](right).recv().block()


def child(parent: Pid, n: int) -> None:
    Sender[int](parent).send(fibonacci(n)).block()


def main() -> None:
    parser = argparse.ArgumentParser(description="Compute a Fibonacci number with processes.")
    parser.add_argument("n", type=int, nargs="?", default=5, help="which number (default: 5)")
    arguments = parser.parse_args()
    if arguments.n < 0:
        parser.error("N is at least 0")
    init(SMALL)
    print(fibonacci(arguments.n))


if __name__ == "__main__":
    main()
