"""What peers of a bridge may do wrong."""

from __future__ import annotations

from constellation.errors import ConstellationError

__all__ = ["Nonsense"]


class Nonsense(ConstellationError):
    """A peer has said what it may not, or not now. The text says what."""
