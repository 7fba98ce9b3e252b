"""The vectors in `tests/vectors`: bytes that are written as text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent.parent / "vectors"


def load(name: str) -> dict[str, list[dict[str, Any]]]:
    """The lists of vectors in a file."""
    lists: dict[str, list[dict[str, Any]]] = json.loads((DIRECTORY / f"{name}.json").read_text())
    return lists


def from_text(text: str) -> bytes:
    """Hexadecimal digits; `61*8192` are so many bytes of that value."""
    pieces = []
    for word in text.split():
        digits, _, times = word.partition("*")
        pieces.append(bytes.fromhex(digits) * int(times or 1))
    return b"".join(pieces)
