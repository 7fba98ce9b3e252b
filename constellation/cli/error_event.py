"""What is wrong, as an event for programs that read the command's output."""

from __future__ import annotations

import json

__all__ = ["error_event"]


def error_event(message: str, **more: str) -> bytes:
    """One line of JSON, in ASCII.

    Args:
        message: What is wrong.
        more: What else there is to say of it.
    """
    event = {"event": "error", "message": message, **more}
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"
