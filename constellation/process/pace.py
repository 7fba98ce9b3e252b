"""How many processes are made at a time.

What a process takes from its fork until it runs is processor time. More of them at once than the
processors can serve would all be slower by that, and what they go through would not be in the
caches any more when it is its turn. So there are a few for each processor at a time, and the others
wait their turn.

A process is counted until it runs. Whether it comes to that is for its spawner to say, who may be
busy, or be stopped; so it is counted no longer than a moment, and nobody waits for another's
spawner.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic

__all__ = ["Pace"]

_FOR_EACH_PROCESSOR = 2
_MOMENT = 0.05
"""Seconds that a process is counted at most: more than it takes where as many are made at once."""


class Pace:
    """Which processes are being made.

    Args:
        most: How many at a time; None: as many as suits the processors.
        clock: Seconds of a clock that never goes back.

    Attributes:
        most: How many at a time.
    """

    def __init__(self, most: int | None = None, clock: Callable[[], float] = monotonic) -> None:
        self.most = _FOR_EACH_PROCESSOR * _processors() + 1 if most is None else most
        self._clock = clock
        self._begun: dict[int, float] = {}  # the oldest first

    def begin(self, number: int) -> None:
        """A process is being made."""
        self._begun[number] = self._clock()

    def end(self, number: int) -> None:
        """It runs, or never will. Again it does nothing."""
        self._begun.pop(number, None)

    def has_room(self) -> bool:
        """Whether another one may be made now."""
        if len(self._begun) < self.most:
            return True
        now = self._clock()
        while self._begun:
            number, begun = next(iter(self._begun.items()))
            if now < begun + _MOMENT:
                break
            del self._begun[number]
        return len(self._begun) < self.most

    @property
    def deadline(self) -> float | None:
        """When there will be room though nothing happens (seconds of the clock); None: there is."""
        return None if self.has_room() else next(iter(self._begun.values())) + _MOMENT


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
