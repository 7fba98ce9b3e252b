"""Parts that are cut are as they were when they are put together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from constellation.wire.fragments import Part, Pieces, growing, split

BYTES = st.binary(max_size=30)
PARTS = st.lists(st.one_of(BYTES, BYTES.map(bytearray), BYTES.map(memoryview)), max_size=6)


@given(PARTS, st.integers(1, 12))
def test_what_is_split_can_be_joined(
    parts: list[bytes | bytearray | memoryview], limit: int
) -> None:
    joined: list[bytes | bytearray | memoryview] = []
    for goes_on, fragment in split(parts, limit):
        assert sum(map(len, fragment)) <= limit
        rest = fragment
        if goes_on:
            last = growing(joined)
            last += fragment[0]
            rest = fragment[1:]
        joined += rest
    assert [bytes(part) for part in joined] == [bytes(part) for part in parts]


@given(PARTS, st.integers(1, 12))
def test_all_fragments_but_the_last_are_full(
    parts: list[bytes | bytearray | memoryview], limit: int
) -> None:
    sizes = [sum(map(len, fragment)) for _, fragment in split(parts, limit)]
    assert set(sizes[:-1]) <= {limit}
    assert sizes[-1] > 0 or sum(map(len, parts)) == 0


@given(st.lists(st.one_of(BYTES, st.lists(BYTES, min_size=1, max_size=4)), max_size=4), st.data())
def test_a_part_in_pieces_is_one_part(
    values: list[bytes | list[bytes]], data: st.DataObject
) -> None:
    limit = data.draw(st.integers(1, 12))
    parts: list[Part] = [Pieces(each) if isinstance(each, list) else each for each in values]
    whole = [b"".join(each) if isinstance(each, list) else each for each in values]
    assert list(map(len, parts)) == list(map(len, whole))
    joined: list[bytes | bytearray | memoryview] = []
    for goes_on, fragment in split(parts, limit):
        assert sum(map(len, fragment)) <= limit
        if goes_on:
            last = growing(joined)
            last += fragment[0]
        joined += fragment[goes_on:]
    assert [bytes(part) for part in joined] == whole


def test_a_part_that_grows_is_copied_once() -> None:
    parts: list[bytes | bytearray | memoryview] = [b"first", b"in "]
    last = growing(parts)
    last += b"pieces"
    assert parts == [b"first", bytearray(b"in pieces")]
    assert growing(parts) is last
