from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from constellation.control.messages import Status
from constellation_daemons.messages import Exited, Place, Started, Withdraw
from constellation_daemons.node.ledger import Ledger

P, Q = b"p" * 16, b"q" * 16
PID = b"k" * 16
OK, KILLED = Status(code=0), Status(signal="SIGKILL")


def place(program: bytes = P, number: int = 1, attempt: int = 1) -> Place:
    return Place(program, number, attempt, 1 << 20, 10**8, "tcp://10.0.0.1:8888")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_the_whole_of_a_process(ledger: Ledger) -> None:
    assert ledger.place(place())
    assert ledger.holds(P)
    (held,) = ledger.held()
    assert (held.program, held.number, held.attempt, held.pid) == (P, 1, 1, None)
    assert ledger.running(P, 1, PID) == [Started(P, 1, 1, PID)]
    (held,) = ledger.held()
    assert held.pid == PID
    assert ledger.dead(P, 1, OK) == [Exited(P, 1, 1, OK)]
    assert not ledger.holds(P)
    assert list(ledger.held()) == []


def test_a_process_is_called_as_its_program_calls_it(ledger: Ledger) -> None:
    assert ledger.name(P, 1) == "number 1"
    ledger.place(place())
    assert ledger.name(P, 1) == "number 1", "it is yet to be made"
    ledger.running(P, 1, PID)
    assert ledger.name(P, 1) == PID.hex()[:7]


def test_what_is_placed_twice_is_held_once(ledger: Ledger) -> None:
    assert ledger.place(place())
    assert not ledger.place(place())
    assert not ledger.place(place(attempt=2)), "its agent is there"
    (held,) = ledger.held()
    assert held.attempt == 2
    assert not ledger.place(place(attempt=1)), "it came late"
    (held,) = ledger.held()
    assert held.attempt == 2


def test_what_is_not_held_is_told_of_by_nobody(ledger: Ledger) -> None:
    assert ledger.running(P, 1, PID) == []
    assert ledger.dead(P, 1, OK) == []
    assert ledger.gone(P, "") == []


def test_a_program_that_leaves_takes_all_of_its_own_along(ledger: Ledger) -> None:
    for number in (1, 2):
        ledger.place(place(P, number))
    ledger.place(place(Q, 1))
    told = ledger.gone(P, "its agent has ended")
    assert told == [Exited(P, number, 1, Status(lost="its agent has ended")) for number in (1, 2)]
    assert not ledger.holds(P)
    assert ledger.holds(Q)


def test_withdrawing_what_is_not_there_is_answered(ledger: Ledger) -> None:
    assert ledger.withdraw(Withdraw(P, 1, 3)) == (False, [Exited(P, 1, 3, Status())])


def test_withdrawing_what_has_no_process_yet_ends_it_if_it_comes(ledger: Ledger) -> None:
    ledger.place(place())
    kill, told = ledger.withdraw(Withdraw(P, 1, 1))
    assert kill
    assert told == [Exited(P, 1, 1, Status(lost="withdrawn"))]
    assert not ledger.holds(P)


def test_withdrawing_what_runs_kills_it_and_its_end_is_told(ledger: Ledger) -> None:
    ledger.place(place())
    ledger.running(P, 1, PID)
    assert ledger.withdraw(Withdraw(P, 1, 1)) == (True, [])
    assert ledger.holds(P)
    assert ledger.dead(P, 1, KILLED) == [Exited(P, 1, 1, KILLED)]


def test_an_earlier_attempt_is_withdrawn_from_a_later_one_in_vain(ledger: Ledger) -> None:
    ledger.place(place(attempt=2))
    assert ledger.withdraw(Withdraw(P, 1, 1)) == (False, [])
    assert ledger.holds(P)


class LedgerMachine(RuleBasedStateMachine):
    """Whatever comes: each placement that was held ends once, and nothing else does."""

    programs = st.sampled_from([P, Q])
    numbers = st.integers(1, 3)

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.held: dict[tuple[bytes, int], int] = {}

    def ends(self, told: list[object], program: bytes, number: int) -> None:
        ended = [each for each in told if isinstance(each, Exited)]
        known = self.held.pop((program, number), None)
        if known is not None:
            assert [(each.number, each.attempt) for each in ended] == [(number, known)]

    @rule(program=programs, number=numbers, attempt=st.integers(1, 3))
    def place(self, program: bytes, number: int, attempt: int) -> None:
        known = self.held.get((program, number))
        assert self.ledger.place(place(program, number, attempt)) == (known is None)
        self.held[program, number] = max(attempt, known or 0)

    @rule(program=programs, number=numbers)
    def run(self, program: bytes, number: int) -> None:
        told = self.ledger.running(program, number, PID)
        assert bool(told) == ((program, number) in self.held)

    @rule(program=programs, number=numbers)
    def die(self, program: bytes, number: int) -> None:
        self.ends(list(self.ledger.dead(program, number, OK)), program, number)

    @rule(program=programs)
    def leave(self, program: bytes) -> None:
        told = self.ledger.gone(program, "")
        mine = {key: attempt for key, attempt in self.held.items() if key[0] == program}
        assert len(told) == len(mine)
        for key in mine:
            del self.held[key]

    @invariant()
    def agrees(self) -> None:
        held = {(each.program, each.number): each.attempt for each in self.ledger.held()}
        assert held == self.held
        for program in (P, Q):
            assert self.ledger.holds(program) == any(key[0] == program for key in self.held)


TestLedgerMachine = LedgerMachine.TestCase


def test_what_was_not_started_may_stay_for_the_next_agent(ledger: Ledger) -> None:
    for number in (1, 2):
        assert ledger.place(place(number=number))
    ledger.running(P, 1, PID)
    assert ledger.unstarted(P) == {2: place(number=2)}
    assert ledger.gone(P, "killed", stays=True) == [Exited(P, 1, 1, Status(lost="killed"))]
    assert [held.number for held in ledger.held()] == [2]
    assert ledger.gone(P, "killed") == [Exited(P, 2, 1, Status(lost="killed"))]
    assert not ledger.holds(P)
    assert ledger.gone(P, "killed", stays=True) == []
    assert not ledger.holds(P)
