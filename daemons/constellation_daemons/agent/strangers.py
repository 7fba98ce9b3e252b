"""The log of the strangers at the ports of a program's processes, on the agent's loop."""

from __future__ import annotations

import logging
from time import monotonic

from constellation.control.messages import TurnedAway
from constellation.pid import Pid
from constellation.session.loop import Loop, Timer
from constellation.transport.doorway import port_of
from constellation.transport.strangers import StrangerLog

__all__ = ["Strangers"]

logger = logging.getLogger(__name__)


class Strangers:
    """Logs what processes tell of strangers: few lines, however many processes tell however much.

    Args:
        loop: The agent's.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._log = StrangerLog()
        self._timer: Timer | None = None

    def told(self, pid: Pid, program: str, message: TurnedAway) -> None:
        """A process of a program has turned strangers away."""
        place = f"{port_of(pid.endpoint)} (process {pid} of {program})"
        now = monotonic()
        for each in message.strangers:
            self._say(self._log.seen(each.address, each.why, now, place=place, count=each.count))
        self._look_again()

    def close(self) -> None:
        """Tell of those that were only counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._say(self._log.last(monotonic()))

    def _due(self) -> None:
        self._timer = None
        self._say(self._log.told(monotonic()))
        self._look_again()

    def _look_again(self) -> None:
        if self._timer is None and self._log.deadline is not None:
            self._timer = self._loop.at(self._log.deadline, self._due)

    def _say(self, line: str | None) -> None:
        if line is not None:
            logger.warning("%s", line)
