from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from constellation.bridge.spawns import Spawns

S, OTHER, C, D = range(1, 5)


@pytest.fixture
def spawns() -> Spawns:
    spawns = Spawns()
    spawns.begin(S, 1, C)
    return spawns


def test_the_whole_of_a_spawn(spawns: Spawns) -> None:
    assert spawns.find(S, 1) == C
    assert spawns.ready(C) == (S, 1)
    assert spawns.accept(S, 1) == C
    assert not spawns.under_way(C)
    assert spawns.find(S, 1) is None


def test_accepting_what_is_not_ready_changes_nothing(spawns: Spawns) -> None:
    assert spawns.accept(S, 1) is None
    assert spawns.under_way(C)


def test_ready_counts_once(spawns: Spawns) -> None:
    spawns.ready(C)
    assert spawns.ready(C) is None


def test_only_the_spawner_has_a_say(spawns: Spawns) -> None:
    spawns.ready(C)
    assert spawns.accept(OTHER, 1) is None
    assert spawns.cancel(OTHER, 1) is None
    assert spawns.spawner_gone(OTHER) == []
    assert spawns.under_way(C)


@pytest.mark.parametrize("ready", [False, True])
def test_a_cancelled_child_is_given_to_be_killed(spawns: Spawns, ready: bool) -> None:
    if ready:
        spawns.ready(C)
    assert spawns.cancel(S, 1) == C
    assert spawns.cancel(S, 1) is None
    assert spawns.accept(S, 1) is None


def test_a_spawner_that_is_gone_takes_its_unaccepted_children_along(spawns: Spawns) -> None:
    spawns.begin(S, 2, D)
    spawns.ready(C)
    spawns.accept(S, 1)
    assert spawns.spawner_gone(S) == [D]
    assert spawns.spawner_gone(S) == []


def test_a_child_that_dies_before_it_is_ready_is_refused(spawns: Spawns) -> None:
    assert spawns.child_gone(C) == (S, 1)
    assert spawns.child_gone(C) is None
    assert spawns.accept(S, 1) is None


def test_a_child_that_dies_while_ready_was_promised(spawns: Spawns) -> None:
    spawns.ready(C)
    assert spawns.child_gone(C) is None
    assert spawns.accept(S, 1) == C


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes in whatever order: a spawn ends once, and in one way."""

    def __init__(self) -> None:
        super().__init__()
        self.spawns = Spawns()
        self.begun: dict[int, tuple[int, int]] = {}
        self.told_ready: set[int] = set()
        self.ended: set[int] = set()
        self.count = 0

    def end(self, child: int) -> None:
        assert child not in self.ended
        self.ended.add(child)

    @rule(spawner=st.sampled_from([S, OTHER]))
    def begin(self, spawner: int) -> None:
        self.count += 1
        child = 100 + self.count
        self.spawns.begin(spawner, self.count, child)
        self.begun[child] = (spawner, self.count)

    @rule(data=st.data(), what=st.sampled_from(["ready", "accept", "cancel", "gone"]))
    def say(self, data: st.DataObject, what: str) -> None:
        if not self.begun:
            return
        child = data.draw(st.sampled_from(list(self.begun)))
        spawner, request = self.begun[child]
        if what == "ready":
            if self.spawns.ready(child) is not None:
                assert child not in self.ended
                self.told_ready.add(child)
        elif what == "accept":
            if self.spawns.accept(spawner, request) is not None:
                assert child in self.told_ready
                self.end(child)
        elif what == "cancel":
            if self.spawns.cancel(spawner, request) is not None:
                self.end(child)
        elif self.spawns.child_gone(child) is not None:
            assert child not in self.told_ready
            self.end(child)

    @rule(spawner=st.sampled_from([S, OTHER]))
    def spawner_gone(self, spawner: int) -> None:
        for child in self.spawns.spawner_gone(spawner):
            assert self.begun[child][0] == spawner
            self.end(child)

    @invariant()
    def knows_what_is_under_way(self) -> None:
        assert len(self.spawns) == len(self.begun) - len(self.ended)
        for child, (spawner, request) in self.begun.items():
            assert self.spawns.under_way(child) == (child not in self.ended)
            assert (self.spawns.find(spawner, request) == child) == (child not in self.ended)


AnyOrder.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase
