"""What a process of a deployed program sees of the strangers at its port, and tells its node.

It has no log of its own that an operator would look at: what it prints is its user's. And it costs
next to nothing, since there are many of them:

- The transport has libzmq tell of connections only when the process has run for a moment. Until
  then strangers with another key are told of, and no others.
- That a handshake has succeeded is not asked for: it would wake the process for each connection of
  its own making. The ZAP handler knows of those that matter.
- What is told goes over the stream of control messages, the first at once and those that follow
  together (`INTERVAL`), whatever there comes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from time import monotonic
from typing import Final

import zmq

from constellation.control.messages import Stranger, TurnedAway
from constellation.transport.doorway import Doorway
from constellation.transport.strangers import Report, Sight, Tally

__all__ = ["Lodge"]

INTERVAL: Final = 2.0
"""Seconds between two messages, at least."""


class Lodge:
    """Tells of the strangers at the port of a process. Guarded by the transport's lock.

    Args:
        tell: Sends a message to the node.
        wake: Called with when :meth:`tick` is to be called (seconds of the monotonic clock).

    Attributes:
        events: What it is to be told of by libzmq.
        at_once: Whether from before anything can connect.
        due: The timer that is set for it.
    """

    events: Final = int(
        zmq.EVENT_ACCEPTED
        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        | zmq.EVENT_DISCONNECTED
    )
    at_once: Final = False

    def __init__(self, tell: Callable[[TurnedAway], None], wake: Callable[[float], None]) -> None:
        self._tell = tell
        self._wake = wake
        self.due: float | None = None

    # Made where they are needed: most processes see nobody, and none has memory to give away.

    @cached_property
    def _doorway(self) -> Doorway:
        return Doorway()

    @cached_property
    def _tally(self) -> Tally:
        return Tally(INTERVAL)

    def see(self, event: int, value: int, endpoint: str, now: float) -> None:
        """Libzmq has told something of a connection: see `Doorkeeper.see`."""
        if endpoint.startswith("tcp:"):  # who gets at the socket in the file system is no stranger
            stranger = self._doorway.see(event, value, now)
            if stranger is not None:
                self._count(stranger.address, stranger.why, now)

    def admitted(self) -> None:
        """The ZAP handler lets somebody in, of whom libzmq has told before."""
        self._doorway.admitted(monotonic())

    def refused(self, address: str, why: str) -> None:
        """The ZAP handler turns somebody away."""
        self._count(address, why, monotonic())

    def tick(self, now: float) -> None:
        """Tell of those that were only counted, if it is time for it."""
        if "_tally" in self.__dict__:
            self._send(self._tally.told(now))
            self._look_again()

    def close(self, now: float) -> None:
        """Tell of those that were only counted: nothing will be told any more."""
        if "_tally" in self.__dict__:
            self._send(self._tally.last(now))

    def _count(self, address: str, why: str, now: float) -> None:
        self._send(self._tally.seen(Sight(address, "", why), now))
        self._look_again()

    def _look_again(self) -> None:
        deadline = self._tally.deadline
        if deadline is not None:
            self._wake(deadline)

    def _send(self, report: Report | None) -> None:
        if report is not None:
            told = [Stranger(each.address, each.why, each.count) for each in report.sights]
            self._tell(TurnedAway(tuple(told)))
