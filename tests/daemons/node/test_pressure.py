from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from constellation_daemons.agent.limits import Use
from constellation_daemons.node.pressure import (
    KILLING_LIMIT,
    LOOK,
    LOOK_CLOSER,
    WEIGHING_LIMIT,
    Ask,
    Kill,
    Memory,
    Pressure,
)

GIB = 1 << 30
PLENTY = Memory(100 * GIB, 50 * GIB, 0.9)
CLOSE = Memory(100 * GIB, 9 * GIB, 0.0)
SHORT = Memory(100 * GIB, 4 * GIB)
A, B = b"a" * 16, b"b" * 16


# -- what is short --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "short"),
    [
        (PLENTY, False),  # whoever waits does so for another reason
        (CLOSE, False),
        (SHORT, True),
        (Memory(100 * GIB, 5 * GIB), False),
        (Memory(100 * GIB, 9 * GIB, 0.3), True),
        (Memory(100 * GIB, 9 * GIB, None), False),
        (Memory(100, 0), True),
    ],
)
def test_what_is_short(memory: Memory, short: bool) -> None:
    assert memory.short() == short


def test_a_stall_that_is_over_makes_nothing_short() -> None:
    memory = Memory(100 * GIB, 9 * GIB, 0.9)
    assert memory.short()
    assert not memory.short(stale=True)
    assert SHORT.short(stale=True)


@given(st.integers(1, 1 << 50), st.integers(0, 1 << 50), st.none() | st.floats(0, 1))
def test_what_is_short_is_close(total: int, available: int, stalled: float | None) -> None:
    memory = Memory(total, available, stalled)
    assert memory.close or not memory.short()


# -- who goes -------------------------------------------------------------------------------------


def test_the_worst_of_all_programs_goes_and_then_it_looks_again() -> None:
    pressure = Pressure()
    assert pressure.look([PLENTY, SHORT], [B, A], 10.0) == [Ask(A, 1), Ask(B, 1)]
    assert pressure.weighed(A, 1, Use(7, 2 * GIB, 1 * GIB), 10.1) == []
    worst = Use(7, 3 * GIB, 1 * GIB)
    assert pressure.weighed(B, 1, worst, 10.2) == [Kill(B, worst)]
    assert not pressure.looking
    pressure.dead(A, 7, 10.3)
    assert not pressure.looking
    pressure.dead(B, 7, 10.4)
    assert pressure.looking
    assert pressure.deadline == 10.4 + LOOK_CLOSER
    assert pressure.look([SHORT], [A], 11.0) == [Ask(A, 2)]


def test_nobody_goes_who_takes_no_more_than_it_was_given() -> None:
    pressure = Pressure()
    pressure.look([SHORT], [A, B], 0.0)
    assert pressure.weighed(A, 1, None, 0.1) == []
    assert pressure.weighed(B, 1, None, 0.1) == []
    assert pressure.looking


def test_with_plenty_nobody_is_asked() -> None:
    pressure = Pressure()
    assert pressure.look([PLENTY], [A], 0.0) == []
    assert pressure.deadline == LOOK
    assert pressure.look([PLENTY, CLOSE], [A], 1.0) == []
    assert pressure.deadline == 1.0 + LOOK_CLOSER
    assert pressure.look([SHORT], [], 2.0) == []


def test_an_agent_that_does_not_answer_is_not_waited_for() -> None:
    pressure = Pressure()
    pressure.look([SHORT], [A, B], 0.0)
    use = Use(1, 2, 1)
    pressure.weighed(A, 1, use, 0.1)
    assert pressure.pass_time(WEIGHING_LIMIT - 0.1) == []
    assert pressure.pass_time(WEIGHING_LIMIT) == [Kill(A, use)]
    assert pressure.weighed(B, 1, Use(2, 200, 1), WEIGHING_LIMIT) == [], "it comes too late"
    assert pressure.pass_time(WEIGHING_LIMIT + KILLING_LIMIT) == []
    assert pressure.looking


def test_an_agent_that_is_gone_is_not_waited_for() -> None:
    pressure = Pressure()
    pressure.look([SHORT], [A, B], 0.0)
    use = Use(1, 2, 1)
    assert pressure.weighed(B, 1, use, 0.1) == []
    assert pressure.gone(A, 0.2) == [Kill(B, use)]
    assert pressure.gone(B, 0.3) == []
    assert pressure.looking


