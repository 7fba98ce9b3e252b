from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping
from itertools import chain, combinations

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from scheduling import amount

from constellation_daemons.master.stuck import find_stuck, rooms
from constellation_daemons.master.values import NOTHING, Amount, RequestId
from constellation_daemons.master.waits import AllOf, AnyOf, Blocked, Room, Values, Wait, Window

PIDS = ["p1", "p2", "p3", "p4", "p5", "p6"]
NODES = ["n1", "n2"]
SMALL = st.integers(0, 3)


def spawn(mem: int, cores: int = 0, order: int = 1) -> Room:
    return Room(RequestId("a", order), amount(mem, cores), order)


def blocked(
    pid: str, *threads: Wait, node: str = "n1", mem: int = 1, received: bool = True
) -> Blocked:
    return Blocked(pid, node, amount(mem), threads, received, 0)


# -- the definition, word for word


def completed_from_outside(
    wait: Wait,
    inside: frozenset[str],
    reports: Mapping[str, Blocked],
    capacities: Mapping[str, Amount],
) -> bool:
    match wait:
        case Values(pid=pid) | Window(pid=pid):
            return pid not in inside
        case Room(need=need):
            for node, capacity in capacities.items():
                for pid in inside:
                    if reports[pid].node == node:
                        capacity = capacity.minus(reports[pid].room)  # noqa: PLW2901
                if need.fits(capacity):
                    return True
            return False
        case AnyOf(waits=parts):
            return any(completed_from_outside(part, inside, reports, capacities) for part in parts)
        case AllOf(waits=parts):
            return all(completed_from_outside(part, inside, reports, capacities) for part in parts)


def is_stuck(
    inside: frozenset[str], reports: Mapping[str, Blocked], capacities: Mapping[str, Amount]
) -> bool:
    return all(
        reports[pid].received
        and not any(
            completed_from_outside(thread, inside, reports, capacities)
            for thread in reports[pid].threads
        )
        for pid in inside
    )


def subsets(pids: list[str]) -> Iterator[frozenset[str]]:
    every = chain.from_iterable(combinations(pids, size) for size in range(len(pids) + 1))
    return (frozenset(chosen) for chosen in every)


def leaf_waits() -> st.SearchStrategy[Wait]:
    amounts = st.builds(Amount, SMALL, SMALL)
    return st.one_of(
        st.builds(Room, st.just(RequestId("a", 1)), amounts, st.just(1)),
        st.builds(Values, st.sampled_from([*PIDS, "stranger"])),
        st.builds(Window, st.sampled_from(PIDS)),
    )


def waits() -> st.SearchStrategy[Wait]:
    return st.recursive(
        leaf_waits(),
        lambda parts: st.one_of(
            st.builds(AnyOf, st.lists(parts, max_size=3).map(tuple)),
            st.builds(AllOf, st.lists(parts, max_size=3).map(tuple)),
        ),
        max_leaves=4,
    )


@st.composite
def systems(draw: st.DrawFn) -> tuple[dict[str, Blocked], dict[str, Amount]]:
    reports = {
        pid: Blocked(
            pid,
            draw(st.sampled_from([*NODES, "lost"])),
            draw(st.builds(Amount, SMALL, SMALL)),
            tuple(draw(st.lists(waits(), min_size=1, max_size=2))),
            draw(st.integers(0, 9)) > 0,
            0,
        )
        for pid in draw(st.sets(st.sampled_from(PIDS)))
    }
    capacities = {node: Amount(draw(st.integers(0, 8)), draw(st.integers(0, 8))) for node in NODES}
    return reports, capacities


@given(systems())
def test_it_is_the_largest_set_of_the_definition(
    system: tuple[dict[str, Blocked], dict[str, Amount]],
) -> None:
    reports, capacities = system
    stuck_ones = [each for each in subsets(list(reports)) if is_stuck(each, reports, capacities)]
    largest: frozenset[str] = frozenset().union(*stuck_ones)
    found = find_stuck(reports.values(), capacities)
    event(f"{len(found)} of {len(reports)} stuck")
    assert frozenset(found) == largest
    assert largest in stuck_ones  # so there is one that is largest
    assert all(found[pid] is reports[pid] for pid in found)


