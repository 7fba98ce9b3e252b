from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from constellation.session.loop import Loop
from constellation_daemons.agent.limits import Use
from constellation_daemons.agent.messages import Weighed
from constellation_daemons.node.enforcement import Enforcement
from constellation_daemons.node.pressure import Memory

A, B = b"a" * 16, b"b" * 16
GIB = 1 << 30


class Machine:
    """A machine that is short of memory as long as its worst process lives, and its agents."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.available = GIB
        self.uses: dict[bytes, Use | None] = {}
        self.killed: list[tuple[bytes, int, str]] = []
        self.asked = 0
        self.answering = True
        self.enforcement = Enforcement(self.loop, "10.0.0.3:9999", self, self.memories)

    def memories(self) -> Iterable[Memory]:
        return [Memory(100 * GIB, self.available)]

    def programs(self) -> Iterable[bytes]:
        return self.uses

    def weigh(self, program: bytes, question: int) -> None:
        self.asked += 1
        use = self.uses[program]
        if not self.answering:
            return
        message = Weighed(question, None)
        if use is not None:
            message = Weighed(question, use.number, use.used, use.mem)
        self.loop.after(0, lambda: self.enforcement.weighed(program, message))

    def condemn(self, program: bytes, number: int, cause: str) -> None:
        self.killed.append((program, number, cause))
        self.uses[program] = None
        self.available = 50 * GIB
        self.loop.after(0, lambda: self.enforcement.dead(program, number))


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.enforcement.close()
    made.loop.close()


def test_the_worst_is_killed_and_nobody_else(machine: Machine) -> None:
    machine.uses = {A: Use(1, 2 * GIB, GIB), B: Use(1, 5 * GIB, 2 * GIB)}
    machine.enforcement.wake()
    assert machine.loop.run(lambda: bool(machine.killed), 5.0)
    machine.loop.run(lambda: False, 0.6)
    cause = (
        "memory limit: used 5 GiB of 2 GiB while the machine was short of memory, "
        "killed by node 10.0.0.3:9999"
    )
    assert machine.killed == [(B, 1, cause)]
    assert machine.asked == 2


def test_without_programs_it_does_not_even_look(machine: Machine) -> None:
    looks = []
    machine.enforcement._memories = lambda: looks.append(1) or []  # type: ignore[func-returns-value]
    machine.enforcement.wake()
    machine.loop.run(lambda: False, 0.1)
    assert not looks
    machine.uses = {A: None}
    machine.enforcement.wake()
    assert machine.loop.run(lambda: bool(looks), 5.0)


def test_a_program_that_goes_is_not_waited_for(machine: Machine) -> None:
    machine.uses = {A: None}
    machine.answering = False
    machine.enforcement.wake()
    assert machine.loop.run(lambda: machine.asked == 1, 5.0)
    machine.enforcement.gone(A)
    machine.uses = {B: Use(1, 2, 1)}
    machine.answering = True
    assert machine.loop.run(lambda: bool(machine.killed), 3.0)


def test_closed_it_does_nothing(machine: Machine) -> None:
    machine.uses = {A: Use(1, 2, 1)}
    machine.enforcement.wake()
    machine.enforcement.close()
    machine.enforcement.wake()
    machine.loop.run(lambda: False, 0.1)
    assert not machine.asked
