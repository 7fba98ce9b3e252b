"""What a process of ours is told first, by the one that started it."""

from __future__ import annotations

import select
import time
from typing import TypeVar

from constellation.control.stream import ControlError, MessageStream

__all__ = ["first_messages"]

_LIMIT = 10.0

M = TypeVar("M")


def first_messages(stream: MessageStream[M]) -> list[M]:
    """Wait for the first message. Gives it, and what came with it; nothing: nobody is there."""
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLIN)
    end = time.monotonic() + _LIMIT
    while (left := end - time.monotonic()) > 0:
        poll.poll(left * 1000)
        try:
            messages = stream.receive()
        except (EOFError, ControlError):
            return []
        if messages:
            return messages
    return []
