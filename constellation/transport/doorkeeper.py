"""What is told of those that connect to a listener and turn out to be no peers.

Strangers with a key that is not let in are told of by the ZAP handler. All others never get so far:
they say nothing, or what no peer says, or do not know the key of the server. What libzmq tells of
its connections shows them.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import socket as sockets
from collections.abc import Callable
from typing import Final

import zmq

from constellation.transport.arrivals import Arrivals
from constellation.transport.security import HANDSHAKE_MS
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

_NOT_SECURE: Final = "it did not speak CURVE as a peer does"


class Doorkeeper:
    """Logs the strangers at a listener: few lines, however many they are.

    Args:
        tell: What is called with a line; by default it is logged as a warning.
        strangers: Counts them, where several listeners are told of together.

    Attributes:
        events: What it is to be told of.
    """

    events = EVENTS

    def __init__(
        self, tell: Callable[[str], None] | None = None, strangers: StrangerLog | None = None
    ) -> None:
        self._tell = tell if tell is not None else logger.warning
        self._strangers = StrangerLog() if strangers is None else strangers
        self._arrivals = Arrivals(HANDSHAKE_MS / 1000 + 1)
        self._few_told_at: float | None = None

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`tick` (seconds of the monotonic clock), or None."""
        return self._strangers.deadline

    def see(self, event: int, value: int, now: float) -> None:
        """Libzmq has told something of a connection that came in.

        Args:
            event: One of `EVENTS`.
            value: What belongs to it.
            now: Seconds of the monotonic clock.
        """
        arrivals = self._arrivals
        match event:
            case zmq.EVENT_ACCEPTED:
                arrivals.accepted(value, _peer(value), now)
                self._check_descriptors(value, now)
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                arrivals.succeeded(now)
            case zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                arrivals.failed()
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                arrivals.failed(_NOT_SECURE)
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                arrivals.failed("")  # the handler has told of it
            case zmq.EVENT_DISCONNECTED:
                stranger = arrivals.ended(value, now)
                if stranger is not None:
                    self._say(self._strangers.seen(stranger.address, stranger.why, now))

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


def _peer(fd: int) -> str:
    """Where a connection of libzmq's comes from, if it is still there; "" otherwise.

    Its number may be that of anything by now: what is told of may have happened long ago, if this
    process was stopped.
    """
    with contextlib.suppress(OSError):
        connection = sockets.socket(fileno=fd)
        try:
            if connection.family in (sockets.AF_INET, sockets.AF_INET6):
                # A listener for both versions of IP shows those of IPv4 as some of IPv6.
                return str(connection.getpeername()[0]).removeprefix("::ffff:")
        finally:
            connection.detach()  # it stays libzmq's
    return ""
