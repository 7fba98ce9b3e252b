from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling import Cluster, amount, of

from constellation_daemons.master.events import (
    Event,
    Exited,
    NodeJoined,
    Renewed,
    Requested,
    Started,
)
from constellation_daemons.master.instructions import Place, Queue
from constellation_daemons.master.scheduler import Scheduler
from constellation_daemons.master.values import RequestId


def held(cluster: Cluster) -> list[str]:
    """The nodes that are held."""
    return [view.node for view in cluster.scheduler.snapshot().nodes if view.held_for is not None]


@pytest.fixture
def cluster() -> Cluster:
    """Two nodes of 4, full of ones; a request for 3 that waits."""
    cluster = Cluster()
    for name in ("n1", "n2"):
        cluster.join(name, 4)
    for _ in range(8):
        cluster.run(1)
    return cluster


def on(cluster: Cluster, node: str) -> list[RequestId]:
    """What runs on a node."""
    return [request for request, started in cluster.running.items() if started.node == node]


def wait_for_hold(cluster: Cluster) -> RequestId:
    large = cluster.ask(3)
    cluster.wait_renewing(10)
    assert held(cluster)
    return large


def test_after_ten_seconds_a_node_is_held(cluster: Cluster) -> None:
    cluster.ask(3)
    cluster.wait_renewing(9)
    assert held(cluster) == []
    cluster.wait_renewing(1)
    assert held(cluster) == ["n1"]
    (size,) = cluster.scheduler.snapshot().waiting
    assert size.reason == "waits for room; n1 is held for it"


def test_what_ends_on_a_held_node_is_kept_until_it_is_enough(cluster: Cluster) -> None:
    large = wait_for_hold(cluster)
    for request in on(cluster, "n1")[:3]:
        assert cluster.waits(large)
        cluster.end(request)
        small = cluster.ask(1, wait=False)
        assert cluster.where(small) is None
    assert cluster.where(large) == "n1"
    assert held(cluster) == []


def test_others_have_the_room_of_other_nodes(cluster: Cluster) -> None:
    large = wait_for_hold(cluster)
    cluster.end(on(cluster, "n2")[0])
    assert cluster.where(cluster.ask(1)) == "n2"
    assert cluster.waits(large)


def test_a_hold_is_over_when_the_request_is_placed_elsewhere(cluster: Cluster) -> None:
    large = wait_for_hold(cluster)
    cluster.end(on(cluster, "n1")[0])
    small = cluster.ask(1)
    assert cluster.waits(small)
    for request in on(cluster, "n2")[:3]:
        cluster.end(request)
        cluster.wait(0.1)
    assert cluster.where(large) == "n2" or cluster.where(small) == "n2"


def test_a_hold_is_over_when_nobody_wants_it(cluster: Cluster) -> None:
    large = wait_for_hold(cluster)
    cluster.end(on(cluster, "n1")[0])
    small = cluster.ask(1)
    cluster.cancel(large)
    assert cluster.where(small) == "n1"
    assert held(cluster) == []


def test_the_next_of_the_size_keeps_the_hold_if_it_has_waited_as_long(cluster: Cluster) -> None:
    large = cluster.ask(3)
    old, young = cluster.ask(3), None
    cluster.wait_renewing(9)
    young = cluster.ask(3)
    cluster.wait_renewing(1)
    cluster.cancel(large)
    assert held(cluster) == ["n1"]
    cluster.cancel(old)
    assert held(cluster) == []
    cluster.wait_renewing(9)
    assert held(cluster) == ["n1"]
    assert cluster.waits(young)


def test_a_hold_under_which_nothing_ends_lapses_and_moves(cluster: Cluster) -> None:
    wait_for_hold(cluster)
    cluster.end(on(cluster, "n1")[0])
    small = cluster.ask(1)
    cluster.wait_renewing(9)
    assert held(cluster) == ["n1"]
    assert cluster.waits(small)
    cluster.wait_renewing(1)
    assert held(cluster) == ["n2"]
    assert cluster.where(small) == "n1"


def test_it_does_not_lapse_while_something_ends(cluster: Cluster) -> None:
    large = wait_for_hold(cluster)
    cluster.wait_renewing(9)
    cluster.end(on(cluster, "n1")[0])
    cluster.wait_renewing(9)
    cluster.end(on(cluster, "n1")[0])
    cluster.wait_renewing(9)
    assert held(cluster) == ["n1"]
    cluster.end(on(cluster, "n1")[0])
    assert cluster.where(large) == "n1"


