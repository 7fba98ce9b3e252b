from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scheduling import CORE, Cluster, amount

from constellation_daemons.master.events import Exited, Requested
from constellation_daemons.master.jobs import Job
from constellation_daemons.master.scheduler import Scheduler
from constellation_daemons.master.values import Amount, RequestId
from constellation_daemons.master.waiting import Line


def job(order: int, need: Amount) -> Job:
    return Job(RequestId("a", order), "p", need, True, order, 0.0)


def test_each_size_is_a_line_and_the_largest_that_fits_is_found() -> None:
    line = Line()
    for order, need in enumerate([(2, 2), (8, 1), (4, 4), (4, 2), (2, 2)], 1):
        line.add(job(order, amount(*need)), 0.0)
    line.validate()
    found = [
        line.largest(mem, int(cores * CORE)) for mem, cores in [(9, 9), (9, 0.5), (7, 9), (7, 3)]
    ]
    assert [size and size.need for size in found] == [
        amount(8, 1),
        None,
        amount(4, 4),
        amount(4, 2),
    ]


@given(st.permutations(range(8)), st.lists(st.integers(0, 7), unique=True))
def test_whoever_comes_back_goes_to_the_old_place(orders: list[int], back: list[int]) -> None:
    line = Line()
    jobs = {order: job(order, amount(1)) for order in range(8)}
    for order in orders:
        line.add(jobs[order], 0.0)
    for order in back:
        line.remove(jobs[order])
        line.add(jobs[order], 1.0)
    line.validate()
    assert [each.order for each in line.size(amount(1)).jobs.values()] == list(range(8))  # type: ignore[union-attr]


def test_who_was_renewed_last_expires_last() -> None:
    line = Line()
    jobs = [job(order, amount(order % 2 + 1)) for order in range(4)]
    for moment, each in enumerate(jobs):
        line.add(each, float(moment))
    line.renew(jobs[0], 4.0)
    assert line.deadline() == 11.0
    assert line.expired(10.9) == []
    assert line.expired(12.0) == [jobs[1], jobs[2]]
    assert line.expired(100.0) == [*jobs[1:], jobs[0]]


def lines_of(exits: int, waiting: int, kind: str) -> int:
    """How many lines run for exits while so many wait, of which each exit serves one or none."""
    cluster = Cluster()
    cluster.join("n", 10**6, 10**6)
    running = [cluster.ask(10, 10) for _ in range(exits)]
    for each in running:
        cluster.confirm(each)
        cluster.start(each)
    cluster.ask(10**6 - 10 * exits, 10**6 - 10 * exits)  # what is left is taken
    rng = random.Random(1)
    scheduler = cluster.scheduler
    for number in range(waiting):
        need = {
            "alike": amount(10, 10),
            "all different": amount(11 + number, 10),
            # Half of them have too much of one, and half of the other: the worst for any order.
            "opposed": amount(1, 100 + number) if number % 2 else amount(100 + number, 1),
            "random": amount(rng.randrange(100), rng.randrange(100)),
        }[kind]
        scheduler.handle(Requested(RequestId("b", number + 1), "p", need), cluster.now)
    lines = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        for each in running:
            end(scheduler, cluster, each)
    finally:
        sys.settrace(before)
    scheduler.validate()
    return lines


def end(scheduler: Scheduler, cluster: Cluster, request: RequestId) -> None:
    place = cluster.placed(request)
    scheduler.handle(Exited(place.node, 1, request, place.attempt), cluster.now)


@pytest.mark.parametrize("kind", ["alike", "all different", "opposed", "random"])
def test_ten_thousand_that_wait_do_not_make_an_exit_slow(kind: str) -> None:
    few, many = lines_of(20, 100, kind), lines_of(20, 10_000, kind)
    assert many <= 3 * few, (few, many)  # log 10,000 is twice log 100
