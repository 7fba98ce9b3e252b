"""Waiting without going to sleep, where what is waited for comes within microseconds.

To wake a thread that sleeps takes longer than most answers: tens of microseconds, and a hundred on
a virtual machine. So a thread whose waits have been short asks for input for a moment, and lets
others have the processor between two looks. It does not where its waits are long, and not for a
while where others do want the processor: there the one that sleeps is the first to be served.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic

__all__ = ["Spinning"]

_MOMENT = 100e-6
"""Seconds without sleep, of one wait."""

_SHORT = 200e-6
"""Waits that take less on average are short; without spinning they take this long to end."""

_LONG = 1e-3
"""What a wait counts at most: after a few short ones it is forgotten."""

_CONTENDED = 200e-6
_PAUSE = 0.1
"""Seconds: what one look takes where others want the processor, and how long they are given it."""


class Spinning:
    """The waits of one thread at a time, on one set of descriptors.

    Args:
        wait: Waits for input for at most so many seconds, and gives what has some.
        clock: Seconds of a clock that never goes back.
    """

    __slots__ = ("_average", "_begun", "_clock", "_ended", "_paused_until", "_wait")

    def __init__(
        self,
        wait: Callable[[float | None], list[int]],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._wait = wait
        self._clock = clock
        self._average = _LONG
        self._paused_until = 0.0
        # Of the last wait, which is counted when the next one begins: then nobody waits for it.
        self._begun = 0.0
        self._ended = _LONG

    def wait(self, timeout: float | None) -> list[int]:
        """What has input, after at most `timeout` seconds (None: no limit)."""
        self._average += (min(self._ended - self._begun, _LONG) - self._average) / 4
        begun = self._begun = self._clock()
        if (
            self._average < _SHORT
            and begun >= self._paused_until
            and (timeout is None or timeout > _MOMENT)
        ):
            ready = self._spin(begun)
            if ready:
                return ready
        ready = self._wait(timeout)
        self._ended = self._clock()
        return ready

    def _spin(self, begun: float) -> list[int]:
        wait, clock, sched_yield = self._wait, self._clock, os.sched_yield
        now = begun
        end = begun + _MOMENT
        while now < end:
            ready = wait(0)
            if ready:
                self._ended = now
                return ready
            sched_yield()
            before = now
            now = clock()
            if now - before > _CONTENDED:
                self._paused_until = now + _PAUSE
                break
        return []