def test_where_it_cannot_move_the_room_is_anybodys_for_ten_seconds() -> None:
    cluster = Cluster()
    cluster.join("n", 4)
    for _ in range(3):
        cluster.run(1)
    cluster.ask(3)
    cluster.wait_renewing(10)
    small = cluster.ask(1)
    assert cluster.waits(small)
    cluster.wait_renewing(10)
    assert held(cluster) == []
    assert cluster.where(small) == "n"
    cluster.start(small)
    cluster.wait_renewing(10)
    assert held(cluster) == ["n"]


def test_the_node_that_lacks_least_is_held_first_and_the_others_have_their_turn() -> None:
    cluster = Cluster()
    for number in range(4):
        cluster.join(f"n{number}", 8)
        cluster.run(8 - number)
    cluster.join("small", 2)  # never large enough
    cluster.run(2)
    cluster.ask(6)
    cluster.wait_renewing(10)
    turns = [held(cluster)]
    for _ in range(7):
        cluster.wait_renewing(10)
        turns.append(held(cluster))
    assert turns[0] == ["n3"]
    assert all(len(turn) == 1 for turn in turns)
    assert all(turns[number] != turns[number + 1] for number in range(7))
    assert {turn[0] for turn in turns} == {"n0", "n1", "n2", "n3"}


def test_a_held_node_that_goes_is_no_longer_held(cluster: Cluster) -> None:
    wait_for_hold(cluster)
    cluster.leave("n1")
    cluster.wait_renewing(1)
    assert held(cluster) == ["n2"]
    cluster.lose("n2")
    cluster.wait_renewing(1)
    assert held(cluster) == []


def test_at_most_a_quarter_is_held_and_who_has_waited_longest_comes_first() -> None:
    cluster = Cluster()
    for number in range(8):
        cluster.join(f"n{number}", 10)
        cluster.run(10)
    for need in (9, 8, 7, 6):
        cluster.ask(need)
        cluster.wait_renewing(1)
    cluster.wait_renewing(9)
    views = [view for view in cluster.scheduler.snapshot().nodes if view.held_for]
    assert sorted(view.held_for for view in views if view.held_for) == [amount(8), amount(9)]
    # When theirs lapse it is the turn of the others.
    cluster.wait_renewing(10)
    views = [view for view in cluster.scheduler.snapshot().nodes if view.held_for]
    assert sorted(view.held_for for view in views if view.held_for) == [amount(6), amount(7)]


class Rush:
    """Small requests without end, more than there is room for, on nodes of 8.

    Processes run for some seconds, and hogs fill a node each for ever.
    """

    def __init__(self, nodes: int, hogs: int, longest: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.longest = longest
        self.moment = 0
        self.number = 0
        self.scheduler = Scheduler(0.0)
        self.waiting: set[RequestId] = set()
        self.ends: dict[RequestId, tuple[int, Place]] = {}
        for number in range(nodes):
            self.say(NodeJoined(f"n{number}", 1, amount(8)))
        for _ in range(hogs):
            self.ask(8)
        self.ends.clear()

    def say(self, event: Event | None) -> None:
        now = float(self.moment)
        told = self.scheduler.tick(now) if event is None else self.scheduler.handle(event, now)
        for queue in of(Queue, told):
            self.waiting.add(queue.request)
        for place in of(Place, told):
            self.waiting.discard(place.request)
            self.ends[place.request] = self.moment + self.random.randint(1, self.longest), place
            self.say(Started(place.node, 1, place.request, place.attempt, "aa"))

    def ask(self, mem: int) -> RequestId:
        self.number += 1
        request = RequestId("a", self.number)
        self.say(Requested(request, "p", amount(mem)))
        return request

    def second(self) -> None:
        self.moment += 1
        self.say(None)
        for request in sorted(self.waiting):
            self.say(Renewed(request))
        for request, (end, place) in list(self.ends.items()):
            if end <= self.moment:
                del self.ends[request]
                self.say(Exited(place.node, 1, request, place.attempt))
        while len(self.waiting) < 20:
            self.ask(self.random.randint(1, 2))


@given(
    nodes=st.integers(1, 6), hogs=st.integers(0, 5), longest=st.integers(1, 9), seed=st.integers()
)
@settings(max_examples=50)
def test_nothing_starves(nodes: int, hogs: int, longest: int, seed: int) -> None:
    rush = Rush(nodes, min(hogs, nodes - 1), longest, seed)
    for _ in range(5):
        rush.second()
    large = {rush.ask(8), rush.ask(7)}
    # Each of the two may have to try each node once, and wait while the other tries.
    for _ in range(10 + 2 * (nodes + 1) * (10 + longest)):
        rush.second()
        if not large & rush.waiting:
            rush.scheduler.validate()
            return
    raise AssertionError(f"{large & rush.waiting} starve")
