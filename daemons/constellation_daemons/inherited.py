"""The first message that a process of ours is sent by the one that started it."""

from __future__ import annotations

import select
import time
from typing import TypeVar

from constellation.control.stream import ControlError, MessageStream

__all__ = ["first_message"]

_LIMIT = 10.0

M = TypeVar("M")


def first_message(stream: MessageStream[M]) -> M | None:
    """Wait for it; None: nobody is there to send it."""
    poll = select.poll()
    poll.register(stream.fileno(), select.POLLIN)
    end = time.monotonic() + _LIMIT
    while (left := end - time.monotonic()) > 0:
        poll.poll(left * 1000)
        try:
            messages = stream.receive()
        except (EOFError, ControlError):
            return None
        if messages:
            return messages[0]
    return None
