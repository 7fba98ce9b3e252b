"""The parts of messages to values: the other side of `encoder`."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from constellation.channel.layout import (
    START_OF_ONE,
    Buffer,
    Joined,
    lengths_of_small,
    unpack_large,
)
from constellation.channel.pickling import UNDERSCORE, ImageUnpickler, needs_image
from constellation.errors import SerializationError
from constellation.transport.bulk import copied

if TYPE_CHECKING:
    from constellation.channel.byvalue import ImageRecord

__all__ = ["Decoder", "Undecodable", "undecodable"]

_START_OF_BYTES, _END_OF_BYTES = b"\x80\x05B", b"\x94."
"""What pickle writes before `bytes`, and their length in four bytes, and behind them."""
_LITTLE = 4096
"""Bytes up to which a copy takes less than a view."""


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "raw": copied,
    "json": msgspec.json.decode,
    "msgpack": msgspec.msgpack.decode,
}


class Undecodable:
    """Stands for a value that could not be decoded, until it is received."""

    __slots__ = ("_error",)

    def __init__(self, error: SerializationError) -> None:
        self._error = error

    @property
    def error(self) -> SerializationError:
        """What to raise then; its cause is what decoding raised.

        A new one each time: it refers to the frames that it is raised through, and they to this.
        Without such a cycle a Receiver that its user drops is closed at once.
        """
        error = SerializationError(self._error.path, self._error.reason)
        error.__cause__ = self._error.__cause__
        return error


def undecodable(parts: list[Buffer], count: int, error: SerializationError) -> list[Undecodable]:
    """What a message that cannot be decoded brings: the same error for each of its values.

    Each value has a part or a byte at least. A message that says it has more of them is wrong in
    that too, and is not to take the memory that so many errors need; one it brings in any case.
    """
    most = len(parts) + sum(map(len, parts))
    return [Undecodable(error)] * max(1, min(count, most))


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
                return self._decode_each(parts, count, _DECODERS[codec])
            if len(parts) == 1:
                return self._decode_small(parts[0], count)
            values = unpack_large(parts, count)
        except Exception as error:  # noqa: BLE001 - not what an Encoder makes: told to the receiver
            malformed = SerializationError("", f"a malformed message of codec {codec!r}: {error}")
            malformed.__cause__ = error
            return undecodable(parts, count, malformed)
        return [_attempt(self._load, *value) for value in values]

    def decode_one(self, parts: list[Buffer], codec: str) -> Any:
        """The value of a message that has one; `Undecodable` if it could not be decoded."""
        if len(parts) != 1 or codec != "pickle":
            return self.decode(parts, 1, codec)[0]
        part = parts[0]
        if type(part) is not bytes or len(part) > _LITTLE:
            return self.decode(parts, 1, codec)[0]
        try:
            if UNDERSCORE in part and needs_image(part, self._image):
                return self._loads(part[START_OF_ONE:])
            return pickle.loads(part[START_OF_ONE:])
        except Exception as raised:  # noqa: BLE001 - the user's reductions may raise anything
            return Undecodable(_explained(raised))

    def _decode_each(
        self, parts: list[Buffer], count: int, decode: Callable[[Any], Any]
    ) -> list[Any]:
        if len(parts) != count:
            raise ValueError(f"{len(parts)} parts for {count} values")
        return [_attempt(decode, part) for part in parts]

    def _decode_small(self, part: Buffer, count: int) -> list[Any]:
        data = part if type(part) is bytes else bytes(part)
        loads = self._loads if needs_image(data, self._image) else pickle.loads
        if count == 1:
            try:
                return [loads(memoryview(data)[START_OF_ONE:])]
            except Exception as raised:  # noqa: BLE001 - the user's reductions may raise anything
                return [Undecodable(_explained(raised))]
        lengths, start = lengths_of_small(data, count)
        file = io.BytesIO(data)
        file.seek(start)
        # All in C: after an error the values before it are in the list, and the map goes on.
        rest = map(loads, map(file.read, lengths))
        values: list[Any] = []
        failed: Undecodable | None = None
        try:
            while True:
                failed = None
                try:
                    values.extend(rest)
                except Exception as raised:  # noqa: BLE001 - the user's reductions may raise anything
                    failed = Undecodable(_explained(raised))
                if len(values) == count:
                    return values
                # To `extend` StopIteration is the end, whoever raises it.
                values.append(failed or Undecodable(_explained(StopIteration())))
        finally:
            del values, failed  # what was raised refers to this frame

    def _loads(self, data: Buffer) -> Any:
        return ImageUnpickler(io.BytesIO(data), self._image).load()

    def _load(self, stretches: list[memoryview], buffers: list[Buffer]) -> Any:
        if len(stretches) == 3 and stretches[2] == _END_OF_BYTES:
            start, content, _ = stretches
            if start[:3] == _START_OF_BYTES and start[3:] == len(content).to_bytes(8, "little")[:4]:
                return copied(content)
        file = io.BytesIO(stretches[0]) if len(stretches) == 1 else Joined(stretches)
        return ImageUnpickler(file, self._image, buffers=buffers).load()


def _attempt(decode: Callable[..., Any], *data: Any) -> Any:
    try:
        return decode(*data)
    except Exception as error:  # noqa: BLE001 - the user's reductions may raise anything
        return Undecodable(_explained(error))


def _explained(error: Exception) -> SerializationError:
    explained = SerializationError("", f"cannot decode a value: {type(error).__name__}: {error}")
    explained.__cause__ = error
    return explained
