"""A search that is split among processes, and joined at the end.

Each process hashes as many numbers as it can, and sends the lowest SHA-256 hash that it found. Run
it with `python examples/fork_join.py [PROCESSES] [--seconds SECONDS]`.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import time

from constellation import Pid, Receiver, Sender, init, join, spawn

Found = tuple[str, int, int]
"""A hash, the number that has it, and how many were tried."""


def search(parent: Pid, start: int, step: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    lowest, number, tried = "g", start, 0
    for candidate in itertools.count(start, step):
        digest = hashlib.sha256(str(candidate).encode()).hexdigest()
        tried += 1
        if digest < lowest:
            lowest, number = digest, candidate
        if tried % 1000 == 0 and time.monotonic() >= until:
            break
    Sender[Found](parent).send((lowest, number, tried)).block()


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the number with the lowest SHA-256 hash.")
    parser.add_argument("processes", type=int, nargs="?", default=4, help="how many (default: 4)")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long (default: 2)")
    arguments = parser.parse_args()
    if arguments.processes < 1:
        parser.error("there has to be a process")
    init()
    count = arguments.processes
    # Fork: all are asked for at once.
    starts = [spawn(search, start, count, arguments.seconds) for start in range(count)]
    receivers = [Receiver[Found](pid) for pid in join(*starts).block()]
    # Join: wait for what each found.
    found = join(*[receiver.recv() for receiver in receivers]).block()
    lowest, number, _ = min(found)
    print(f"{sum(tried for _, _, tried in found)} numbers tried by {count} processes")
    print(f"{number} has the lowest hash: {lowest}")


if __name__ == "__main__":
    main()
