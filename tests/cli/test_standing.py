from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.cli.standing import Standing
from constellation.exit_status import ExitStatus
from constellation.pid import Pid

A, B = (Pid(bytes([number]) * 16, "tcp://a:1") for number in (1, 2))
LOST = ExitStatus(lost="why")


def after(*events: Event) -> list[Event]:
    standing = Standing()
    for event in events:
        standing.see(event)
    lost = standing.lose("why")
    assert standing.lose("again") == []
    return lost


def test_nothing_is_left_of_nothing() -> None:
    assert after() == []


def test_what_is_missing_is_made_up() -> None:
    events = (SpawnEvent(A, None), OutputEvent(A, 1, b"x"), SpawnEvent(B, A), EofEvent(B, 1))
    assert after(*events) == [
        EofEvent(A, 1),
        EofEvent(A, 2),
        ExitEvent(A, LOST),
        EofEvent(B, 2),
        ExitEvent(B, LOST),
    ]


def test_a_pipe_that_outlived_its_process_ends() -> None:
    events = (SpawnEvent(A, None), EofEvent(A, 2), ExitEvent(A, ExitStatus(code=0)))
    assert after(*events) == [EofEvent(A, 1)]


@given(st.permutations([EofEvent(A, 1), EofEvent(A, 2), ExitEvent(A, LOST)]), st.integers(0, 3))
def test_all_three_are_told_once_whatever_was_told_before(events: list[Event], told: int) -> None:
    lost = after(SpawnEvent(A, None), *events[:told])
    assert sorted(map(str, [*events[:told], *lost])) == sorted(map(str, events))
