"""What the receiver of an array does with it, so that all of it has to be there."""

from __future__ import annotations

from typing import Any

PAGE = 4096 // 8


def touch(array: Any) -> float:
    """Read a number of each page."""
    return float(array[::PAGE].sum())
