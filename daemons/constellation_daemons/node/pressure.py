"""When a machine is short of memory, and who has to go then: the rules, pure.

*Short* is a machine, or a control group that this node is in, of whose memory less than a twentieth
can still be had. `MemAvailable` is the kernel's own estimate of what it can give without swapping;
in a control group it is what is below its limit, with the files that can be dropped. A twentieth is
more than a process fills between two looks (a quarter of a second when less than a tenth is left)
on machines from 16 GiB on, and little enough to be no loss on large ones.

That estimate may be too good: files that count as to be dropped may be just those that run. Then
everybody waits for memory. So a machine of which less than a tenth can be had is short as well when
all have waited for a fifth of the time (the `full` line of /proc/pressure/memory, over ten
seconds). Waiting alone says nothing: a limit of somebody else's control group makes for that too.
And it says nothing for ten seconds after a kill, since it is about the time before.

==========  ==============================  =======================================================
state       what it does                    how it goes on
==========  ==============================  =======================================================
calm        looks, now and then             it is short: each agent is asked for its worst process,
                                            weighing
weighing    waits for the agents' answers   all have come, or the limit has: the worst of all is
                                            killed, killing; there is none: calm
killing     waits for that one's end        it is dead, or the limit has come: calm
==========  ==============================  =======================================================

So one goes at a time, and then there is another look. A process that uses no more than it was given
is never killed, however short the memory is.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from constellation_daemons.agent.limits import Use, worst

__all__ = ["Ask", "Kill", "Memory", "Pressure"]

LOOK = 1.0
"""Seconds between two looks."""
LOOK_CLOSER = 0.25
"""The same, when it will soon be short."""
WEIGHING_LIMIT = 5.0
"""Seconds that agents have to answer: a busy one answers no more when it matters."""
KILLING_LIMIT = 2.0
"""Seconds that a process has to die: some cannot be killed at once."""
_STALE = 10.0  # seconds that the kernel's averages are about


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a machine, or of a control group.

    Attributes:
        total: Bytes.
        available: Bytes of it that can still be had.
        stalled: The part of the last ten seconds in which everybody waited for memory, from 0 to 1;
            None: it is not known.
    """

    total: int
    available: int
    stalled: float | None = None

    def short(self, *, stale: bool = False) -> bool:
        """Whether it is. Args: stale: `stalled` is about something that has been mended."""
        if self.available * 20 < self.total:
            return True
        stalled = 0.0 if stale or self.stalled is None else self.stalled
        return self.close and stalled >= 0.2

    @property
    def close(self) -> bool:
        """Whether it soon may be."""
        return self.available * 10 < self.total


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask this program's agent for its worst process."""

    program: bytes
    question: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Have this program's agent kill a process."""

    program: bytes
    use: Use


Instruction: TypeAlias = Ask | Kill


class _State(enum.Enum):
    CALM = "calm"
    WEIGHING = "weighing"
    KILLING = "killing"


class Pressure:
    """What a node does when it is short of memory."""

    def __init__(self) -> None:
        self._state = _State.CALM
        self._question = 0
        self._until = 0.0  # when there is something to do at the latest
        self._awaited: set[bytes] = set()
        self._uses: dict[bytes, Use] = {}
        self._killed: tuple[bytes, int] | None = None
        self._killed_at = float("-inf")

    @property
    def deadline(self) -> float:
        """When `pass_time` is to be called."""
        return self._until

    @property
    def looking(self) -> bool:
        """Whether `look` is what is next."""
        return self._state is _State.CALM

    def look(
        self, memories: Iterable[Memory], programs: Iterable[bytes], now: float
    ) -> list[Instruction]:
        """This is how the memory stands: of the machine, and of the control groups it is in.

        Args:
            memories: Each.
            programs: Those that have an agent here.
            now: The time.
        """
        assert self._state is _State.CALM
        known = list(memories)
        stale = now < self._killed_at + _STALE
        self._until = now + (LOOK_CLOSER if any(each.close for each in known) else LOOK)
        asked = sorted(programs)
        if not asked or not any(each.short(stale=stale) for each in known):
            return []
        self._state = _State.WEIGHING
        self._until = now + WEIGHING_LIMIT
        self._question += 1
        self._awaited = set(asked)
        self._uses = {}
        return [Ask(program, self._question) for program in asked]

    def weighed(
        self, program: bytes, question: int, use: Use | None, now: float
    ) -> list[Instruction]:
        """An agent has answered. None: no process uses more than it was given."""
        if self._state is not _State.WEIGHING or question != self._question:
            return []
        if program not in self._awaited:
            return []
        self._awaited.discard(program)
        if use is not None:
            self._uses[program] = use
        return self._decide(now) if not self._awaited else []

    def dead(self, program: bytes, number: int, now: float) -> None:
        """A process is dead."""
        if self._killed == (program, number):
            self._calm(now)

    def gone(self, program: bytes, now: float) -> list[Instruction]:
        """A program's agent is gone, with all processes."""
        if self._killed is not None and self._killed[0] == program:
            self._calm(now)
        self._uses.pop(program, None)
        if self._state is _State.WEIGHING and program in self._awaited:
            self._awaited.discard(program)
            return self._decide(now) if not self._awaited else []
        return []

    def pass_time(self, now: float) -> list[Instruction]:
        """Whoever was waited for may have taken too long."""
        if now < self._until:
            return []
        if self._state is _State.WEIGHING:
            return self._decide(now)
        if self._state is _State.KILLING:
            self._calm(now)
        return []

    def _decide(self, now: float) -> list[Instruction]:
        chosen = worst(self._uses.values())
        if chosen is None:
            self._calm(now)
            return []
        # Numbers are each program's own: the same one may be found in two.
        program = min(each for each, use in self._uses.items() if use is chosen)
        self._state = _State.KILLING
        self._until = now + KILLING_LIMIT
        self._killed = program, chosen.number
        self._killed_at = now
        return [Kill(program, chosen)]

    def _calm(self, now: float) -> None:
        self._state = _State.CALM
        self._killed = None
        self._awaited = set()
        self._until = now + LOOK_CLOSER
