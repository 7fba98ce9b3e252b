"""Values to the parts of messages.

A message of a `raw`, `json` or `msgpack` channel has a part for each value; `layout` says what one
of a `pickle` channel has. A value is taken when it is added: what is mutable in it is copied then,
once.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from constellation.channel import culprit
from constellation.channel.layout import (
    LARGE,
    READONLY,
    REFERENCE,
    Entry,
    pack_large,
    pack_small,
)
from constellation.channel.pickling import ImagePickler
from constellation.errors import SerializationError
from constellation.transport.bulk import part_of, pieces_of
from constellation.transport.memory import Lent
from constellation.wire.fragments import Part

if TYPE_CHECKING:
    from constellation.channel.byvalue import ImageRecord

__all__ = ["Encoder"]

LENT_FROM = 128 << 10
"""Bytes of a buffer that costs less to map at the receiver than to send."""

Lend = Callable[[memoryview], "Lent | None"]


class Encoder:
    """Makes messages of values. For one thread at a time.

    Args:
        codec: `pickle`, `raw`, `json` or `msgpack`.
        image: The program image.
        spawning: As for `ImagePickler`.
        lend: Copies a large buffer to where the receiver finds it, if that is possible.

    Attributes:
        count: The values added since the last `clear`.
    """

    __slots__ = (
        "_buffers",
        "_chunks",
        "_clear_memo",
        "_dirty",
        "_dump",
        "_encode",
        "_entries",
        "_image",
        "_large",
        "_length",
        "_pack",
        "_pickler",
        "_placed",
        "count",
    )

    def __init__(
        self,
        codec: str,
        image: ImageRecord | None,
        *,
        spawning: bool = False,
        lend: Lend | None = None,
    ) -> None:
        self._image = image
        # Of pickles most have one chunk. Which chunks belong to which value is noted only once the
        # message is large; until then there is one for each.
        self._chunks: list[Any] = []
        self._buffers: list[tuple[Part, int]] = []
        self._entries: list[Entry] = []
        self._large = False
        self._length = 0  # the chunks of the values that count, if it is large
        self._placed = 0  # their buffers
        self._dirty = False  # there is more than that: something was interrupted
        self._encode: Callable[[Any], Part] | None = None
        self.count = 0
        if codec == "pickle":
            pickler = ImagePickler(
                _Output(self._chunks.append),
                image,
                buffer_callback=partial(_out_of_band, self._buffers.append, lend),
                spawning=spawning,
            )
            self._pickler: ImagePickler | None = pickler
            self._dump: Callable[[Any], None] = pickler.dump
            self._clear_memo: Callable[[], None] = pickler.clear_memo
            self._pack: Callable[[list[Any]], list[Part]] = pack_small
        else:
            self._pickler = None
            self._encode = _ENCODERS[codec]
            self._dump = partial(_append_encoded, self._chunks.append, self._encode)
            self._clear_memo = _nothing
            self._pack = list

    @property
    def size(self) -> int:
        """The bytes of the values added since the last `clear`."""
        chunks, buffers = self._chunks, self._buffers
        return sum(map(len, chunks)) + sum(_size(buffer) for buffer, _ in buffers)

    def add(self, value: Any) -> int:
        """Add a value. Gives its size in bytes.

        Raises:
            SerializationError: It cannot be encoded. What was added before stays.
        """
        if self._dirty:
            self._restore()
        chunks = self._chunks
        # A signal handler may raise anywhere in here.
        self._dirty = True
        try:
            self._dump(value)
            self._clear_memo()
            count = self.count + 1
            if len(chunks) == count and not self._large and not self._buffers:
                self.count = count
                self._dirty = False
                return len(chunks[-1])
            size, placed = self._note()
            length = len(chunks)
            # The value is added by these lines together.
            self.count = count
            self._length = length
            self._placed = placed
            self._dirty = False
            return size
        except BaseException as error:
            self._restore()
            if not isinstance(error, Exception):
                raise
            failure = error
        # Out here, since it tries again, and would have the failure as a context.
        try:
            if self._succeeds(value):
                raise failure  # of a signal handler: the value is not to blame
            raise self._explained(value, failure)
        finally:
            # It refers to this frame, and that to those of the callers, who may drop their Sender.
            del failure

    def message(self) -> list[Any]:
        """The parts of the message with all values. They stay until `clear`."""
        if self._dirty:
            self._restore()
        chunks = self._chunks
        if self._large:
            return pack_large(chunks, self._entries, self._buffers)
        return self._pack(chunks)

    def clear(self) -> None:
        """Let go of all values."""
        if not (self._dirty or self._large):
            # These two lines together. All else is as it should be.
            self.count = 0
            self._chunks.clear()
            pickler = self._pickler
            if pickler is not None and pickler.touched:
                pickler.forget()
            return
        self._dirty = True
        self.count = self._length = self._placed = 0
        self._restore()

    def take(self) -> tuple[list[Part], int]:
        """The message with all values, and their number, in one step."""
        message, count = self.message(), self.count
        self.clear()
        return message, count

    def cut(self) -> tuple[list[Part], int]:
        """Take the value that was added last back, as a message of its own, and its size."""
        if self._dirty:
            self._restore()
        chunks, buffers = self._chunks, self._buffers
        if self._large:
            entry = self._entries[-1]
            first, placed = self._length - entry.chunks, self._placed - entry.buffers
            parts = pack_large(chunks[first:], [entry], buffers[placed:])
        else:
            first, placed = self.count - 1, 0
            parts = self._pack(chunks[-1:])
        size = sum(map(_size if buffers else len, parts))
        self._dirty = True
        self.count -= 1
        self._length = first
        self._placed = placed
        self._restore()
        return parts, size

    def _note(self) -> tuple[int, int]:
        """Note what the value added last is made of, in a message that is large, or is from now on.

        Gives the value's size, and the number of buffers of all values.
        """
        chunks, buffers, entries = self._chunks, self._buffers, self._entries
        if not self._large:
            noted = [Entry(1, len(chunk), 0) for chunk in chunks[: self.count]]
            self._length = self.count
            self._large = True
            entries[:] = noted
        before = self._length
        for index in reversed(range(before, len(chunks))):
            if type(chunks[index]) is not bytes:
                chunks[index : index + 1] = pieces_of(chunks[index])  # the value's own memory
        length = sum(map(len, chunks[before:]))
        placed = len(buffers)
        own = placed - self._placed
        entries.append(Entry(len(chunks) - before, length, own))
        if own:
            length += sum([_size(buffer) for buffer, _ in buffers[self._placed :]])
        return length, placed

    def _restore(self) -> None:
        """Have no more in here than the values that count. May be called again at any time."""
        self._clear_memo()
        del self._chunks[self._length if self._large else self.count :]
        del self._buffers[self._placed :]
        if self._large:
            del self._entries[self.count :]
            if not self.count:
                self._large = False
        if self._pickler is not None and not self.count:
            self._pickler.forget()
        self._dirty = False

    def _succeeds(self, value: Any) -> bool:
        """Whether a value that could not be added can be after all."""
        self._dirty = True
        try:
            self._dump(value)
        except Exception:  # noqa: BLE001 - the first failure is told
            return False
        finally:
            self._restore()
        return True

    def _explained(self, value: Any, error: Exception) -> SerializationError:
        if self._encode is None:
            return culprit.unpicklable([("value", value)], error, self._image)
        if isinstance(error, SerializationError):
            return error
        return culprit.unencodable(value, error, self._encode)


class _Output:
    """Where a pickler writes."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[Any], object]) -> None:
        self.write = write


