"""A pool of workers that take work as they become free.

`select` waits for whichever worker answers first. Run it with
`python examples/process_pool.py [WORKERS] [--tasks TASKS]`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from constellation import Pid, Receiver, Sender, init, join, select, spawn

Call = tuple[int, Callable[[Any], Any], Any]
Answer = tuple[int, Any]


def work(parent: Pid) -> None:
    answers = Sender[Answer](parent)
    for index, function, argument in Receiver[Call](parent):
        answers.send((index, function(argument))).block()


class Pool:
    """Processes that call functions."""

    def __init__(self, size: int) -> None:
        pids = join(*[spawn(work) for _ in range(size)]).block()
        self._calls = [Sender[Call](pid) for pid in pids]
        self._answers = [Receiver[Answer](pid) for pid in pids]

    def map(self, function: Callable[[Any], Any], arguments: Iterable[Any]) -> Iterator[Answer]:
        """Each result with the index of its argument, in the order in which they are ready."""
        calls = ((index, function, argument) for index, argument in enumerate(arguments))
        busy = []
        for worker, first_call in zip(range(len(self._calls)), calls, strict=False):
            self._calls[worker].send(first_call).block()
            busy.append(worker)
        while busy:
            first, answer = select(*[self._answers[worker].recv() for worker in busy]).block()
            worker = busy.pop(first)
            call = next(calls, None)
            if call is not None:
                self._calls[worker].send(call).block()
                busy.append(worker)
            yield answer

    def close(self) -> None:
        """Let the workers end: their Receivers come to the end of what was sent."""
        for sender in self._calls:
            sender.close()


def is_prime(n: int) -> bool:
    return n > 1 and all(n % divisor for divisor in range(2, int(n**0.5) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description="Count primes with a pool of processes.")
    parser.add_argument("workers", type=int, nargs="?", default=4, help="how many (default: 4)")
    parser.add_argument("--tasks", type=int, default=1000, help="how many (default: 1000)")
    arguments = parser.parse_args()
    if arguments.workers < 1:
        parser.error("there has to be a worker")
    init()
    pool = Pool(arguments.workers)
    primes = sum(prime for _, prime in pool.map(is_prime, range(arguments.tasks)))
    pool.close()
    print(f"{primes} of the numbers below {arguments.tasks} are prime")


if __name__ == "__main__":
    main()
