"""What two processes tell each other about the memory that one lends to the other.

It goes on a stream of its own, in both directions. The first byte of a message is its kind:

=========  =====================================================================================
OFFER      where the ledger of the sender is (`Pool.offer`)
ACCEPTED   it could be opened: from now on, lend
REFUSED    it could not
WANTED     a buffer that was lent and cannot be mapped: where it is, and what it is for
CONTENT    such a buffer: what it is for; the buffer is the second part
=========  =====================================================================================
"""

from __future__ import annotations

import enum
import logging
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from constellation.transport.memory import Memory
    from constellation.transport.peer import Peer
    from constellation.wire.events import Arrived, Closed, Opened
    from constellation.wire.frames import Buffer

__all__ = ["STREAM", "Kind", "Negotiation", "Place", "Reference"]

logger = logging.getLogger(__name__)

STREAM = "\0memory"
"""The name of the streams."""


class Kind(enum.IntEnum):
    """What a message is; see the module's text."""

    OFFER = 0
    ACCEPTED = 1
    REFUSED = 2
    WANTED = 3
    CONTENT = 4


class Reference(NamedTuple):
    """What stands for a buffer in a message: its block at the lender's, and its size in bytes."""

    fd: int
    block: int
    size: int
    inode: int

    @classmethod
    def unpack(cls, data: Buffer) -> Reference:
        """The reference that a part of a message is.

        Raises:
            struct.error: It is none.
        """
        return cls(*_reference.unpack(data))

    def pack(self) -> bytes:
        """The part of a message."""
        return _reference.pack(*self)


class Place(NamedTuple):
    """Where a buffer belongs: the stream, the record and the part. No other has ever the same."""

    stream: int
    record: int
    part: int


_reference = struct.Struct("<IIQQ")
_place = struct.Struct("<IQI")


def wanted(place: Place, reference: Reference) -> bytes:
    """A message that asks for a buffer."""
    return bytes([Kind.WANTED]) + _place.pack(*place) + reference.pack()


def content(place: Place) -> bytes:
    """The first part of the answer."""
    return bytes([Kind.CONTENT]) + _place.pack(*place)


class Negotiation:
    """Where the messages of a peer go; an `Inlet` of the transport."""

    in_use = False
    unread = False
    overlooked = 0

    def __init__(self, memory: Memory, peer: Peer) -> None:
        self._memory = memory
        self._peer = peer

    def arrived(self, event: Arrived) -> None:
        """A message has come; see the module's text."""
        event.stream.consumed(event.weight)
        try:
            self._hear(event.parts)
        except (IndexError, ValueError, struct.error) as error:
            logger.warning("process %s says what is unknown of memory: %s", self._peer.pid, error)

    def _hear(self, parts: list[Buffer]) -> None:
        memory, peer = self._memory, self._peer
        head = bytes(parts[0])
        data = head[1:]
        match Kind(head[0]):
            case Kind.OFFER:
                memory.offered(peer, data)
            case Kind.ACCEPTED:
                peer.lends = True
            case Kind.REFUSED:
                peer.lends = False
            case Kind.WANTED:
                place = Place(*_place.unpack_from(data))
                memory.asked(peer, place, Reference.unpack(data[_place.size :]))
            case Kind.CONTENT:
                memory.came(peer, Place(*_place.unpack(data)), parts[1])

    def opened(self, event: Opened) -> None:
        """Nothing to do: the stream says it all."""

    def closed(self, event: Closed) -> None:
        """Nothing to do: it stays open."""

    def forked(self, lock: Any) -> None:
        """This is a fork of the process."""

    def ended(self) -> None:
        """The peer is gone."""
