"""Frames and bytes: the vectors, round trips, and bytes that are anything."""

from __future__ import annotations

from typing import Any

import pytest
import vectors
from hypothesis import given
from hypothesis import strategies as st

from constellation.wire.codec import INLINE_LIMIT, decode, encode
from constellation.wire.errors import WireError
from constellation.wire.frames import Bye, Close, Credit, Data, Frame, Hello, Open, Probe

FILE = vectors.load("frames")
KINDS: dict[str, type[Any]] = {
    kind.__name__.upper(): kind for kind in (Hello, Open, Data, Close, Credit, Probe, Bye)
}


def message_of(vector: dict[str, Any]) -> list[bytes]:
    return [vectors.from_text(part) for part in vector["message"]]


def frame_of(vector: dict[str, Any]) -> Frame:
    fields = dict(vector["fields"])
    match vector["kind"]:
        case "HELLO":
            fields["key"] = bytes.fromhex(fields["key"])
        case "DATA":
            fields["parts"] = [vectors.from_text(part) for part in fields["parts"]]
        case "BYE":
            fields["last"] = tuple(map(tuple, fields["last"]))
    frame: Frame = KINDS[vector["kind"]](**fields)
    return frame


def parametrize(which: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", FILE[which], ids=lambda vector: vector["name"])


# -- the vectors


@parametrize("frames")
def test_the_bytes_of_a_vector_are_its_frame(vector: dict[str, Any]) -> None:
    assert decode(message_of(vector)) == frame_of(vector)
    assert decode([memoryview(part) for part in message_of(vector)]) == frame_of(vector)


@parametrize("frames")
def test_the_frame_of_a_vector_has_its_bytes(vector: dict[str, Any]) -> None:
    made = [bytes(part) for part in encode(frame_of(vector))]
    # What another implementation may send and this one does not is marked.
    assert (made == message_of(vector)) is not vector.get("only_decoded", False)


@parametrize("malformed")
def test_what_is_malformed_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(WireError) as caught:
        decode(message_of(vector))
    assert str(caught.value) == vector["error"]


def test_every_kind_has_vectors_and_every_name_is_used_once() -> None:
    assert {vector["kind"] for vector in FILE["frames"]} == set(KINDS)
    names = [vector["name"] for vectors in FILE.values() for vector in vectors]
    assert len(names) == len(set(names))


# -- round trips

u8, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 32, 64))
texts = st.text(max_size=20)
parts = st.one_of(
    st.binary(max_size=40),
    st.binary(max_size=40).map(bytearray),
    st.binary(max_size=40).map(memoryview),
    st.sampled_from([INLINE_LIMIT - 1, INLINE_LIMIT, INLINE_LIMIT + 1]).map(bytes),
)
FRAMES: dict[str, st.SearchStrategy[Frame]] = {
    "HELLO": st.builds(Hello, u8, st.binary(min_size=16, max_size=16), texts),
    "OPEN": st.builds(Open, u32, u64, texts, texts, texts),
    "DATA": st.builds(
        Data, u32, u64, u32, u64, st.booleans(), st.booleans(), st.lists(parts, max_size=5)
    ),
    "CLOSE": st.builds(Close, u32, u64),
    "CREDIT": st.builds(Credit, u32, u64, u64, st.booleans()),
    "PROBE": st.builds(Probe, u32, u64),
    "BYE": st.builds(Bye, texts, st.lists(st.tuples(u32, u64), max_size=5).map(tuple)),
}
frames = st.one_of(*FRAMES.values())


def test_every_kind_is_generated() -> None:
    assert set(FRAMES) == set(KINDS)


@given(frames)
def test_a_frame_comes_back_as_it_was(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


@given(frames)
def test_a_frame_is_one_readable_line(frame: Frame) -> None:
    kind, _, rest = str(frame).partition(" ")
    assert kind in KINDS
    assert rest
    assert str(frame).isprintable()


@pytest.mark.parametrize("size", [0, 1, INLINE_LIMIT, INLINE_LIMIT + 1])
def test_one_part_is_copied_into_the_header_only_while_it_is_small(size: int) -> None:
    message = encode(Data(1, 2, 1, size, False, False, [bytes(size)]))
    assert len(message) == (1 if size <= INLINE_LIMIT else 2)


# -- anything


def decode_or_refuse(message: list[bytes]) -> None:
    """A frame, which then is one in every way, or the one error that is documented."""
    try:
        frame = decode(message)
    except WireError as error:
        assert str(error)
        return
    assert isinstance(frame, tuple(KINDS.values()))
    assert decode(encode(frame)) == frame


@given(st.lists(st.binary(max_size=80), max_size=4))
def test_any_bytes_are_a_frame_or_refused(message: list[bytes]) -> None:
    decode_or_refuse(message)


@given(st.integers(1, 7), st.binary(max_size=80), st.lists(st.binary(max_size=9), max_size=3))
def test_any_bytes_after_a_known_kind_are_a_frame_or_refused(
    kind: int, rest: bytes, more: list[bytes]
) -> None:
    decode_or_refuse([bytes([kind]) + rest, *more])


SMALL = [message_of(vector) for which in FILE.values() for vector in which]
SMALL = [message for message in SMALL if message and sum(map(len, message)) < 1000]


@pytest.mark.parametrize("message", SMALL, ids=lambda message: message[0][:40].hex() or "empty")
def test_a_vector_cut_anywhere_is_a_frame_or_refused(message: list[bytes]) -> None:
    for index, part in enumerate(message):
        decode_or_refuse(message[:index])
        for size in range(len(part)):
            decode_or_refuse([*message[:index], part[:size], *message[index + 1 :]])


@given(st.data())
def test_a_mutated_vector_is_a_frame_or_refused(data: st.DataObject) -> None:
    message = [bytearray(part) for part in data.draw(st.sampled_from(SMALL))]
    for _ in range(data.draw(st.integers(1, 3))):
        part = data.draw(st.sampled_from(message))
        at = data.draw(st.integers(0, len(part)))
        match data.draw(st.sampled_from(["change", "insert", "delete"])):
            case "change" if at < len(part):
                part[at] = data.draw(st.sampled_from([0, 1, 2, 4, 7, 0x7F, 0x80, 0xFF]))
            case "insert":
                part[at:at] = data.draw(st.binary(max_size=9))
            case "delete":
                del part[at : at + data.draw(st.integers(1, 9))]
    decode_or_refuse([bytes(part) for part in message])
