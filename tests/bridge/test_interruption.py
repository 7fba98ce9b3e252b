from __future__ import annotations

import signal

import pytest

from constellation.bridge.interruption import GRACE, Action, Interruption
from constellation.exit_status import ExitStatus

OK, ONE = ExitStatus(code=0), ExitStatus(code=1)
KILLED = ExitStatus(signal="SIGKILL")


def died_of(number: int) -> ExitStatus:
    return ExitStatus(signal=signal.Signals(number).name)


@pytest.fixture
def interruption() -> Interruption:
    return Interruption()


def test_a_program_that_nobody_interrupts(interruption: Interruption) -> None:
    assert interruption.deadline is None
    assert interruption.tick(1e9) is Action.NOTHING
    interruption.exited(OK, initial=False, killed=False)
    interruption.exited(OK, initial=True, killed=False)
    assert interruption.exit_code() == 0


def test_statuses_combine(interruption: Interruption) -> None:
    interruption.exited(ONE, initial=False, killed=False)
    assert interruption.exit_code() == 1
    interruption.exited(OK, initial=True, killed=False)
    assert interruption.exit_code() == 101


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_the_first_goes_to_the_program_and_the_second_kills(
    interruption: Interruption, first: int, second: int
) -> None:
    assert interruption.signal(first, 10.0) is Action.FORWARD
    assert not interruption.killing
    assert interruption.signal(second, 10.1) is Action.KILL
    assert interruption.killing
    assert interruption.signal(second, 10.2) is Action.NOTHING
    assert interruption.tick(1e9) is Action.NOTHING


def test_so_does_time(interruption: Interruption) -> None:
    interruption.signal(signal.SIGINT, 10.0)
    assert interruption.deadline == 10.0 + GRACE
    assert interruption.tick(10.0 + GRACE - 0.01) is Action.NOTHING
    assert interruption.tick(10.0 + GRACE) is Action.KILL
    assert interruption.deadline is None


def test_quit_kills_at_once(interruption: Interruption) -> None:
    assert interruption.signal(signal.SIGQUIT, 10.0) is Action.KILL
    interruption.exited(KILLED, initial=True, killed=True)
    assert interruption.exit_code() == 128 + signal.SIGQUIT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_program_exits_with_the_signal(
    interruption: Interruption, number: int
) -> None:
    interruption.exited(OK, initial=False, killed=False)
    interruption.signal(number, 10.0)
    interruption.exited(died_of(number), initial=True, killed=False)
    interruption.exited(ONE, initial=False, killed=False)  # it lost its peer, say
    assert interruption.exit_code() == 128 + number


def test_what_the_command_killed_died_of_the_signal(interruption: Interruption) -> None:
    interruption.signal(signal.SIGINT, 10.0)
    interruption.tick(10.0 + GRACE)
    assert interruption.cause == "killed by the command after SIGINT"
    interruption.exited(KILLED, initial=True, killed=True)
    interruption.exited(KILLED, initial=False, killed=True)
    assert interruption.exit_code() == 130


def test_a_program_that_handles_the_signal_exits_as_it_likes(interruption: Interruption) -> None:
    interruption.signal(signal.SIGINT, 10.0)
    interruption.exited(ExitStatus(code=3), initial=True, killed=False)
    interruption.exited(ExitStatus(code=3), initial=False, killed=False)
    assert interruption.exit_code() == 3


def test_a_program_whose_initial_process_had_ended_before(interruption: Interruption) -> None:
    interruption.exited(OK, initial=True, killed=False)
    interruption.signal(signal.SIGINT, 10.0)
    interruption.tick(10.0 + GRACE)
    interruption.exited(KILLED, initial=False, killed=True)
    assert interruption.exit_code() == 130


def test_a_kill_by_another_hand_is_just_that(interruption: Interruption) -> None:
    interruption.exited(KILLED, initial=True, killed=False)
    assert interruption.exit_code() == 137
