"""Large memory, copied and given back a little at a time."""

from __future__ import annotations

import array
import ctypes
import mmap
import sys
from typing import Any

import pytest

from constellation.transport import bulk
from constellation.transport.bulk import LONG, STEP, copied, give_back, part_of, pieces_of
from constellation.wire.fragments import Pieces

SIZES = [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP + 7]


def content(size: int) -> bytes:
    return (b"abcdefg" * (size // 7 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_copy_has_what_was_there(kind: type[Any], size: int) -> None:
    data = content(size)
    copy = copied(kind(data))
    assert type(copy) is bytes
    assert copy == data


@pytest.mark.parametrize("readonly", [True, False])
def test_a_large_copy(readonly: bool) -> None:
    data = content(2 * LONG + 3 * STEP + 5)
    assert copied(data if readonly else bytearray(data)) == data


def test_a_copy_is_its_own() -> None:
    data = bytearray(2 * STEP)
    copy = copied(data)
    data[:] = b"x" * len(data)
    assert copy == bytes(2 * STEP)


@pytest.mark.parametrize("size", [8, STEP])
def test_views_of_other_forms(size: int) -> None:
    numbers = array.array("d", range(size))
    view = memoryview(numbers)
    assert copied(view) == numbers.tobytes()
    assert copied(view[::2]) == view[::2].tobytes()
    square = view.cast("B").cast("d", (2, size // 2))
    assert copied(square) == numbers.tobytes()
    assert b"".join(pieces_of(square)) == numbers.tobytes()


@pytest.mark.parametrize(
    ("size", "sizes"), [(0, [0]), (LONG, [LONG]), (2 * LONG + 3, [LONG, LONG, 3])]
)
def test_what_is_large_is_kept_in_pieces(size: int, sizes: list[int]) -> None:
    data = content(size)
    pieces = pieces_of(bytearray(data))
    assert list(map(len, pieces)) == sizes
    assert b"".join(pieces) == data
    part = part_of(memoryview(data))
    assert len(part) == size
    if len(sizes) == 1:
        assert part == data
    else:
        assert isinstance(part, Pieces)
        assert part.pieces == pieces


class Advice:
    """What the system is advised, and what is at the places of it after that."""

    def __init__(self) -> None:
        self._madvise = bulk._libc.madvise
        self.given: list[tuple[int, int]] = []

    def madvise(self, start: int, size: int, advice: int) -> None:
        assert self._madvise(start, size, advice) == 0
        assert ctypes.string_at(start, size) == bytes(size)
        self.given.append((start, size))


@pytest.fixture
def advice(monkeypatch: pytest.MonkeyPatch) -> Advice:
    made = Advice()
    monkeypatch.setattr(bulk, "_libc", made)
    return made


@pytest.mark.skipif(sys.platform != "linux", reason="advises Linux")
def test_whole_pages_are_given_back_a_little_at_a_time(advice: Advice) -> None:
    buffers: list[bytes | bytearray | memoryview] = [bytearray(b"x") * (2 * LONG + 12345)]
    first = ctypes.addressof(ctypes.c_char.from_buffer(buffers[0]))
    size = len(buffers[0])
    give_back(buffers)
    assert buffers == []
    sizes = [size for _, size in advice.given]
    assert sizes[:2] == [LONG, LONG]
    starts = [start for start, _ in advice.given]
    assert starts[1:] == [start + size for start, size in advice.given[:-1]]
    start, end = starts[0], starts[-1] + sizes[-1]
    assert start % mmap.PAGESIZE == end % mmap.PAGESIZE == 0
    assert first <= start < first + mmap.PAGESIZE
    assert first + size - mmap.PAGESIZE < end <= first + size


def test_what_is_in_use_stays_as_it_is(advice: Advice) -> None:
    kept = bytearray(b"x") * LONG
    viewed = memoryview(bytearray(b"y") * LONG)
    assert isinstance(viewed.obj, bytearray)
    buffers: list[bytes | bytearray | memoryview] = [kept, viewed.obj, b"z" * LONG, viewed]
    give_back(buffers)
    assert buffers == []
    assert advice.given == []
    assert set(kept) == {ord("x")}
    assert viewed[0] == viewed[-1] == ord("y")


def test_little_goes_as_ever(advice: Advice) -> None:
    give_back([bytearray(LONG - 1), b"", bytearray()])
    assert advice.given == []
