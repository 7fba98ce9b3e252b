"""Values to the parts of messages and back. docs/pickling.md says what travels how.

A message of a `raw`, `json` or `msgpack` channel has a part for each value. One of a `pickle`
channel is

- small: one part. Byte 0; for each value the length of its pickle (u32); the pickles.
- large: a head, pieces, buffers. The head is byte 1; the number of pieces (u32); for each value the
  length of its pickle (u64) and the number of its buffers (u32); for each buffer a byte, 1 if it is
  read-only. Then the pieces, which make up the pickles, and the buffers, a part each.

All integers are little-endian. Large are messages in which something is too big to be copied again:
the buffers that pickle protocol 5 keeps out of pickles, and long bytes.

A value is taken when it is added: what is mutable in it is copied then, once.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from constellation.channel import culprit
from constellation.channel.pickling import ImagePickler, ImageUnpickler, needs_image
from constellation.errors import SerializationError

if TYPE_CHECKING:
    from constellation.channel.byvalue import ImageRecord

__all__ = ["Decoder", "Encoder", "Undecodable", "dump_call", "load_call"]

Buffer = bytes | bytearray | memoryview

_LARGE = 64 << 10
"""Bytes from which something is not copied into the message but becomes a part of it."""

_value = struct.Struct("<QI")
_small = struct.Struct("<I")


class Undecodable:
    """Stands for a value that could not be decoded, until it is received."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Encoder:
    """Makes messages of values.

    Args:
        codec: `pickle`, `raw`, `json` or `msgpack`.
        image: The program image.

    Attributes:
        count: The values added since the last `take`.
    """

    __slots__ = (
        "_add",
        "_buffers",
        "_chunks",
        "_clear_memo",
        "_dump",
        "_encode",
        "_image",
        "_large",
        "_last",
        "_lengths",
        "count",
    )

    def __init__(self, codec: str, image: ImageRecord | None, *, spawning: bool = False) -> None:
        self._image = image
        self._chunks: list[Any] = []
        self._buffers: list[tuple[Buffer, bool]] = []
        self._lengths: list[tuple[int, int]] = []  # of large messages, and those that may become
        self._large = False
        self._last = (0, 0)  # the chunks and buffers before the value added last
        self.count = 0
        self._encode: Callable[[Any], bytes] | None = None
        if codec == "pickle":
            pickler = ImagePickler(
                _Output(self._chunks.append), image, buffer_callback=self._buffer, spawning=spawning
            )
            self._dump = pickler.dump
            self._clear_memo = pickler.clear_memo
        else:
            self._encode = _ENCODERS[codec]

    def add(self, value: Any) -> int:
        """Add a value. Gives its size in bytes.

        Raises:
            SerializationError: It cannot be encoded. What was added before stays.
        """
        chunks = self._chunks
        before = len(chunks)
        if self._encode is not None:
            return self._add_encoded(value, self._encode, before)
        buffers = len(self._buffers)
        try:
            self._dump(value)
        except BaseException as error:
            self._undo(before, buffers)
            if isinstance(error, Exception):
                raise culprit.unpicklable([("value", value)], error, self._image) from error
            raise
        self._clear_memo()
        self._last = (before, buffers)
        if len(chunks) - before == 1 and not self._buffers:
            length = size = len(chunks[before])
        else:
            length, size = self._measure(before, buffers)
        self._lengths.append((length, len(self._buffers) - buffers))
        self.count += 1
        return size

    def take(self) -> tuple[list[Buffer], int, int]:
        """The message with all values, their number, and its size."""
        parts = self._parts(self._chunks, self._lengths, self._buffers)
        count = self.count
        self._chunks.clear()
        self._buffers.clear()
        self._lengths.clear()
        self._large = False
        self.count = 0
        return parts, count, sum(map(len, parts))

    def cut(self) -> tuple[list[Buffer], int]:
        """Take the value that was added last back, as a message of its own, and its size."""
        before, buffers = self._last
        lengths = [self._lengths.pop()]
        parts = self._parts(self._chunks[before:], lengths, self._buffers[buffers:])
        del self._chunks[before:]
        del self._buffers[buffers:]
        self.count -= 1
        return parts, sum(map(len, parts))

    # -- pickles

    def _buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer goes into the pickle; else it is kept, as it is now."""
        raw = buffer.raw()
        if raw.nbytes < _LARGE:
            return True
        # An immutable object needs no copy.
        whole = raw.obj if type(raw.obj) is bytes and len(raw.obj) == raw.nbytes else bytes(raw)
        self._buffers.append((whole, raw.readonly))
        return False

    def _measure(self, before: int, buffers: int) -> tuple[int, int]:
        """The length of the pickle added last, and the size of the value."""
        length = 0
        for index in range(before, len(self._chunks)):
            chunk = self._chunks[index]
            if type(chunk) is not bytes:
                chunk = self._chunks[index] = bytes(chunk)  # the value's own memory
            length += len(chunk)
            self._large = self._large or len(chunk) >= _LARGE
        if len(self._buffers) > buffers:
            self._large = True
        return length, length + sum(len(buffer) for buffer, _ in self._buffers[buffers:])

    def _undo(self, chunks: int, buffers: int) -> None:
        if self._encode is None:
            self._clear_memo()
        del self._chunks[chunks:]
        del self._buffers[buffers:]

    def _parts(
        self,
        chunks: list[Any],
        lengths: list[tuple[int, int]],
        buffers: list[tuple[Buffer, bool]],
    ) -> list[Buffer]:
        if self._encode is not None:
            return list(chunks)
        if not self._large:
            table = struct.pack(f"<{len(lengths)}I", *[length for length, _ in lengths])
            return [b"".join((b"\0", table, *chunks))]
        pieces = _coalesced(chunks)
        head = [b"\1", _small.pack(len(pieces))]
        head += [_value.pack(length, number) for length, number in lengths]
        head.append(bytes(readonly for _, readonly in buffers))
        return [b"".join(head), *pieces, *(buffer for buffer, _ in buffers)]

    # -- the other codecs

    def _add_encoded(self, value: Any, encode: Callable[[Any], bytes], before: int) -> int:
        try:
            encoded = encode(value)
        except SerializationError:
            raise
        except Exception as error:
            raise culprit.unencodable(value, error, encode) from error
        self._chunks.append(encoded)
        self._lengths.append((len(encoded), 0))
        self._last = (before, 0)
        self.count += 1
        return len(encoded)


class _Output:
    """Where a pickler writes."""

    __slots__ = ("write",)

    def __init__(self, write: Callable[[Any], object]) -> None:
        self.write = write


def _coalesced(chunks: list[bytes]) -> list[Buffer]:
    """The same bytes in fewer pieces: small neighbours in one, large ones as they are."""
    pieces: list[Buffer] = []
    run: list[bytes] = []
    for chunk in chunks:
        if len(chunk) < _LARGE:
            run.append(chunk)
            continue
        if run:
            pieces.append(b"".join(run))
            run = []
        pieces.append(chunk)
    if run:
        pieces.append(b"".join(run))
    return pieces


def _encode_raw(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise SerializationError("value", f"a raw channel takes bytes, not {type(value).__qualname__}")


_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    "raw": _encode_raw,
    "json": msgspec.json.encode,
    "msgpack": msgspec.msgpack.encode,
}
_DECODERS: dict[str, Callable[[Any], Any]] = {
    "raw": bytes,
    "json": msgspec.json.decode,
    "msgpack": msgspec.msgpack.decode,
}


class Decoder:
    """Makes values of messages.

    Args:
        image: The program image.
    """

    __slots__ = ("_image",)

    def __init__(self, image: ImageRecord | None) -> None:
        self._image = image

    def decode(self, parts: list[Buffer], count: int, codec: str) -> list[Any]:
        """The values of a message; `Undecodable` in the place of each that could not be decoded."""
        try:
            if codec != "pickle":
                decode = _DECODERS[codec]
                return [_attempt(decode, part) for part in parts]
            if len(parts) == 1:
                return self._decode_small(parts[0], count)
            return self._decode_large(parts, count)
        except Exception as error:  # noqa: BLE001 - not what an Encoder makes: told to the receiver
            reason = f"a malformed message of codec {codec!r}: {error}"
            return [Undecodable(SerializationError("", reason)) for _ in range(count)]

    def _decode_small(self, part: Buffer, count: int) -> list[Any]:
        data = part if isinstance(part, bytes) else bytes(part)
        lengths = struct.unpack_from(f"<{count}I", data, 1)
        at = 1 + 4 * count
        loads: Callable[[Any], Any] = pickle.loads
        if needs_image(data, self._image):
            loads = self._load
        view = memoryview(data)
        values = []
        for length in lengths:
            try:
                values.append(loads(view[at : at + length]))
            except Exception as error:  # noqa: BLE001 - the user's reductions may raise anything
                values.append(Undecodable(_explained(error)))
            at += length
        return values

    def _decode_large(self, parts: list[Buffer], count: int) -> list[Any]:
        head = memoryview(parts[0])
        (number,) = _small.unpack_from(head, 1)
        pieces = parts[1 : 1 + number]
        buffers = parts[1 + number :]
        table = [_value.unpack_from(head, 5 + _value.size * i) for i in range(count)]
        readonly = head[5 + _value.size * count :]
        if len(readonly) != len(buffers):
            raise ValueError(f"{len(buffers)} buffers, {len(readonly)} announced")
        restored = [_restored(b, bool(r)) for b, r in zip(buffers, readonly, strict=True)]
        stream = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        plain = not any(needs_image(bytes(p), self._image) for p in pieces if len(p) < 2 * _LARGE)
        loads = pickle.loads if plain else self._load
        values = []
        at = place = 0
        for length, needs in table:
            own = restored[place : place + needs]
            values.append(_attempt(partial(loads, buffers=own), stream[at : at + length]))
            at += length
            place += needs
        return values

    def _load(self, data: Buffer, *, buffers: Iterable[Any] = ()) -> Any:
        return ImageUnpickler(io.BytesIO(data), self._image, buffers=buffers).load()


def _restored(buffer: Buffer, readonly: bool) -> Buffer:
    """A buffer as it was: arrays that could be written to can be again."""
    if readonly:
        return memoryview(buffer).toreadonly()
    return buffer if isinstance(buffer, bytearray) else bytearray(buffer)


def _attempt(decode: Callable[..., Any], *data: Any) -> Any:
    try:
        return decode(*data)
    except Exception as error:  # noqa: BLE001 - the user's reductions may raise anything
        return Undecodable(_explained(error))


def _explained(error: Exception) -> SerializationError:
    explained = SerializationError("", f"cannot decode a value: {type(error).__name__}: {error}")
    explained.__cause__ = error
    return explained


# -- calls


def dump_call(
    image: ImageRecord | None,
    start: Callable[..., object],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> list[Buffer]:
    """What is to be called in a new process, as the parts of a message.

    Raises:
        SerializationError: Something in it cannot be pickled; the text names the path to it.
    """
    encoder = Encoder("pickle", image, spawning=True)
    try:
        encoder.add((start, args, kwargs))
    except SerializationError as error:
        roots: list[culprit.Step] = [(call_name(start), start)]
        roots += [(f"args[{index}]", value) for index, value in enumerate(args)]
        roots += [(f"kwargs[{name!r}]", value) for name, value in kwargs.items()]
        cause = error.__cause__
        assert isinstance(cause, Exception)
        raise culprit.unpicklable(roots, cause, image, spawning=True) from cause
    return encoder.take()[0]


def load_call(
    parts: list[Buffer], image: ImageRecord | None
) -> tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]:
    """What `dump_call` made.

    Raises:
        SerializationError: It cannot be unpickled here.
    """
    (call,) = Decoder(image).decode(parts, 1, "pickle")
    if isinstance(call, Undecodable):
        raise call.error
    start, args, kwargs = call
    return start, args, kwargs


def call_name(start: Callable[..., object]) -> str:
    """What people call a callable: its name, without where it was defined."""
    name = getattr(start, "__name__", None)
    return name if isinstance(name, str) else type(start).__name__
