"""What a program is called for people."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from constellation.plain import plain

__all__ = ["program_name"]

_LONGEST: Final = 200


def program_name(words: Sequence[bytes]) -> str:
    """What is run, without its arguments, which are nobody else's business.

    Args:
        words: What is run, after the interpreter: its path or ``-m`` and its module, and arguments.
    """
    name = plain(os.fsdecode(b" ".join(words[:2] if words[0] == b"-m" else words[:1])))
    return name if len(name) <= _LONGEST else name[: _LONGEST - 3] + "..."
