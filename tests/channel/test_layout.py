from __future__ import annotations

import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.channel.layout import (
    LARGE,
    START_OF_ONE,
    Entry,
    Joined,
    lengths_of_small,
    pack_large,
    pack_small,
    unpack_large,
)


def test_a_small_message_to_the_byte() -> None:
    assert pack_small([b"abc", b"d"]) == [bytes.fromhex("00 03000000 01000000") + b"abcd"]
    assert pack_small([b"abc"]) == [bytes.fromhex("00 03000000") + b"abc"]
    (part,) = pack_small([b"abc"])
    assert part[START_OF_ONE:] == b"abc"


def test_a_large_message_to_the_byte() -> None:
    large = bytes(LARGE)
    parts = pack_large(
        [b"abc", b"d", large, b"e"],
        [Entry(1, 3, 0), Entry(3, LARGE + 2, 2)],
        [(b"one", True), (b"two", False)],
    )
    head = "01 03000000 0300000000000000 00000000 0200010000000000 02000000 01 00"
    assert parts == [bytes.fromhex(head), b"one", b"two", b"abcd", large, b"e"]
    assert parts[4] is large


@given(st.lists(st.binary(), min_size=1))
def test_small_messages_come_apart_as_they_were_put_together(pickles: list[bytes]) -> None:
    (data,) = pack_small(pickles)
    lengths, at = lengths_of_small(data, len(pickles))
    for length, each in zip(lengths, pickles, strict=True):
        assert data[at : at + length] == each
        at += length
    assert at == len(data)


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 3 * LARGE).map(lambda n: bytes([n % 251]) * n), min_size=1),
            st.lists(st.tuples(st.binary(), st.booleans())),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_large_messages_come_apart_as_they_were_put_together(
    values: list[tuple[list[bytes], list[tuple[bytes, bool]]]],
) -> None:
    parts = pack_large(
        [chunk for chunks, _ in values for chunk in chunks],
        [Entry(len(chunks), sum(map(len, chunks)), len(own)) for chunks, own in values],
        [buffer for _, own in values for buffer in own],
    )
    for (stretches, buffers), (chunks, own) in zip(
        unpack_large(parts, len(values)), values, strict=True
    ):
        assert b"".join(stretches) == b"".join(chunks)
        assert [bytes(buffer) for buffer in buffers] == [buffer for buffer, _ in own]
        for buffer, (_, readonly) in zip(buffers, own, strict=True):
            assert readonly or not memoryview(buffer).readonly


def test_a_buffer_that_can_be_written_to_is_not_copied() -> None:
    whole = bytearray(LARGE)
    view = memoryview(bytearray(LARGE))
    parts = [pack_large([b"p"], [Entry(1, 1, 3)], [(b"", False)] * 3)[0], whole, view, b"x", b"p"]
    ((_, buffers),) = unpack_large(parts, 1)
    assert buffers[0] is whole
    assert buffers[1] is view
    assert buffers[2] == b"x"


@pytest.mark.parametrize(
    ("data", "count"),
    [(b"", 0), (b"\1", 0), (b"\0\1\0\0\0", 1), (b"\0\1\0\0\0ab", 1), (b"\0\1\0", 1), (b"\0a", 0)],
)
def test_what_is_no_small_message(data: bytes, count: int) -> None:
    with pytest.raises((ValueError, struct.error, IndexError)):
        lengths_of_small(data, count)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.integers(0, 4))
def test_what_is_no_large_message(parts: list[bytes], count: int) -> None:
    parts[0] = b"\1" + parts[0]
    try:
        values = list(unpack_large(parts, count))
    except (ValueError, struct.error):
        return
    assert len(values) == count
    assert sum(len(buffers) for _, buffers in values) <= len(parts) - 1


@given(st.lists(st.binary(min_size=1)), st.lists(st.integers(0, 20)))
def test_stretches_read_as_one_file(stretches: list[bytes], sizes: list[int]) -> None:
    whole = b"".join(stretches)
    file = Joined([memoryview(stretch) for stretch in stretches])
    for turn, size in enumerate([*sizes, len(whole) + 1]):
        if turn % 2:
            target = bytearray(size)
            read = bytes(target[: file.readinto(target)])
        else:
            read = file.read(size)
        assert read == whole[:size]
        whole = whole[size:]
    assert not whole


def test_stretches_have_no_lines() -> None:
    with pytest.raises(pickle.UnpicklingError):
        Joined([]).readline()
