"""Parts that are cut are as they were when they are put together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from constellation.wire.fragments import split, whole

BYTES = st.binary(max_size=30)
PARTS = st.lists(st.one_of(BYTES, BYTES.map(bytearray), BYTES.map(memoryview)), max_size=6)


@given(PARTS, st.integers(1, 12))
def test_what_is_split_can_be_joined(
    parts: list[bytes | bytearray | memoryview], limit: int
) -> None:
    pieces: list[list[bytes | bytearray | memoryview]] = []
    for goes_on, fragment in split(parts, limit):
        assert sum(map(len, fragment)) <= limit
        rest = fragment
        if goes_on:
            pieces[-1].append(fragment[0])
            rest = fragment[1:]
        pieces.extend([piece] for piece in rest)
    assert [bytes(part) for part in whole(pieces)] == [bytes(part) for part in parts]


@given(PARTS, st.integers(1, 12))
def test_all_fragments_but_the_last_are_full(
    parts: list[bytes | bytearray | memoryview], limit: int
) -> None:
    sizes = [sum(map(len, fragment)) for _, fragment in split(parts, limit)]
    assert set(sizes[:-1]) <= {limit}
    assert sizes[-1] > 0 or sum(map(len, parts)) == 0


def test_what_is_whole_is_not_copied() -> None:
    part = b"whole"
    assert whole([[part]])[0] is part
    assert whole([[b"in ", b"pieces"]]) == [bytearray(b"in pieces")]
