"""What is told of those that connect to a listener and turn out to be no peers.

Strangers with a key that is not let in are told of by the ZAP handler. All others never get so far:
they say nothing, or what no peer says, or do not know the key of the server. What libzmq tells of
its connections shows them.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable
from typing import Final

import zmq

from constellation.transport.doorway import Doorway, port_of
from constellation.transport.strangers import StrangerLog

__all__ = ["EVENTS", "Doorkeeper"]

logger = logging.getLogger(__name__)

# Not that a connection could not be accepted, for want of descriptors: libzmq tries without end,
# and tells of it each time. It waits where its telling is not taken at once, and with it all peers.
EVENTS: Final = int(
    zmq.EVENT_ACCEPTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
)
"""What libzmq is to tell of a listener."""

_LAST_DESCRIPTORS: Final = 32
"""How many descriptors are left at most when it is told that they are few."""

_TOLD_AGAIN: Final = 60.0
"""Seconds after which it is told again."""


class Doorkeeper:
    """Logs the strangers at a listener: few lines, however many they are.

    Args:
        tell: What is called with a line; by default it is logged as a warning.
        strangers: Counts them, where several listeners are told of together.

    Attributes:
        events: What it is to be told of.
        at_once: Whether from before anything can connect.
    """

    events = EVENTS
    at_once = True

    def __init__(
        self, tell: Callable[[str], None] | None = None, strangers: StrangerLog | None = None
    ) -> None:
        self._tell = tell if tell is not None else logger.warning
        self._strangers = StrangerLog() if strangers is None else strangers
        self._doorway = Doorway()
        self._few_told_at: float | None = None

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`tick` (seconds of the monotonic clock), or None."""
        return self._strangers.deadline

    def see(self, event: int, value: int, endpoint: str, now: float) -> None:
        """Libzmq has told something of a connection that came in.

        Args:
            event: One of `EVENTS`.
            value: What belongs to it.
            endpoint: Where the connection came in.
            now: Seconds of the monotonic clock.
        """
        stranger = self._doorway.see(event, value, now)
        if event == zmq.EVENT_ACCEPTED:
            self._check_descriptors(value, now)
        if stranger is not None:
            place = port_of(endpoint)
            self._say(self._strangers.seen(stranger.address, stranger.why, now, place=place))

    def tick(self, now: float) -> None:
        """Tell of those that were only counted, if it is time for it."""
        self._say(self._strangers.told(now))

    def close(self, now: float) -> None:
        """Tell of those that were only counted: nothing will be told any more."""
        self._say(self._strangers.last(now))

    def _check_descriptors(self, latest: int, now: float) -> None:
        """Say so where few descriptors are left: a connection beyond the last is not accepted."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if most == resource.RLIM_INFINITY or latest < most - _LAST_DESCRIPTORS:
            return  # the system gives the lowest number that is free
        if self._few_told_at is None or now >= self._few_told_at + _TOLD_AGAIN:
            self._few_told_at = now
            self._tell(
                f"nearly all of the {most} files that this process may have open are: more "
                "connections will have to wait; `ulimit -n` raises that"
            )

    def _say(self, line: str | None) -> None:
        if line is not None:
            self._tell(line)
