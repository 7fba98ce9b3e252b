"""Where things are in a message of a `pickle` channel: parts of it from pickles, and back.

A message is small or large. All integers are little-endian, and how many values a message has is
told beside it.

=======  ==================================  ====================================================
message  part                                content
=======  ==================================  ====================================================
small    the only one                        byte 0; the length of each pickle (u32); the pickles
large    head                                byte 1; the number of pieces (u32); for each value
                                             the length of its pickle (u64) and the number of its
                                             buffers (u32); for each buffer a byte of flags: 1 if
                                             it may not be written to, 2 if the part only refers
                                             to it
large    buffers, the rest                   what pickle protocol 5 keeps out of pickles, or
                                             references to it (`constellation.transport.memory`)
large    pieces, as many as the head says    the pickles, cut anywhere
=======  ==================================  ====================================================

A message is large if something in it is too big to be copied once more: it is a part of its own.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from constellation.transport.bulk import STEP
from constellation.wire.fragments import Part

__all__ = [
    "LARGE",
    "READONLY",
    "REFERENCE",
    "START_OF_ONE",
    "Buffer",
    "Entry",
    "Joined",
    "lengths_of_small",
    "pack_large",
    "pack_small",
    "references",
    "unpack_large",
]

Buffer = bytes | bytearray | memoryview

LARGE = 64 << 10
"""Bytes from which something is not copied into the message but becomes a part of it."""

READONLY, REFERENCE = 1, 2
"""Flags of a buffer."""

_small_one = struct.Struct("<BI")
START_OF_ONE = _small_one.size
"""Where the pickle begins in a small message of one value."""

_large = struct.Struct("<BI")
_value = struct.Struct("<QI")
_large_one = struct.Struct("<BIQI")  # both, where there is one value


class Entry(NamedTuple):
    """What one value of a large message is made of."""

    chunks: int  # of its pickle
    length: int  # of its pickle, in bytes
    buffers: int


def pack_small(chunks: Sequence[bytes]) -> list[Part]:
    """The parts of a small message, which has one. Each chunk is the pickle of a value."""
    count = len(chunks)
    if count == 1:
        chunk = chunks[0]
        return [_small_one.pack(0, len(chunk)) + chunk]
    table = struct.pack(f"<B{count}I", 0, *map(len, chunks))
    return [b"".join((table, *chunks))]


def lengths_of_small(data: bytes, count: int) -> tuple[tuple[int, ...], int]:
    """The lengths of the pickles in a small message, and where they begin.

    Raises:
        struct.error: The message is too short to hold as many.
        ValueError: The lengths are those of another message.
    """
    lengths = struct.unpack_from(f"<{count}I", data, 1)
    start = 1 + 4 * count
    if data[0] != 0 or start + sum(lengths) != len(data):
        raise ValueError(f"not a small message of {count} values")
    return lengths, start


def pack_large(
    chunks: Sequence[bytes], entries: Sequence[Entry], buffers: Sequence[tuple[Part, int]]
) -> list[Part]:
    """The parts of a large message.

    Args:
        chunks: The pickles of all values, in any number of chunks.
        entries: What belongs to each value.
        buffers: The buffers of all values, each with its flags.
    """
    pieces = _pieces(chunks)
    if len(entries) == 1:
        _, length, number = entries[0]
        head = _large_one.pack(1, len(pieces), length, number)
    else:
        table = [_value.pack(length, number) for _, length, number in entries]
        head = b"".join((_large.pack(1, len(pieces)), *table))
    if not buffers:
        return [head, *pieces]
    flags = bytes([flags for _, flags in buffers])
    return [head + flags, *[buffer for buffer, _ in buffers], *pieces]


def _pieces(chunks: Sequence[bytes]) -> list[bytes]:
    """The same bytes in fewer pieces: small neighbours in one, large ones as they are."""
    pieces: list[bytes] = []
    run: list[bytes] = []
    for chunk in chunks:
        if len(chunk) < LARGE:
            run.append(chunk)
            continue
        if run:
            pieces.append(b"".join(run))
            run.clear()
        pieces.append(chunk)
    if run:
        pieces.append(b"".join(run))
    return pieces


def unpack_large(
    parts: Sequence[Buffer], count: int
) -> Iterable[tuple[list[memoryview], list[Buffer]]]:
    """The pickle of each value of a large message, in stretches, and its buffers.

    Raises:
        struct.error: The head is too short.
        ValueError: The parts are not those that the head announces.
    """
    if count == 1:
        return [_unpack_one(parts)]
    head = memoryview(parts[0])
    kind, number = _large.unpack_from(head)
    table = [_value.unpack_from(head, _large.size + _value.size * i) for i in range(count)]
    flags = head[_large.size + _value.size * count :]
    first = max(len(parts) - number, 1)
    pieces = [memoryview(piece) for piece in parts[first:]]
    buffers = parts[1:first]
    if (
        kind != 1
        or len(pieces) != number
        or len(flags) != len(buffers)
        or sum(needs for _, needs in table) != len(buffers)
        or sum(length for length, _ in table) != sum(map(len, pieces))
    ):
        raise ValueError(f"not a large message of {count} values in {len(parts)} parts")
    return _values(table, pieces, [_restored(*pair) for pair in zip(buffers, flags)])  # noqa: B905 - of one length


def _unpack_one(parts: Sequence[Buffer]) -> tuple[list[memoryview], list[Buffer]]:
    """As `unpack_large`, of a message of one value, as most of them are."""
    head = parts[0]
    kind, number, length, needs = _large_one.unpack_from(head)
    flags = head[_large_one.size :]
    first = 1 + needs
    pieces = [memoryview(piece) for piece in parts[first:]]
    if (
        kind != 1
        or len(pieces) != number
        or len(flags) != needs
        or length != sum(map(len, pieces))
        or len(parts) < first
    ):
        raise ValueError(f"not a large message of one value in {len(parts)} parts")
    if not needs:
        return pieces, []
    return pieces, [_restored(*pair) for pair in zip(parts[1:first], flags)]  # noqa: B905 - of one length


def _values(
    table: list[tuple[int, int]], pieces: list[memoryview], buffers: list[Buffer]
) -> Iterator[tuple[list[memoryview], list[Buffer]]]:
    at = index = place = 0
    for length, needs in table:
        stretches = []
        left = length
        while left:
            stretch = pieces[index][at : at + left]
            stretches.append(stretch)
            left -= len(stretch)
            at += len(stretch)
            if at == len(pieces[index]):
                index, at = index + 1, 0
        yield stretches, buffers[place : place + needs]
        place += needs


def references(parts: Sequence[Buffer]) -> list[int]:
    """Which parts of a large message stand for buffers; none if the message is none."""
    head = memoryview(parts[0])
    if len(head) < _large.size:
        return []
    kind, pieces = _large.unpack_from(head)
    count = len(parts) - 1 - pieces
    flags = head[len(head) - max(count, 0) :]
    if kind != 1 or len(flags) != count:
        return []
    return [1 + index for index, flag in enumerate(flags) if flag & REFERENCE]


def _restored(buffer: Buffer, flags: int) -> Buffer:
    """A buffer that can be written to if the one that was sent could; a copy only if needed."""
    if flags & READONLY:
        return buffer  # the pickle itself says so
    return bytearray(buffer) if memoryview(buffer).readonly else buffer


class Joined:
    """A file of the stretches of one pickle. Large `bytes` are read straight into their place."""

    __slots__ = ("_at", "_stretches")

    def __init__(self, stretches: list[memoryview]) -> None:
        self._stretches = iter(stretches)
        self._at = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """The next bytes; fewer where the pickle ends."""
        if size <= len(self._at):
            data, self._at = self._at[:size], self._at[size:]
            return bytes(data)
        whole = bytearray(size)
        del whole[self.readinto(whole) :]
        return bytes(whole)

    def readinto(self, target: Buffer, /) -> int:
        """Fills a buffer with the next bytes. Gives how many there were."""
        view = memoryview(target)
        done = 0
        while done < len(view):
            if not self._at:
                stretch = next(self._stretches, None)
                if stretch is None:
                    break
                self._at = stretch
            # A little at a time: other threads shall have their turn.
            step = min(len(self._at), len(view) - done, STEP)
            view[done : done + step] = self._at[:step]
            self._at = self._at[step:]
            done += step
        return done

    def readline(self) -> bytes:
        """Pickles of protocol 5 have no lines; the Unpickler asks for the method all the same.

        Raises:
            pickle.UnpicklingError: Always.
        """
        raise pickle.UnpicklingError("not a pickle of protocol 5")