# -- by example


CAPACITY = {"n1": amount(4)}


def test_parents_that_hold_all_room_and_wait_for_more_are_stuck() -> None:
    parents = [blocked(pid, spawn(1)) for pid in PIDS[:4]]
    assert set(find_stuck(parents, CAPACITY)) == set(PIDS[:4])


def test_one_that_computes_may_end_and_make_room() -> None:
    parents = [blocked(pid, spawn(1)) for pid in PIDS[:3]]  # the fourth reports nothing
    assert not find_stuck(parents, CAPACITY)


def test_room_that_would_not_be_enough_helps_nobody() -> None:
    parents = [blocked(pid, spawn(2)) for pid in PIDS[:3]]
    assert len(find_stuck(parents, CAPACITY)) == 3


def test_a_node_too_small_for_it_helps_nobody() -> None:
    parents = [blocked(pid, spawn(2)) for pid in PIDS[:4]]
    assert len(find_stuck(parents, {**CAPACITY, "n2": amount(1)})) == 4
    assert not find_stuck(parents, {**CAPACITY, "n2": amount(2)})


def test_who_waits_for_a_stuck_one_is_stuck_and_holds_its_room() -> None:
    reports = [
        *(blocked(pid, spawn(1)) for pid in PIDS[:2]),
        blocked("p3", Values("p1")),
        blocked("p4", Window("p3")),
    ]
    assert len(find_stuck(reports, CAPACITY)) == 4


def test_what_is_on_its_way_may_free_anybody() -> None:
    reports = [blocked(pid, spawn(1)) for pid in PIDS[:3]]
    assert not find_stuck([*reports, blocked("p4", spawn(1), received=False)], CAPACITY)


@pytest.mark.parametrize(
    ("wait", "stuck"),
    [
        (AnyOf((spawn(1), Values("stranger"))), False),
        (AnyOf((spawn(1), Values("p2"))), True),
        (AllOf((spawn(1), Values("stranger"))), True),
        (AllOf((Values("stranger"),)), False),
        (AnyOf((AllOf((spawn(1), Values("stranger"))), Values("p3"))), True),
    ],
)
def test_a_select_needs_one_and_a_join_needs_all(wait: Wait, stuck: bool) -> None:
    reports = [blocked("p1", wait), *(blocked(pid, spawn(1)) for pid in PIDS[1:4])]
    assert bool(find_stuck(reports, CAPACITY)) is stuck


def test_one_thread_that_goes_on_is_enough() -> None:
    others = [blocked(pid, spawn(1)) for pid in PIDS[1:4]]
    assert find_stuck([blocked("p1", spawn(1), Values("p2")), *others], CAPACITY)
    assert not find_stuck([blocked("p1", spawn(1), Values("stranger")), *others], CAPACITY)


def test_processes_of_channels_only_are_stuck_without_a_spawn() -> None:
    found = find_stuck([blocked("p1", Values("p2")), blocked("p2", Values("p1"))], CAPACITY)
    assert set(found) == {"p1", "p2"}
    assert not [room for report in found.values() for room in rooms(report)]


def test_nothing_is_stuck_where_nothing_is_blocked() -> None:
    assert find_stuck([], CAPACITY) == {}
    assert NOTHING.fits(CAPACITY["n1"])


def test_the_cost_is_that_of_reading_the_reports() -> None:
    # A chain in which each frees the next: the worst order of looking would be quadratic.
    def steps(count: int) -> int:
        reports = [
            Blocked(
                f"p{number}",
                "n1",
                Amount(1, 0),
                (spawn(number) if number % 2 else Values(f"p{number + 1}"),),
                True,
                0,
            )
            for number in range(count)
        ]
        random.Random(1).shuffle(reports)
        lines = 0

        def trace(frame: object, what: str, argument: object) -> object:
            nonlocal lines
            lines += what == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)  # type: ignore[arg-type]
        try:
            assert not find_stuck(reports, {"n1": Amount(count + 1, 0)})
        finally:
            sys.settrace(before)
        return lines

    assert steps(1000) < 10 * 2 * steps(100)
