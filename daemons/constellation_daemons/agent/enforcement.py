"""Sees to it, on the agent's loop, that no process takes more memory than it should.

With strict enforcement the agent measures by itself, and kills. Otherwise it is the node that sees
the machine short of memory, asks each agent for its worst process, and says which one is to go.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from constellation.session.loop import Loop, Timer
from constellation_daemons.agent.gauge import Gauge, Measured
from constellation_daemons.agent.limits import Limits, Use, worst
from constellation_daemons.agent.usage import parent_of

__all__ = ["Enforcement"]


class Enforcement:
    """The limits of a program's processes on a node.

    Args:
        loop: The agent's.
        node: What the node is called.
        strict: Whether a process is killed as soon as it uses more than it was given.
        kill: Called with a process's number and the cause, to kill it with its descendants.

    Attributes:
        image: The process id of the image that the processes are forked from.
    """

    def __init__(
        self, loop: Loop, node: str, *, strict: bool, kill: Callable[[int, str], None]
    ) -> None:
        self._loop = loop
        self._node = node
        self._strict = strict
        self._kill = kill
        self._limits = Limits()
        self._gauge = Gauge(loop.selector, self._measured)
        self._timer: Timer | None = None
        self._answer: Callable[[Use | None], None] | None = None  # for the node
        self._closed = False
        self.image: int | None = None

    def given(self, number: int, mem: int) -> None:
        """A process was given so many bytes."""
        self._limits.given(number, mem)
        self._schedule()

    def started(self, number: int, os_pid: int) -> None:
        """A process exists."""
        # Its monitor, which adopts its orphans: the process is not reaped yet, or is over.
        self._limits.started(number, os_pid, parent_of(os_pid))
        self._schedule()

    def gone(self, number: int) -> None:
        """Nothing of a process is left."""
        self._limits.gone(number)

    def weigh(self, answer: Callable[[Use | None], None]) -> None:
        """Find the process that uses the most for what it was given, of those that use more.

        Args:
            answer: Called with it; None: there is none. Another one that waits is not answered.
        """
        self._answer = answer
        if not self._limits.busy and self._limits.due() is None:
            self._reply(None)
        self._schedule()

    def condemn(self, number: int) -> None:
        """A process is being killed: it is measured no more."""
        self._limits.condemn(number)

    def close(self) -> None:
        """Measure no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._gauge.close()

    # -- measuring

    def _schedule(self) -> None:
        due = self._limits.due()
        wanted = self._strict or self._answer is not None
        if due is not None and wanted and self._timer is None and not self._closed:
            self._timer = self._loop.at(due, self._begin)

    def _begin(self) -> None:
        self._timer = None
        watched = self._limits.begin(monotonic())
        if watched:
            self._gauge.start(watched, self.image)
        elif self._answer is not None:
            self._reply(None)

    def _measured(self, measured: Measured) -> None:
        over = self._limits.measured(measured.used, measured.took, monotonic())
        if self._strict:
            for use in over:
                self._end(use)
        if self._answer is not None:
            self._reply(worst(over))
        self._schedule()

    def _end(self, use: Use) -> None:
        if self._limits.condemn(use.number):
            self._kill(use.number, use.cause(self._node))

    def _reply(self, use: Use | None) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(use)