def test_what_a_gone_agent_has_answered_counts_no_more() -> None:
    pressure = Pressure()
    pressure.look([SHORT], [A, B], 0.0)
    pressure.weighed(A, 1, Use(1, 200, 1), 0.1)
    assert pressure.gone(A, 0.2) == []
    use = Use(1, 2, 1)
    assert pressure.weighed(B, 1, use, 0.3) == [Kill(B, use)]


def test_right_after_a_kill_the_averages_are_of_before() -> None:
    pressure = Pressure()
    stalled = Memory(100 * GIB, 9 * GIB, 0.5)
    assert pressure.look([stalled], [A], 0.0) == [Ask(A, 1)]
    pressure.weighed(A, 1, Use(1, 2, 1), 0.0)
    pressure.dead(A, 1, 0.1)
    assert pressure.look([stalled], [A], 5.0) == []
    assert pressure.look([stalled], [A], 10.0) == [Ask(A, 2)]


def test_answers_to_an_earlier_question_are_dropped() -> None:
    pressure = Pressure()
    pressure.look([SHORT], [A], 0.0)
    pressure.pass_time(WEIGHING_LIMIT)
    pressure.look([SHORT], [A], 10.0)
    assert pressure.weighed(A, 1, Use(1, 2, 1), 10.1) == []
    assert pressure.weighed(B, 2, Use(1, 2, 1), 10.1) == []
    assert not pressure.looking


class OneAtATime(RuleBasedStateMachine):
    """Whatever comes in whatever order: one goes at a time, and only when it was short."""

    def __init__(self) -> None:
        super().__init__()
        self.pressure = Pressure()
        self.now = 0.0
        self.asked: dict[bytes, int] = {}
        self.answered: dict[bytes, Use] = {}
        self.dying: tuple[bytes, int] | None = None
        self.dying_since = 0.0

    def take(self, instructions: Iterable[object]) -> None:
        for instruction in instructions:
            if isinstance(instruction, Ask):
                self.asked[instruction.program] = instruction.question
            else:
                assert isinstance(instruction, Kill)
                assert self.dying is None, "one at a time"
                assert self.answered[instruction.program] is instruction.use
                ratio = instruction.use.excess
                assert all(use.excess <= ratio for use in self.answered.values())
                self.dying = instruction.program, instruction.use.number
                self.dying_since = self.now
                self.answered = {}

    @precondition(lambda self: self.pressure.looking)
    @rule(short=st.booleans(), programs=st.sets(st.sampled_from([A, B, b"c"])))
    def look(self, short: bool, programs: set[bytes]) -> None:
        self.dying = None
        self.answered = {}
        instructions = self.pressure.look([SHORT if short else PLENTY], programs, self.now)
        assert bool(instructions) == (short and bool(programs))
        self.take(instructions)

    @rule(program=st.sampled_from([A, B, b"c"]), number=st.integers(1, 3), late=st.booleans())
    def weigh(self, program: bytes, number: int, late: bool) -> None:
        question = self.asked.pop(program, None)
        if question is None:
            return
        use = Use(number, number * 3, number + 1)
        if not late and not self.pressure.looking and self.dying is None:
            self.answered[program] = use
        self.take(self.pressure.weighed(program, question - late, use, self.now))

    @rule(program=st.sampled_from([A, B, b"c"]), number=st.integers(1, 3))
    def die(self, program: bytes, number: int) -> None:
        self.pressure.dead(program, number, self.now)
        if self.dying == (program, number):
            self.dying = None
            assert self.pressure.looking

    @rule(program=st.sampled_from([A, B, b"c"]))
    def leave(self, program: bytes) -> None:
        self.asked.pop(program, None)
        self.answered.pop(program, None)
        if self.dying is not None and self.dying[0] == program:
            self.dying = None
        self.take(self.pressure.gone(program, self.now))

    @rule(seconds=st.floats(0, 6))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.dying is not None and self.now >= self.dying_since + KILLING_LIMIT:
            self.dying = None
        self.take(self.pressure.pass_time(self.now))

    @invariant()
    def something_is_always_next(self) -> None:
        assert self.pressure.deadline <= self.now + WEIGHING_LIMIT


TestOneAtATime = OneAtATime.TestCase
