"""A port at which nobody answers, as where a firewall drops what comes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

__all__ = ["silent"]


@contextlib.contextmanager
def silent() -> Iterator[socket.socket]:
    """A listener whose queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        yield listener
