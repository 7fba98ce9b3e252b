from __future__ import annotations

import dataclasses
import typing

import pytest

from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.exit_status import ExitStatus
from constellation.pid import Pid

PID = Pid(bytes(16), "ipc:///tmp/p")


def test_the_union_is_closed() -> None:
    assert set(typing.get_args(Event)) == {SpawnEvent, OutputEvent, EofEvent, ExitEvent}


@pytest.mark.parametrize(
    "event",
    [
        SpawnEvent(PID, None),
        OutputEvent(PID, 1, b"x"),
        EofEvent(PID, 2),
        ExitEvent(PID, ExitStatus(code=0)),
    ],
)
def test_events_are_values(event: Event) -> None:
    assert dataclasses.replace(event) == event
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.pid = PID  # type: ignore[misc]