def _out_of_band(
    keep: Callable[[tuple[Part, int]], None], lend: Lend | None, buffer: pickle.PickleBuffer
) -> bool:
    """Whether a buffer goes into the pickle; else it is kept, as it is now."""
    raw = buffer.raw()
    size = raw.nbytes
    if size < LARGE:
        return True
    flags = READONLY if raw.readonly else 0
    if lend is not None and size >= LENT_FROM:
        lent = lend(raw)
        if lent is not None:
            keep((lent, flags | REFERENCE))
            return False
    whole: Part = raw.obj if type(raw.obj) is bytes else b""  # immutable: needs no copy
    if len(whole) != size:
        whole = part_of(raw)
    keep((whole, flags))
    return False


def _size(part: Part) -> int:
    """The bytes that a part of a message takes at its receiver."""
    return part.size if type(part) is Lent else len(part)


def _append_encoded(
    append: Callable[[Part], None], encode: Callable[[Any], Part], value: Any
) -> None:
    append(encode(value))


def _nothing() -> None:
    pass


def _encode_raw(value: Any) -> Part:
    if type(value) is bytes:
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return part_of(value)
    raise SerializationError("value", f"a raw channel takes bytes, not {type(value).__qualname__}")


_ENCODERS: dict[str, Callable[[Any], Part]] = {
    "raw": _encode_raw,
    "json": msgspec.json.encode,
    "msgpack": msgspec.msgpack.encode,
}
