"""How services log."""

from __future__ import annotations

import logging
import sys

__all__ = ["set_up"]


def set_up(level: int) -> None:
    """Log to stderr, with the time, from a level on."""
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
