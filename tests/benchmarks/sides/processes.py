"""Processes of ours: how fast they start, and what they weigh."""

from __future__ import annotations

import os
import statistics
import time

from serve import serve

from constellation import (
    ChannelClosed,
    Pid,
    ProcessExited,
    Receiver,
    Resources,
    Sender,
    init,
    join,
    spawn,
)

SMALL = Resources(mem="20 MiB", cpu=0.001)
AT_ONCE = 50  # how many of the thousand start together


def reply(parent: Pid) -> None:
    Sender[int](parent).send(1).block()


def one_by_one(count: int) -> float:
    """Milliseconds from the spawn to the first value, median; each ends before the next starts."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        child = spawn(reply, resources=SMALL).block()
        Receiver[int](child).recv().block()
        times.append(time.perf_counter() - start)
        await_end(child)
    return statistics.median(times) * 1e3


def at_once(count: int) -> float:
    """Processes a second, from the first spawn to the last reply."""
    start = time.perf_counter()
    children = join(*[spawn(reply, resources=SMALL) for _ in range(count)]).block()
    join(*[Receiver[int](child).recv() for child in children]).block()
    rate = count / (time.perf_counter() - start)
    for child in children:
        await_end(child)
    return rate


def fibonacci(n: int) -> int:
    if n <= 1:
        return n
    left = spawn(add, n - 1, resources=SMALL).block()
    right = spawn(add, n - 2, resources=SMALL).block()
    return Receiver[int](left).recv().block() + Receiver[int](right).recv().block()


def add(parent: Pid, n: int) -> None:
    Sender[int](parent).send(fibonacci(n)).block()


def recursion(n: int) -> float:
    """Seconds that fibonacci(n) takes."""
    start = time.perf_counter()
    fibonacci(n)
    return time.perf_counter() - start


class Idlers:
    """Processes that have exchanged a message with the first, and then wait."""

    def __init__(self) -> None:
        self._pids: list[Pid] = []

    def start(self, count: int) -> list[tuple[int, int]]:
        """Gives the ids that the system knows each of them and its monitor by."""
        for first in range(0, count, AT_ONCE):
            spawns = [spawn(idle, resources=SMALL) for _ in range(min(AT_ONCE, count - first))]
            self._pids += join(*spawns).block()
        receivers = [Receiver[tuple[int, int]](pid) for pid in self._pids]
        return join(*[receiver.recv() for receiver in receivers]).block()

    def end(self) -> int:
        """Gives how many ended as they should."""
        senders = [Sender[None](pid) for pid in self._pids]
        join(*[sender.send(None) for sender in senders]).block()
        good = sum(await_end(pid) for pid in self._pids)
        self._pids = []
        return good


def idle(parent: Pid) -> None:
    Sender[tuple[int, int]](parent).send((os.getpid(), os.getppid())).block()
    Receiver[None](parent).recv().block()


def await_end(pid: Pid) -> bool:
    """Wait until a process is known to have ended. Gives whether it succeeded."""
    while True:
        try:
            Receiver[object](pid).recv().block()
        except ChannelClosed:
            continue  # as it left
        except ProcessExited as exited:
            return exited.status is not None and exited.status.success


def main() -> None:
    init()
    idlers = Idlers()
    serve(
        {
            "one_by_one": one_by_one,
            "at_once": at_once,
            "recursion": recursion,
            "start": idlers.start,
            "end": idlers.end,
        }
    )


if __name__ == "__main__":
    main()
