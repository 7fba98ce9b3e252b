"""The same with multiprocessing."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection


def reply(parent: Connection) -> None:
    parent.send(1)


def one_by_one(count: int) -> float:
    """Milliseconds from the start to the first value, median."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        near, far = multiprocessing.Pipe()
        child = multiprocessing.Process(target=reply, args=(far,))
        child.start()
        near.recv()
        times.append(time.perf_counter() - start)
        child.join()
        near.close()
        far.close()
    return statistics.median(times) * 1e3


def at_once(count: int) -> float:
    """Processes a second, from the first start to the last reply."""
    start = time.perf_counter()
    pipes = [multiprocessing.Pipe() for _ in range(count)]
    children = [multiprocessing.Process(target=reply, args=(far,)) for _, far in pipes]
    for child in children:
        child.start()
    for near, _ in pipes:
        near.recv()
    rate = count / (time.perf_counter() - start)
    for child in children:
        child.join()
    return rate


def fibonacci(n: int) -> int:
    if n <= 1:
        return n
    ends, children = [], []
    for smaller in (n - 1, n - 2):
        near, far = multiprocessing.Pipe()
        child = multiprocessing.Process(target=add, args=(far, smaller))
        child.start()
        far.close()
        ends.append(near)
        children.append(child)
    total: int = sum(near.recv() for near in ends)
    for child in children:
        child.join()
    return total


def add(parent: Connection, n: int) -> None:
    parent.send(fibonacci(n))


def recursion(n: int) -> float:
    """Seconds that fibonacci(n) takes."""
    start = time.perf_counter()
    fibonacci(n)
    return time.perf_counter() - start


class Idlers:
    """Processes that have sent a message, and then wait."""

    def __init__(self) -> None:
        self._children: list[tuple[multiprocessing.Process, Connection]] = []

    def start(self, count: int) -> list[int]:
        for _ in range(count):
            near, far = multiprocessing.Pipe()
            child = multiprocessing.Process(target=idle, args=(far,))
            child.start()
            self._children.append((child, near))
        return [near.recv() for _, near in self._children]

    def end(self) -> int:
        for _, near in self._children:
            near.send(None)
        for child, _ in self._children:
            child.join()
        return sum(child.exitcode == 0 for child, _ in self._children)


def idle(parent: Connection) -> None:
    parent.send(os.getpid())
    parent.recv()
