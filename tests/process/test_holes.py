"""Where the interpreter puts new objects, before and after its holes were filled."""

from __future__ import annotations

import os
import sys

import pytest

from constellation.process import holes

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython" or "PYTHONMALLOC" in os.environ,
    reason="this is about the allocator of CPython",
)

SIZES = [sys.getsizeof(b"") + length for length in (15, 63, 127, 255, 400)]
OBJECTS = 20


def pages(size: int) -> int:
    """On how many pages some new objects of a size lie."""
    made = [bytes(size - sys.getsizeof(b"")) for _ in range(OBJECTS)]
    return len({id(each) >> 12 for each in made})


def together(size: int) -> int:
    """On how many pages they lie at most if they lie side by side, in one pool or two."""
    return OBJECTS * (size + 15) // 4096 + 3


@pytest.mark.parametrize("size", SIZES)
def test_what_is_made_afterwards_lies_together(size: int) -> None:
    many = [bytes(size - sys.getsizeof(b"")) for _ in range(200_000 // size)]
    del many[::40]  # a hole on every other page or so
    apart = pages(size)
    holes.fill()
    assert pages(size) <= together(size)
    del many
    assert apart > together(size), "there were no holes to fill"


def test_filling_goes_on_only_for_so_long() -> None:
    many = [bytes(15) for _ in range(500_000)]
    del many[::2]
    before = len(holes._kept)
    holes.fill()
    assert sum(map(sys.getsizeof, holes._kept[before])) < 2 << 20
