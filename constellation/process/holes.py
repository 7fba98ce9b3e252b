"""Filling the holes that the program's start left in the memory of the interpreter.

The interpreter keeps small objects in pools, one size to a pool, and a new object goes into a hole
that an old one has left; so it is with larger ones on the heap of C. In a fork each hole lies on a
page that it shares with the zygote, and the first write to such a page copies it: 4 KiB and some
microseconds for an object of 64 bytes. So the zygote fills the holes, and what a fork makes lies
together on pages of its own.
"""

from __future__ import annotations

import sys

__all__ = ["fill"]

_POOL = 16 << 10
_POOL_HEADER = 48
_ALIGNMENT = 16
_SMALL = 512
"""Bytes, as `Objects/obmalloc.c` of CPython 3.10 to 3.14 has them. Where something else is true
(`PYTHONMALLOC=malloc`), that shows with the first size, and no others are filled."""

_LARGE = (65536, 32768, 16384, 8192, 4096, 2048, 1024, 768, 640, 576, 528)
"""What larger objects are made to fill the holes of the heap of C, the largest holes first."""

_MOST_BYTES = 1 << 20
"""How much is filled with objects of one size at most; programs were seen to need a fifth of it."""

_EMPTY = sys.getsizeof(b"")

_kept: list[list[bytes]] = []


def fill() -> None:
    """Fill the holes, for as long as this process and its forks live."""
    first = -_EMPTY % _ALIGNMENT + _EMPTY
    if all(_fill(size) for size in range(first, _SMALL + 1, _ALIGNMENT)):
        _fill_heap()


def _fill(size: int) -> bool:
    """Make objects of one size until a whole pool of them lay side by side: a new one.

    Returns:
        Whether it came to that.
    """
    whole = (_POOL - _POOL_HEADER) // size
    made: list[bytes] = []
    _kept.append(made)
    at, beside = 0, 0
    while beside < whole - 1:
        if len(made) >= _MOST_BYTES // size:
            return False
        made.append(bytes(size - _EMPTY))
        beside = beside + 1 if id(made[-1]) == at + size else 0
        at = id(made[-1])
    return True


def _fill_heap() -> None:
    """Make objects of each size until one lies behind the end that the heap had."""
    made: list[bytes] = []
    _kept.append(made)
    end = id(bytes(_LARGE[0]))
    for size in _LARGE:
        for _ in range(_MOST_BYTES // size):
            made.append(bytes(size - _EMPTY))
            if id(made[-1]) >= end:
                end = id(made[-1])
                break
