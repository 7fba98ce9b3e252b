"""Sending the blobs of a program from where they are to where they are missing: both ends, pure.

::

    receiver -> sender    Want(transfer, skip, blobs)         send me these, one after the other
    sender -> receiver    Chunk(transfer, position, data)     many
    receiver -> sender    Room(transfer, received)            now and then: more may come
    receiver -> sender    Done(transfer)                      all of it is here, and verified
    sender -> receiver    Failed(transfer, reason)            I cannot go on

What is wanted is one row of bytes, the blobs one after the other, and ``position`` counts in that.
No chunk goes over the end of a blob. Both ends know each size from the manifest, so a sender can
never send more than that said.

*Room.* The sender is at most :data:`WINDOW` bytes ahead of what the receiver has told it that it
received. The receiver tells after each half of that: were it less, most messages would be about
room, and were it all, the sender would stop each time until it is told.

*Cuts.* After a cut, a silence, or when a chunk is not the one that should come, the receiver asks
again for what it lacks, under a new number. What still comes under an old one is dropped. Of a blob
that it has the beginning of it wants the rest: ``skip`` is how much of the first one it has. So
what arrives late, twice or not at all costs time only.

*The final check.* The sender hashes what it sends, and fails where a file has changed since it was
packed. The receiver has each blob verified by the store; one that is not what it should be is asked
for again, :data:`ATTEMPTS` times in all.

The receiver is :mod:`~constellation.program.receiving`, the sender
:mod:`~constellation.program.sending`. Neither waits, reads or writes: each says what is to be done,
and is told what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

import msgspec

from constellation.program.errors import TransferError
from constellation.program.manifest import Digest, Size

__all__ = [
    "ATTEMPTS",
    "CHUNK",
    "WINDOW",
    "Chunk",
    "Done",
    "Failed",
    "Progress",
    "Room",
    "ToReceiver",
    "ToSender",
    "Want",
    "decode_for_receiver",
    "decode_for_sender",
]

CHUNK = 256 << 10
"""Bytes of the largest chunk."""
WINDOW = 4 << 20
"""Bytes that may be on the way."""
ATTEMPTS = 3
"""How often a blob may come, if it comes wrong."""


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True, forbid_unknown_fields=True):
    """The base of the messages.

    Attributes:
        transfer: The receiver's number for this. It grows each time that it asks.
    """

    transfer: Size


class Want(_Message, frozen=True):
    """Send these blobs.

    Attributes:
        skip: How many bytes of the first one are here already.
        blobs: Their digests, in the order in which they are to come.
    """

    skip: Size
    blobs: tuple[Digest, ...]


class Room(_Message, frozen=True):
    """So many bytes have been received, those that were skipped among them."""

    received: Size


class Done(_Message, frozen=True):
    """Everything is here."""


class Chunk(_Message, frozen=True):
    """A part of a blob.

    Attributes:
        position: Where it is in all that is wanted.
        data: At least one byte.
    """

    position: Size
    data: Annotated[bytes, msgspec.Meta(min_length=1, max_length=CHUNK)]


class Failed(_Message, frozen=True):
    """The sender cannot go on, and why."""

    reason: str


ToSender: TypeAlias = Want | Room | Done
ToReceiver: TypeAlias = Chunk | Failed

_for_sender: msgspec.msgpack.Decoder[ToSender] = msgspec.msgpack.Decoder(ToSender)
_for_receiver: msgspec.msgpack.Decoder[ToReceiver] = msgspec.msgpack.Decoder(ToReceiver)


def decode_for_sender(data: bytes) -> ToSender:
    """The message that a sender got.

    Raises:
        TransferError: It is none of those.
    """
    try:
        return _for_sender.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TransferError(f"not a message to a sender of files: {error}") from error


def decode_for_receiver(data: bytes) -> ToReceiver:
    """The message that a receiver got.

    Raises:
        TransferError: It is none of those.
    """
    try:
        return _for_receiver.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TransferError(f"not a message to a receiver of files: {error}") from error


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a transfer has come, in bytes."""

    done: int
    total: int
