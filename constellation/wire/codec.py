"""Frames to bytes and back: one frame is the parts of one ZeroMQ message after the route.

Integers are unsigned and big-endian. Decoding takes any bytes, and gives a frame or raises
`WireError`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from constellation.wire.errors import WireError
from constellation.wire.frames import Buffer, Bye, Close, Credit, Data, Frame, Hello, Open, Probe

__all__ = ["INLINE_LIMIT", "PLAIN", "PLAIN_SIZE", "decode", "encode", "pack_plain", "unpack_plain"]

INLINE_LIMIT = 8192
"""The most bytes of parts that travel in the part of the header: copying them is cheaper than
another ZeroMQ part."""

_HELLO, _OPEN, _DATA, _CLOSE, _CREDIT, _PROBE, _BYE = range(1, 8)
_MORE, _JOINED, _INLINE = 1, 2, 4
_GAP = 1

_hello = struct.Struct("!BB16s")
_open = struct.Struct("!BIQHHB")
_data = struct.Struct("!BBIQIQI")
_close = struct.Struct("!BIQ")
_credit = struct.Struct("!BBIQQ")
_probe = struct.Struct("!BIQ")
_bye = struct.Struct("!BI")
# The header of DATA, in short, for `Outbound.dispatch` and `Link.arrive`: the first number is PLAIN
# where nothing of it is in other frames or other parts of the message.
_plain = struct.Struct("!HIQIQI")
PLAIN = _DATA << 8 | _INLINE
PLAIN_SIZE = _plain.size
pack_plain = _plain.pack
unpack_plain = _plain.unpack_from
_end = struct.Struct("!IQ")
_length = struct.Struct("!I")


def encode(frame: Frame) -> list[Buffer]:
    """The parts of the message that carries a frame."""
    if type(frame) is not Data:
        return [_encode_control(frame)]
    parts = frame.parts
    count = len(parts)
    inline = sum(map(len, parts)) <= INLINE_LIMIT
    flags = _INLINE if inline else 0
    if frame.more:
        flags |= _MORE
    if frame.joined:
        flags |= _JOINED
    header = _data.pack(
        _DATA, flags, frame.stream, frame.sequence, frame.count, frame.weight, count
    )
    if not inline:
        return [header, *parts]
    if count == 1:
        return [header + parts[0]]
    # The last part is what is left.
    lengths = [_length.pack(len(part)) for part in parts[:-1]]
    return [b"".join((header, *lengths, *parts))]


def _encode_control(frame: Frame) -> bytes:
    match frame:
        case Hello():
            return _hello.pack(_HELLO, frame.version, frame.key) + frame.endpoint.encode()
        case Open():
            texts = [text.encode() for text in (frame.name, frame.type, frame.codec)]
            header = _open.pack(_OPEN, frame.stream, frame.sequence, *map(len, texts))
            return header + b"".join(texts)
        case Close():
            return _close.pack(_CLOSE, frame.stream, frame.sequence)
        case Credit():
            flags = _GAP if frame.gap else 0
            return _credit.pack(_CREDIT, flags, frame.stream, frame.received, frame.granted)
        case Probe():
            return _probe.pack(_PROBE, frame.stream, frame.last)
        case Bye():
            ends = [_end.pack(*end) for end in frame.last]
            return b"".join((_bye.pack(_BYE, len(ends)), *ends, frame.reason.encode()))
    raise AssertionError(f"{frame!r} is no frame")


def decode(message: Sequence[Buffer]) -> Frame:
    """The frame that a message carries. Its first part is `bytes`; the others go into the frame.

    Raises:
        WireError: It carries none.
    """
    header = message[0] if message else b""
    if not header:
        raise WireError("an empty message")
    if type(header) is not bytes:
        header = bytes(header)
    kind = header[0]
    try:
        if kind == _DATA:
            return _decode_data(header, message)
        if len(message) != 1:
            raise WireError(f"a frame of kind {kind} in {len(message)} parts; expected 1")
        match kind:
            case 1:
                _, version, key = _hello.unpack_from(header)
                return Hello(version, key, header[_hello.size :].decode())
            case 2:
                return _decode_open(header)
            case 4:
                return Close(*_exactly(_close, header))
            case 5:
                flags, stream, received, granted = _exactly(_credit, header)
                if flags > _GAP:
                    raise WireError(f"CREDIT with unknown flags {flags:#x}")
                return Credit(stream, received, granted, bool(flags))
            case 6:
                return Probe(*_exactly(_probe, header))
            case 7:
                return _decode_bye(header)
    except struct.error as error:
        raise WireError(f"a frame of kind {kind} of {len(header)} bytes") from error
    except UnicodeDecodeError as error:
        raise WireError(f"a frame of kind {kind} with text that is not UTF-8") from error
    raise WireError(f"a frame of unknown kind {kind}")


def _exactly(layout: struct.Struct, header: bytes) -> tuple[int, ...]:
    fields: tuple[int, ...] = layout.unpack(header)
    return fields[1:]


def _decode_open(header: bytes) -> Open:
    _, stream, sequence, *lengths = _open.unpack_from(header)
    at = _open.size
    if len(header) != at + sum(lengths):
        raise WireError(f"OPEN of {len(header)} bytes; expected {at + sum(lengths)}")
    texts = []
    for length in lengths:
        texts.append(header[at : at + length].decode())
        at += length
    return Open(stream, sequence, *texts)


def _decode_bye(header: bytes) -> Bye:
    _, number = _bye.unpack_from(header)
    at = _bye.size + number * _end.size
    if at > len(header):
        raise WireError(f"BYE with {number} streams in {len(header)} bytes")
    ends = _end.iter_unpack(header[_bye.size : at])
    return Bye(header[at:].decode(), tuple((stream, last) for stream, last in ends))


def _decode_data(header: bytes, message: Sequence[Buffer]) -> Data:
    _, flags, stream, sequence, count, weight, number = _data.unpack_from(header)
    if flags == _INLINE and number == 1 and len(message) == 1:
        return Data(stream, sequence, count, weight, False, False, [header[_data.size :]])
    if flags & ~(_MORE | _JOINED | _INLINE):
        raise WireError(f"DATA with unknown flags {flags:#x}")
    parts: list[Buffer]
    if not flags & _INLINE:
        if len(header) != _data.size:
            raise WireError(f"DATA with parts of its own and a header of {len(header)} bytes")
        if len(message) != number + 1:
            raise WireError(f"DATA in {len(message)} parts; expected {number + 1}")
        parts = list(message[1:])
    elif len(message) != 1:
        raise WireError(f"inline DATA in {len(message)} parts; expected 1")
    elif number == 1:
        parts = [header[_data.size :]]
    else:
        parts = _inline_parts(header, number)
    return Data(stream, sequence, count, weight, bool(flags & _MORE), bool(flags & _JOINED), parts)


def _inline_parts(header: bytes, number: int) -> list[Buffer]:
    if number == 0:
        if len(header) != _data.size:
            raise WireError("DATA without parts that has something in it")
        return []
    at = _data.size + _length.size * (number - 1)
    if at > len(header):
        raise WireError(f"DATA with {number} parts in {len(header)} bytes")
    parts: list[Buffer] = []
    for place in range(_data.size, at, _length.size):
        (length,) = _length.unpack_from(header, place)
        if at + length > len(header):
            raise WireError(f"DATA with a part of {length} bytes that ends outside of it")
        parts.append(header[at : at + length])
        at += length
    parts.append(header[at:])
    return parts
