from __future__ import annotations

import dataclasses

import pytest

from constellation.pid import Pid
from constellation.process.identity import Identity
from constellation.resources import Resources


def test_the_resources_are_those_that_were_given() -> None:
    pid = Pid.new("ipc:///tmp/x")
    identity = Identity(pid, None, 20 << 20, 0.01)
    assert identity.resources == Resources(mem="20 MiB", cpu=0.01)


def test_who_a_process_is_never_changes() -> None:
    identity = Identity(Pid.new("ipc:///tmp/x"), None, 0, 0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        identity.mem = 5  # type: ignore[misc]
