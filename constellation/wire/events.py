"""What a link tells about what it received."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from constellation.wire.frames import Buffer
    from constellation.wire.stream import Inbound, Outbound

__all__ = ["Arrived", "Closed", "Event", "Greeted", "Left", "Opened", "Received", "Room"]


@dataclass(frozen=True, slots=True)
class Greeted:
    """The peer has said who it is."""

    version: int
    key: bytes
    endpoint: str


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer has made a Sender."""

    stream: Inbound
    type: str
    codec: str


class Arrived(msgspec.Struct):  # made for each message, in C
    """Values have arrived, the last of them with the record of this number.

    Who takes them gives their weight to `Inbound.consumed`. Who cannot have them yet has to
    `Inbound.hold` the record before the link is asked for its next frame.

    Attributes:
        taken: For who takes it to note how far that is, as the next two are.
    """

    stream: Inbound
    parts: list[Buffer]
    count: int
    weight: int
    record: int
    taken: bool = False
    values: Any = None
    missing: Any = None


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer has closed its Sender, and everything before that has arrived."""

    stream: Inbound


@dataclass(frozen=True, slots=True)
class Room:
    """The window of a stream has grown."""

    stream: Outbound


@dataclass(frozen=True, slots=True)
class Received:
    """The peer has received more of a stream."""

    stream: Outbound


@dataclass(frozen=True, slots=True)
class Left:
    """The peer leaves, and everything that it has ever sent has arrived."""

    reason: str


Event = Greeted | Opened | Arrived | Closed | Room | Received | Left
