"""Who takes more memory than it was given: the rules, pure.

What a process uses is the memory that is its own and its descendants' alone: pages that it shares
with the image it was forked from are nobody's. It can be told only by going through all of its
pages, so this is done for those that have more memory in reach than they were given, and for them
once a second at most; and where it takes long, so rarely that it takes a tenth of the time.

A process is in one of three states:

==========  ============================  =========================================================
state       what it means                 how it goes on
==========  ============================  =========================================================
known       one of its start and of what  the other: watched
            it was given is known
watched     both are                      more is measured than it was given: condemned, where that
                                          is enough (strict) or the node has chosen it (pressure)
condemned   it is being killed            its end
==========  ============================  =========================================================

Whatever the state, `gone` is the end of it: nothing of the process and its descendants is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from constellation.units import Mem

__all__ = ["Limits", "Use", "Watched", "kernel_cause", "worst"]

EVERY = 1.0
"""Seconds from one measurement to the next, at least."""
SHARE = 0.1
"""The part of the time that measuring takes, at most."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A process to be measured.

    Attributes:
        number: What it is called.
        os_pid: What the operating system calls it.
        keeper: Its parent, which has no other children but the orphans of its descendants, and is
            not measured itself; None: it is not known.
        mem: The bytes that it was given.
    """

    number: int
    os_pid: int
    keeper: int | None
    mem: int


@dataclass(frozen=True, slots=True)
class Use:
    """A process that uses more than it was given.

    Attributes:
        number: What it is called.
        used: Bytes that are its own.
        mem: Bytes that it was given.
    """

    number: int
    used: int
    mem: int

    @property
    def excess(self) -> Fraction:
        """How many times what it was given it uses."""
        return Fraction(self.used, max(self.mem, 1))

    def cause(self, node: str, *, pressure: bool = False) -> str:
        """Why it is killed, for its exit status."""
        used, mem = Mem(self.used).human, Mem(self.mem).human
        if used == mem:  # as rounded as that
            used = f"{used} (and {self.used - self.mem} bytes)"
        why = " while the machine was short of memory" if pressure else ""
        return f"memory limit: used {used} of {mem}{why}, killed by node {node}"


def worst(uses: Iterable[Use]) -> Use | None:
    """The one that uses the most for what it was given; of equals the one that uses most."""
    return max(uses, key=lambda use: (use.excess, use.used, use.number), default=None)


def kernel_cause(kills: int, node: str) -> str | None:
    """Why one was killed in whose control group the kernel has just killed: what is known of it."""
    if not kills:
        return None
    what = "a process" if kills == 1 else f"{kills} processes"
    return f"out of memory: the kernel of node {node} killed {what} of its control group"


class Limits:
    """What the processes of a program were given on a node, and which of them use more."""

    def __init__(self) -> None:
        self._mem: dict[int, int] = {}
        self._started: dict[int, tuple[int, int | None]] = {}
        self._condemned: set[int] = set()
        self._measuring = False
        self._next = 0.0

    # -- what is known of them

    def given(self, number: int, mem: int) -> None:
        """A process was given so many bytes."""
        self._mem[number] = mem

    def started(self, number: int, os_pid: int, keeper: int | None) -> None:
        """A process exists: see `Watched`."""
        self._started[number] = os_pid, keeper

    def gone(self, number: int) -> None:
        """Nothing of a process is left. Of one that is not known this does nothing."""
        self._mem.pop(number, None)
        self._started.pop(number, None)
        self._condemned.discard(number)

    # -- measuring

    @property
    def busy(self) -> bool:
        """Whether it is being measured."""
        return self._measuring

    def due(self) -> float | None:
        """When to measure next; None: it is being done, or there is nothing to measure."""
        return None if self._measuring or not self._watched() else self._next

    def begin(self, now: float) -> list[Watched]:
        """Measure these now, and answer with `measured`. None of them: it is not the time."""
        due = self.due()
        if due is None or now < due:
            return []
        self._measuring = True
        return self._watched()

    def measured(self, used: Mapping[int, int], took: float, now: float) -> list[Use]:
        """What was measured. Gives those that use more than they were given.

        Args:
            used: The bytes that each uses. One that is not in there uses no more than it may.
            took: Seconds of work that it was.
            now: The time.
        """
        self._measuring = False
        self._next = now + max(EVERY - took, took * (1 / SHARE - 1))
        over = [
            Use(each.number, used[each.number], each.mem)
            for each in self._watched()
            if used.get(each.number, 0) > each.mem
        ]
        return sorted(over, key=lambda use: use.number)

    def condemn(self, number: int) -> bool:
        """A process is killed. Whether it is to be: it is there, and was not yet."""
        if number not in self._started or number in self._condemned:
            return False
        self._condemned.add(number)
        return True

    def _watched(self) -> list[Watched]:
        return [
            Watched(number, os_pid, keeper, self._mem[number])
            for number, (os_pid, keeper) in self._started.items()
            if number in self._mem and number not in self._condemned
        ]
