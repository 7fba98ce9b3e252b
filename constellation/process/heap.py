"""What the heap of C does with memory that is free again."""

from __future__ import annotations

import contextlib

__all__ = ["keep"]

_NUDGE = (32 << 20) - 8192
"""Bytes, with what the heap adds the most that `free()` of glibc takes a hint from (mallopt(3),
`M_MMAP_THRESHOLD`)."""


def keep() -> None:
    """Have the memory of large messages kept for the next ones, in this process and its forks.

    At first glibc gives back to the system what is free at the end of a heap when that has 128 KiB,
    and takes anything larger than that from the system by itself. So each message of some size has
    all its pages made anew, which takes longer than to fill them. It goes by what the program
    frees: once that was something of 32 MiB, it keeps up to twice as much. So that is freed here,
    without having been written to.
    """
    with contextlib.suppress(MemoryError):  # it may not have so much: then it keeps little
        bytes(_NUDGE)
