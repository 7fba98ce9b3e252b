"""The frames of the stream protocol. `docs/protocol.md` gives them to the byte.

A stream goes one way, from the process that numbers it. OPEN, DATA and CLOSE are its records and
share one rising sequence, which starts at 1. CREDIT goes the other way and speaks of the streams of
the process that receives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import msgspec

__all__ = [
    "VERSION",
    "Buffer",
    "Bye",
    "Close",
    "Credit",
    "Data",
    "Frame",
    "Hello",
    "Open",
    "Probe",
    "Sequenced",
]

VERSION = 1
"""The version of the protocol that this library speaks."""

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame on every route: who speaks, and how."""

    version: int
    key: bytes
    endpoint: str

    def __str__(self) -> str:
        return f"HELLO version {self.version} from {self.key.hex()[:7]} at {self.endpoint!r}"


@dataclass(frozen=True, slots=True)
class Open:
    """A Sender was made: what it sends from here on."""

    stream: int
    sequence: int
    name: str
    type: str
    codec: str

    size: ClassVar[int] = 0

    def __str__(self) -> str:
        text = f"OPEN {self.stream} #{self.sequence} {self.name!r}"
        return f"{text} of {self.type or 'anything'!r} as {self.codec!r}"


@final
class Data(msgspec.Struct):  # made for each message, in C
    """Values, or a fragment of one.

    Attributes:
        stream: The stream.
        sequence: The number in it.
        count: How many values end in this frame; 0 in every fragment but the last.
        weight: The bytes of the window that they take; 0 in every fragment but the last.
        more: Whether the next frame goes on with the same values.
        joined: Whether the first part goes on with the last one of the frame before.
        parts: What the codec of the channel made of the values.
    """

    stream: int
    sequence: int
    count: int
    weight: int
    more: bool
    joined: bool
    parts: list[Buffer]

    @property
    def size(self) -> int:
        """The bytes of all parts."""
        parts = self.parts
        return len(parts[0]) if len(parts) == 1 else sum(map(len, parts))

    def __str__(self) -> str:
        text = f"DATA {self.stream} #{self.sequence} {self.count} values, {self.size} bytes"
        return f"{text} in {len(self.parts)} parts{', more follows' if self.more else ''}"


@dataclass(frozen=True, slots=True)
class Close:
    """The Sender was closed; another may follow."""

    stream: int
    sequence: int

    size: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"CLOSE {self.stream} #{self.sequence}"


@dataclass(frozen=True, slots=True)
class Credit:
    """How far a stream got. Everything in it is cumulative, so a later one repairs a lost one.

    Attributes:
        stream: The stream, as the process that gets this frame numbers it.
        received: All records up to this number have been received.
        granted: The weight that may be sent, counted from the beginning of the stream.
        gap: Whether what was sent after `received` is lost, and is asked for again.
    """

    stream: int
    received: int
    granted: int
    gap: bool

    def __str__(self) -> str:
        text = f"CREDIT {self.stream} received #{self.received}, granted {self.granted}"
        return f"{text}, gap" if self.gap else text


@dataclass(frozen=True, slots=True)
class Probe:
    """Asks for a CREDIT of a stream, of which records up to `last` were sent."""

    stream: int
    last: int

    def __str__(self) -> str:
        return f"PROBE {self.stream} sent #{self.last}"


@dataclass(frozen=True, slots=True)
class Bye:
    """The process leaves. Nothing new follows.

    Attributes:
        reason: Why, for people.
        last: Of each stream its number, and the number of the last record in it.
    """

    reason: str
    last: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        ends = "".join(f", {stream} ends with #{last}" for stream, last in self.last)
        return f"BYE {self.reason!r}{ends}"


Sequenced = Open | Data | Close
Frame = Hello | Open | Data | Close | Credit | Probe | Bye
