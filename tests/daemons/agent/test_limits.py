from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from constellation_daemons.agent.limits import (
    EVERY,
    SHARE,
    Limits,
    Use,
    Watched,
    kernel_cause,
    worst,
)

MIB = 1 << 20


def watched(*numbers: int, mem: int = 100 * MIB) -> Limits:
    limits = Limits()
    for number in numbers:
        limits.given(number, mem)
        limits.started(number, 1000 + number, 2000 + number)
    return limits


def test_a_process_is_watched_when_its_start_and_its_share_are_known() -> None:
    limits = Limits()
    assert limits.due() is None
    limits.started(1, 11, 10)
    assert limits.due() is None
    limits.given(1, 5)
    limits.given(2, 6)
    assert limits.begin(0.0) == [Watched(1, 11, 10, 5)]
    assert limits.measured({}, 0.0, 0.0) == []
    limits.started(2, 21, None)
    assert limits.begin(EVERY) == [Watched(1, 11, 10, 5), Watched(2, 21, None, 6)]


def test_who_uses_more_is_told_and_who_uses_just_that_is_not() -> None:
    limits = watched(1, 2, 3)
    limits.begin(0.0)
    used = {1: 100 * MIB, 2: 100 * MIB + 1, 9: 1 << 40}
    assert limits.measured(used, 0.0, 0.0) == [Use(2, 100 * MIB + 1, 100 * MIB)]


def test_each_is_condemned_once() -> None:
    limits = watched(1)
    limits.begin(0.0)
    assert limits.condemn(1)
    assert not limits.condemn(1)
    assert limits.measured({1: 1 << 40}, 0.0, 0.0) == []
    assert limits.due() is None
    assert not limits.condemn(7)
    limits.gone(1)
    assert not limits.condemn(1)


def test_who_has_ended_while_it_was_measured_is_not_told() -> None:
    limits = watched(1)
    limits.begin(0.0)
    limits.gone(1)
    assert limits.measured({1: 1 << 40}, 0.0, 0.0) == []


def test_measuring_is_not_begun_twice() -> None:
    limits = watched(1)
    assert limits.begin(0.0)
    assert limits.busy
    assert limits.due() is None
    assert limits.begin(99.0) == []
    limits.measured({}, 0.0, 99.0)
    assert not limits.busy


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 5)), max_size=20))
def test_it_takes_a_tenth_of_the_time_and_is_done_once_a_second_at_most(
    work: list[tuple[float, float]],
) -> None:
    limits = watched(1)
    now = spent = 0.0
    begun: list[float] = []
    for took, pause in work:
        due = limits.due()
        assert due is not None
        assert limits.begin(due - 0.01) == [] or due == 0
        now = max(now, due) + pause
        assert limits.begin(now)
        begun.append(now)
        spent += took
        now += took
        limits.measured({}, took, now)
    due = limits.due()
    assert due is not None
    assert all(later - earlier >= EVERY - 1e-9 for earlier, later in itertools.pairwise(begun))
    assert spent <= (due - (begun[0] if begun else 0)) * SHARE + 1e-6


uses = st.builds(Use, st.integers(1, 9), st.integers(0, 1 << 50), st.integers(0, 1 << 40))


@given(st.lists(uses))
def test_the_worst_uses_the_most_for_what_it_was_given(all_uses: list[Use]) -> None:
    found = worst(all_uses)
    if found is None:
        assert not all_uses
        return
    for use in all_uses:
        assert use.used * max(found.mem, 1) <= found.used * max(use.mem, 1)


def test_it_is_the_ratio_that_counts_and_not_the_size() -> None:
    small, large = Use(1, 300 * MIB, 100 * MIB), Use(2, 20 << 30, 10 << 30)
    assert worst([large, small]) is small


def test_the_cause_names_limit_use_and_who() -> None:
    use = Use(1, (1 << 30) + 100 * MIB, 200 * MIB)
    assert use.cause("10.0.0.3:9999") == (
        "memory limit: used 1.1 GiB of 200 MiB, killed by node 10.0.0.3:9999"
    )
    assert "short of memory" in use.cause("n", pressure=True)


def test_of_the_kernel_no_more_is_told_than_what_it_says() -> None:
    assert kernel_cause(0, "n") is None
    assert kernel_cause(1, "n") == (
        "out of memory: the kernel of node n killed a process of its control group"
    )
    assert "killed 2 processes" in str(kernel_cause(2, "n"))


@given(st.integers(1, 1 << 50), st.integers(1, 1 << 30))
def test_the_use_is_never_told_as_what_was_given(mem: int, more: int) -> None:
    text = Use(1, mem + more, mem).cause("n")
    found = re.fullmatch(r"memory limit: used (.*) of (.*), killed by node n", text)
    assert found is not None
    assert found[1] != found[2]


class Model:
    """What the rules say, as plainly as it can be put."""

    def __init__(self) -> None:
        self.mem: dict[int, int] = {}
        self.started: set[int] = set()
        self.condemned: set[int] = set()

    @property
    def watched(self) -> set[int]:
        return {each for each in self.started if each in self.mem and each not in self.condemned}


steps = st.tuples(
    st.sampled_from(["given", "started", "gone", "condemn", "begin", "measured"]),
    st.integers(1, 4),
    st.integers(0, 10),
)


@given(st.lists(steps, max_size=60))
def test_any_input_in_any_state(inputs: list[tuple[str, int, int]]) -> None:
    limits, model = Limits(), Model()
    now = 0.0
    for kind, number, amount in inputs:
        now += 1
        match kind:
            case "given":
                limits.given(number, amount)
                model.mem[number] = amount
            case "started":
                limits.started(number, number + 100, None)
                model.started.add(number)
            case "gone":
                limits.gone(number)
                model.mem.pop(number, None)
                model.started.discard(number)
                model.condemned.discard(number)
            case "condemn":
                expected = number in model.started and number not in model.condemned
                assert limits.condemn(number) == expected
                if expected:
                    model.condemned.add(number)
            case "begin":
                busy = limits.busy
                found = {each.number for each in limits.begin(now)}
                assert found == (set() if busy else model.watched)
            case "measured":
                over = limits.measured({number: amount}, 0.0, now)
                expected = number in model.watched and amount > model.mem[number]
                assert [use.number for use in over] == ([number] if expected else [])
