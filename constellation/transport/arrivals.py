"""Which connections turned out to be strangers', pure: from what libzmq tells of a listener.

libzmq tells of each connection when it is accepted and when it has ended, by the number of its
descriptor. In between it tells that *a* handshake has succeeded or failed, and not whose. A failure
is followed by the end of that connection. For successes only their number is known, so while
several connections are in their handshakes it may not be clear whether one that ends was a peer's:
then nothing is told of it. A peer is never told of as a stranger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Arrivals", "Stranger"]

NO_PEER: Final = "what it sent is not what a peer sends"
FAILED: Final = "it did not complete the handshake"


@dataclass(frozen=True, slots=True)
class Stranger:
    """A connection that never was a peer's.

    Attributes:
        address: From where; "" where that is not known.
        why: What was wrong with it.
    """

    address: str
    why: str


class Arrivals:
    """The connections of one listener.

    Args:
        handshake: The seconds after which a connection whose handshake is not over has ended.
    """

    def __init__(self, handshake: float) -> None:
        self._handshake = handshake
        # Bounded by the descriptors that this process may have.
        self._addresses: dict[int, str] = {}  # of all connections
        self._unclear: dict[int, float] = {}  # in handshakes, as far as known -> since when
        self._succeeded = 0  # of the unclear ones
        self._failure: str | None = None  # of the connection whose end is told next

    def accepted(self, fd: int, address: str, now: float) -> None:
        """There is a new connection.

        Args:
            fd: Its descriptor. One that is known is another connection's by now.
            address: From where; "" where that is not known.
            now: Seconds of the monotonic clock.
        """
        self._settle(now)
        self._addresses[fd] = address
        self._unclear.pop(fd, None)
        self._unclear[fd] = now

    def succeeded(self, now: float) -> None:
        """One of the connections is a peer's."""
        self._settle(now)
        self._succeeded += 1
        self._clear_up()

    def failed(self, why: str = FAILED) -> None:
        """A handshake has failed.

        Args:
            why: What was wrong; "" where it was told already.
        """
        self._failure = why

    def ended(self, fd: int, now: float) -> Stranger | None:
        """A connection has ended. Says whether it was a stranger's, and not yet told of."""
        self._settle(now)
        failure, self._failure = self._failure, None
        address = self._addresses.pop(fd, None)
        if address is None:
            return None  # it went out from here: libzmq tells of these too
        unclear = self._unclear.pop(fd, None) is not None
        if failure is None and unclear and self._succeeded == 0:
            failure = NO_PEER
        self._clear_up()
        return Stranger(address, failure) if failure else None

    def _settle(self, now: float) -> None:
        """Who has been here for so long is a peer, unless its end is about to be told."""
        while self._unclear:
            fd, since = next(iter(self._unclear.items()))
            if now < since + self._handshake:
                break
            del self._unclear[fd]
        self._clear_up()

    def _clear_up(self) -> None:
        """Where as many have succeeded as are left, all of these have.

        A peer that is not unclear any more, for whatever reason, still counts among those that
        succeeded. The number is too large then, and never too small: strangers may not be told of.
        """
        if self._succeeded >= len(self._unclear):
            self._unclear.clear()
            self._succeeded = 0
