"""What a peer can do wrong."""

from __future__ import annotations

__all__ = ["WireError"]


class WireError(Exception):
    """Bytes that are no frame, or a frame that no peer may send. It changed nothing."""
