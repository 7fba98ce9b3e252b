"""Where the interpreter puts new objects, before and after its holes were filled.

Each in an interpreter of its own: what is filled stays filled, and the allocator is chosen when it
starts.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMMON = """
import sys
from constellation.process import holes

EMPTY = sys.getsizeof(b"")
OBJECTS = 20

def pages(size):  # on how many pages some new objects of a size lie
    made = [bytes(size - EMPTY) for _ in range(OBJECTS)]
    return len({id(each) >> 12 for each in made})

def filled():
    return sum(map(sys.getsizeof, sum(holes._kept, [])))
"""


def interpreter(allocator: str, code: str, *args: object) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", COMMON + code, *map(str, args)],
        env={**os.environ, "PYTHONMALLOC": allocator},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return list(map(int, done.stdout.split()))


@pytest.mark.parametrize("size", [48, 96, 160, 288, 432, 512])
def test_what_is_made_afterwards_lies_together(size: int) -> None:
    code = """
size = int(sys.argv[1])
many = [bytes(size - EMPTY) for _ in range(200_000 // size)]
del many[::40]  # a hole on every other page or so
print(pages(size))
many = [bytes(size - EMPTY) for _ in range(200_000 // size)]
del many[::40]
holes.fill()
print(pages(size))
"""
    before, after = interpreter("pymalloc", code, size)
    side_by_side = 20 * size // 4096 + 3  # in two pools at most
    assert after <= side_by_side < before


def test_so_many_holes_are_left_alone() -> None:
    code = """
many = [bytes(48 - EMPTY) for _ in range(500_000)]
del many[::2]
holes.fill()
print(filled())
"""
    (filled,) = interpreter("pymalloc", code)
    assert filled < 2 << 20


@pytest.mark.parametrize("allocator", ["malloc", "pymalloc_debug"])
def test_nothing_is_wasted_where_the_allocator_is_another(allocator: str) -> None:
    (filled,) = interpreter(allocator, "holes.fill(); print(filled())")
    assert filled < 2 << 20
