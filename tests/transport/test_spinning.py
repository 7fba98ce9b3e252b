"""Waiting without sleep: when it is done, for how long, and when it is given up."""

from __future__ import annotations

import os

import pytest

from constellation.transport.spinning import Spinning

MICROSECOND = 1e-6


class Machine:
    """Descriptors that get input at a moment, and a clock that goes on while they are waited on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.input_at = 0.0
        self.look = 2 * MICROSECOND
        self.looks: list[float | None] = []
        self.yields = 0

    def wait(self, timeout: float | None) -> list[int]:
        self.looks.append(timeout)
        self.now += self.look
        if self.now < self.input_at and timeout != 0:
            until = self.input_at if timeout is None else min(self.now + timeout, self.input_at)
            self.now = until
        return [7] if self.now >= self.input_at else []

    def sched_yield(self) -> None:
        self.yields += 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr(os, "sched_yield", made.sched_yield)
    return made


def wait(spinning: Spinning, machine: Machine, seconds: float, timeout: float | None = None) -> int:
    """Wait for what comes after so many seconds. Gives how often was looked without waiting."""
    machine.looks.clear()
    machine.input_at = machine.now + seconds
    assert spinning.wait(timeout) == [7]
    return machine.looks.count(0)


def short(spinning: Spinning, machine: Machine, times: int = 20) -> None:
    for _ in range(times):
        wait(spinning, machine, 60 * MICROSECOND)


@pytest.fixture
def spinning(machine: Machine) -> Spinning:
    return Spinning(machine.wait, lambda: machine.now)


def test_it_sleeps_until_waits_have_shown_to_be_short(spinning: Spinning, machine: Machine) -> None:
    assert wait(spinning, machine, 60 * MICROSECOND) == 0
    short(spinning, machine)
    assert wait(spinning, machine, 60 * MICROSECOND) > 10
    assert None not in machine.looks
    assert machine.yields > 10


def test_it_goes_to_sleep_after_a_moment(spinning: Spinning, machine: Machine) -> None:
    short(spinning, machine)
    assert 0 < wait(spinning, machine, 1.0) <= 51
    assert machine.looks[-1] is None


def test_after_a_long_wait_it_sleeps(spinning: Spinning, machine: Machine) -> None:
    short(spinning, machine)
    wait(spinning, machine, 1.0)
    assert wait(spinning, machine, 60 * MICROSECOND) == 0
    short(spinning, machine)
    assert wait(spinning, machine, 60 * MICROSECOND) > 10


def test_a_timeout_is_kept(spinning: Spinning, machine: Machine) -> None:
    short(spinning, machine)
    machine.input_at = machine.now + 1.0
    begun = machine.now
    assert spinning.wait(0.1) == []
    assert 0.1 <= machine.now - begun < 0.1002
    short(spinning, machine)
    machine.input_at = machine.now + 1.0
    assert spinning.wait(0) == []
    assert spinning.wait(50 * MICROSECOND) == []
    assert machine.yields < 1000


def test_where_others_want_the_processor_it_sleeps_for_a_while(
    spinning: Spinning, machine: Machine
) -> None:
    short(spinning, machine)
    machine.look = 300 * MICROSECOND  # the yield before it took long
    assert wait(spinning, machine, 1000 * MICROSECOND) == 1
    machine.look = 2 * MICROSECOND
    short(spinning, machine)
    assert wait(spinning, machine, 60 * MICROSECOND) == 0
    machine.now += 0.1
    assert wait(spinning, machine, 60 * MICROSECOND) > 10
