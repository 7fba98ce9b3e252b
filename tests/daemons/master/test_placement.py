from __future__ import annotations

import random
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from constellation_daemons.master.placement import FitIndex

Key = tuple[int, int, int]
# Few values, so that there are many equals; and negative ones, as of sizes and of full nodes.
AMOUNTS = st.integers(-8, 8)


def naive(keys: set[Key], mem: int, cpu: int) -> Key | None:
    return min((key for key in keys if key[0] >= mem and key[1] >= cpu), default=None)


def filled(keys: set[Key]) -> FitIndex[Key]:
    index: FitIndex[Key] = FitIndex()
    for key in keys:
        index.add(*key, key)
    return index


class IndexMachine(RuleBasedStateMachine):
    """An index next to a set of what is in it."""

    def __init__(self) -> None:
        super().__init__()
        self.index: FitIndex[Key] = FitIndex()
        self.keys: set[Key] = set()
        self.order = 0

    @rule(amounts=st.lists(st.tuples(AMOUNTS, AMOUNTS), max_size=200))
    def add(self, amounts: list[tuple[int, int]]) -> None:
        for mem, cpu in amounts:
            self.order += 1
            key = (mem, cpu, self.order)
            self.index.add(*key, key)
            self.keys.add(key)

    @rule(data=st.data(), share=st.floats(0, 1), seed=st.integers(0, 99))
    def remove(self, data: st.DataObject, share: float, seed: int) -> None:
        chosen = sorted(self.keys)
        random.Random(seed).shuffle(chosen)
        for key in chosen[: int(len(chosen) * share)]:
            self.index.remove(*key)
            self.keys.discard(key)

    @rule(mem=AMOUNTS, cpu=AMOUNTS)
    def find(self, mem: int, cpu: int) -> None:
        assert self.index.find(mem, cpu) == naive(self.keys, mem, cpu)

    @rule(mem=AMOUNTS, cpu=AMOUNTS, low=st.tuples(AMOUNTS, AMOUNTS, st.integers(0, 200)))
    def after(self, mem: int, cpu: int, low: Key) -> None:
        fitting = sorted(key for key in self.keys if key[0] >= mem and key[1] >= cpu)
        assert list(self.index.after(mem, cpu, None)) == fitting
        assert list(self.index.after(mem, cpu, low)) == [key for key in fitting if key > low]

    @rule(mem=AMOUNTS, cpu=AMOUNTS)
    def remove_what_is_not_there(self, mem: int, cpu: int) -> None:
        with pytest.raises(KeyError):
            self.index.remove(mem, cpu, self.order + 1)

    @invariant()
    def agrees(self) -> None:
        self.index.validate()
        assert list(self.index) == sorted(self.keys)
        assert len(self.index) == len(self.keys)
        largest = max((key[:2] for key in self.keys), default=None)
        found = self.index.most_mem()
        assert (found and found[:2]) == largest
        most = max((key[1] for key in self.keys), default=None)
        assert self.index.most_cpu() == min(
            (key for key in self.keys if key[1] == most), default=None
        )


TestIndexMachine = IndexMachine.TestCase


@given(st.sets(st.tuples(AMOUNTS, AMOUNTS, st.integers(0, 50))), AMOUNTS, AMOUNTS)
def test_the_tightest_is_found(keys: set[Key], mem: int, cpu: int) -> None:
    assert filled(keys).find(mem, cpu) == naive(keys, mem, cpu)


def test_the_least_memory_that_is_enough_wins() -> None:
    index = filled({(100, 4, 1), (20, 4, 2), (10, 4, 3), (12, 1, 4)})
    assert index.find(10, 4) == (10, 4, 3)
    assert index.find(11, 4) == (20, 4, 2)
    assert index.find(11, 1) == (12, 1, 4)
    assert index.find(0, 5) is None
    assert index.find(101, 0) is None


def test_among_equals_in_memory_the_fewest_cores_and_then_the_first_added_win() -> None:
    assert filled({(10, 8, 1), (10, 4, 2), (10, 4, 3)}).find(5, 3) == (10, 4, 2)


def steps(action: Callable[[], object]) -> int:
    """How many lines of the index run, as a measure of cost that no machine's speed disturbs."""
    count = 0

    def trace(frame: object, event: str, argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        action()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("kind", ["random", "opposed", "equal"])
def test_the_cost_grows_as_the_logarithm(kind: str) -> None:
    # Opposed is the worst for an order by memory: what has much of one has little of the other.
    costs = {}
    for size in (100, 10_000):
        rng = random.Random(1)
        amounts = {
            "random": lambda i, rng=rng: (rng.randrange(10**9), rng.randrange(10**9)),
            "opposed": lambda i, size=size: (i, size - i),
            "equal": lambda i: (7, 7),
        }[kind]
        index: FitIndex[int] = FitIndex()
        keys = [(*amounts(i), i) for i in range(size)]
        for i, key in enumerate(keys):
            index.add(*key, i)

        def one(index: FitIndex[int] = index, keys: list[Key] = keys) -> None:
            for key in keys[:: len(keys) // 50]:
                index.find(key[0], key[1])
                index.find(key[0] + 1, key[1] + 1)
                index.remove(*key)
                index.add(*key, 0)

        costs[size] = steps(one)
    assert costs[10_000] <= 2 * 1.5 * costs[100], costs  # log 10,000 is twice log 100
