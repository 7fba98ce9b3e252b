"""How fast the master's scheduler places processes, on clusters of different sizes.

Run it with `python tests/benchmarks/scheduler.py`; it takes some minutes and 1.5 GB. No process is
started and nothing is sent: it is the scheduler alone, in one thread, and the times are those of
its processor, without what others take of it. A placement is all that the scheduler is told of one:
the request, the node's confirmation, the start. Nodes and needs are of many sizes, with hardly two
processes alike.

A larger cluster costs more for two reasons: there are more steps to take in the trees, and what is
touched is in slower memory. So the growth is given in time and in steps, which are lines of Python.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
import time
from collections.abc import Callable

import click
from harness import Target, shown

from constellation_daemons.master.events import Confirmed, Exited, NodeJoined, Requested, Started
from constellation_daemons.master.instructions import Place
from constellation_daemons.master.scheduler import Scheduler
from constellation_daemons.master.values import Amount, RequestId

GIB = 2**30
CORE = 10**9


class Load:
    """A cluster that is about 90 % full, and processes that come and go on it."""

    def __init__(self, nodes: int, processes: int) -> None:
        self.random = random.Random(nodes)
        self.scheduler = Scheduler(0.0)
        self.now = 0.0
        self.number = 0
        self.running: list[Place] = []
        each = processes / nodes / 0.9
        for number in range(nodes):
            share = (0.5, 1.0, 0.5, 2.0)[number % 4]
            capacity = Amount(int(share * each * GIB), int(share * each * CORE / 2))
            self.scheduler.handle(NodeJoined(f"10.0.0.0:{number}", 1, capacity), self.now)

    def needs(self, count: int) -> list[Amount]:
        """What so many processes need: 1 GiB and half a core on the average."""
        draw = self.random.randrange
        return [Amount(draw(2 * GIB), draw(CORE)) for _ in range(count)]

    def place(self, count: int) -> float:
        """Place so many more processes. Gives the seconds that it took."""
        needs = self.needs(count)
        handle = self.scheduler.handle
        begin = time.process_time()
        for need in needs:
            self.number += 1
            request = RequestId("bridge", self.number)
            told = handle(Requested(request, "program", need, True, self.number), self.now)
            place = told[-1]
            if not isinstance(place, Place):
                raise RuntimeError(f"there is no room for {need}: {place}")
            self.running.append(place)
            handle(Confirmed(place.node, 1, request, 1), self.now)
            handle(Started(place.node, 1, request, 1, f"{self.number:032x}"), self.now)
        return time.process_time() - begin

    def end(self, count: int) -> float:
        """End so many processes, whichever. Gives the seconds that it took."""
        for number in range(1, count + 1):
            other = self.random.randrange(len(self.running) - number + 1)
            running = self.running
            running[other], running[-number] = running[-number], running[other]
        ending = self.running[-count:]
        # In place: a new list of all would be looked through by each collection of the young.
        del self.running[-count:]
        handle = self.scheduler.handle
        begin = time.process_time()
        for place in ending:
            handle(Exited(place.node, 1, place.request, 1), self.now)
        return time.process_time() - begin


@click.command()
@click.option(
    "--nodes",
    default=10_000,
    type=click.IntRange(16),
    show_default=True,
    help="Nodes of the largest cluster.",
)
@click.option("--each", default=100, show_default=True, help="Processes on each node.")
@click.option("--moves", default=2000, show_default=True, help="Ends and placements of a round.")
@click.option("--rounds", default=20, show_default=True, help="Rounds on the full clusters.")
def main(nodes: int, each: int, moves: int, rounds: int) -> None:
    """Measure placements."""
    sizes = [max(8, nodes // 100), max(8, nodes // 10), nodes]
    loads = {size: Load(size, size * each) for size in sizes}
    filled = {size: load.place(size * each) for size, load in loads.items()}
    costs: dict[int, list[float]] = {size: [] for size in sizes}
    ends: dict[int, list[float]] = {size: [] for size in sizes}
    # By turns, so that what else the machine does disturbs all alike.
    for _ in range(rounds):
        for size, load in loads.items():
            count = min(moves, size * each)
            ends[size].append(load.end(count) / count)
            costs[size].append(load.place(count) / count)
    rate = Target(20_000, most=False)
    everything = nodes * each
    title = f"{nodes:,} nodes, {everything:,} processes"
    say(f"{title}, filled", everything / filled[nodes], "/s", rate)
    say(f"{title}, full", 1 / statistics.median(costs[nodes]), "/s", rate)
    end_cost = statistics.median(ends[nodes]) * 1e6
    print(f"{title}, an end: {shown(end_cost, 'µs')}; for information")
    for size in sizes:
        cost = statistics.median(costs[size]) * 1e6
        print(f"a placement on {size:,} nodes: {shown(cost, 'µs')}; for information")
    pairs = zip(costs[nodes], costs[sizes[0]], strict=True)
    times = statistics.median(large / small for large, small in pairs)
    work = {size: lines(lambda load=load: move(load, 100)) for size, load in loads.items()}
    limit = Target(math.log(nodes) / math.log(sizes[0]), most=True)
    title = f"growth from {sizes[0]:,} to {nodes:,} nodes"
    say(f"{title}, in time", times, "times", limit)
    say(f"{title}, in steps", work[nodes] / work[sizes[0]], "times", limit)


def move(load: Load, count: int) -> None:
    """End some processes, and place others."""
    count = min(count, len(load.running))
    load.end(count)
    load.place(count)


def lines(action: Callable[[], object]) -> int:
    """How many lines of Python run."""
    count = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        action()
    finally:
        sys.settrace(None)
    return count


def say(title: str, figure: float, unit: str, target: Target) -> None:
    """Print a line."""
    verdict = "met" if target.met(figure, figure) else "missed"
    print(f"{title}: {shown(figure, unit)}; target {target.describe(unit, '')}: {verdict}")


if __name__ == "__main__":
    main()
