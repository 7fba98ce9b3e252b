from __future__ import annotations

import math
import time
from typing import Any

import pytest

from constellation.deadline import Deadline


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("seconds", [None, math.inf])
def test_never(clock: list[float], seconds: float | None) -> None:
    deadline = Deadline.after(seconds)
    clock[0] = 1e18
    assert deadline.remaining() is None
    assert not deadline.expired
    assert deadline is Deadline.NEVER


def test_the_steps_of_a_wait_share_it(clock: list[float]) -> None:
    deadline = Deadline.after(2)
    assert deadline.at == 1002.0
    assert deadline.remaining() == 2.0
    clock[0] += 1.5
    assert deadline.remaining() == 0.5
    assert not deadline.expired
    clock[0] += 0.5
    assert deadline.remaining() == 0.0
    assert deadline.expired
    clock[0] += 1
    assert deadline.remaining() == 0.0
    assert deadline.expired


@pytest.mark.parametrize("seconds", [0, -1, -math.inf])
def test_nothing_left_has_passed(clock: list[float], seconds: float) -> None:
    deadline = Deadline.after(seconds)
    assert deadline.expired
    assert deadline.remaining() == 0.0


@pytest.mark.parametrize(
    ("wrong", "error"), [(math.nan, ValueError), ("5", TypeError), ([], TypeError)]
)
def test_what_is_no_timeout(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="a timeout is a number of seconds or None, not"):
        Deadline.after(wrong)
