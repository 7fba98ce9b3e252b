"""What the receiver of a large value does with it, so that all of it has to be there."""

from __future__ import annotations

from typing import Any

PAGE = 4096 // 8


def touch(array: Any) -> float:
    """Read a number of each page."""
    return float(array[::PAGE].sum())


def touch_bytes(data: bytes) -> int:
    """Read a byte of each page."""
    return sum(data[::4096])
