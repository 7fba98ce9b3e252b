"""Recursion over processes with `async` and `await`: both halves are spawned at once.

Run it with `python examples/fibonacci_asyncio.py [N]`.
"""

from __future__ import annotations

import argparse
import asyncio

from constellation import Pid, Receiver, Resources, Sender, init, spawn

SMALL = Resources(mem="20 MiB", cpu=0.01)


async def fibonacci(n: int) -> int:
    if n <= 1:
        return n
    left, right = await asyncio.gather(part(n - 1), part(n - 2))
    return left + right


async def part(n: int) -> int:
    pid = await spawn(child, n, resources=SMALL)
    return await Receiver[int](pid).recv()


async def child(parent: Pid, n: int) -> None:
    await Sender[int](parent).send(await fibonacci(n))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compute a Fibonacci number with processes.")
    parser.add_argument("n", type=int, nargs="?", default=5, help="which number (default: 5)")
    arguments = parser.parse_args()
    if arguments.n < 0:
        parser.error("N is at least 0")
    init(SMALL)
    print(asyncio.run(fibonacci(arguments.n)))


if __name__ == "__main__":
    main()
