"""How services log."""

from __future__ import annotations

import sys

from constellation.plain import log_to

__all__ = ["set_up"]


def set_up(level: int) -> None:
    """Log to stderr, with the time, from a level on."""
    log_to(sys.stderr, "%(asctime)s %(levelname)s %(name)s: %(message)s", level)
