"""Whether a machine can be connected to at all: asked where a peer was never heard of."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Final

from constellation.address import Address, UnknownHost

__all__ = ["probe"]

_LIMIT: Final = 3.0
"""Seconds that a connection may take."""


def probe(endpoint: str, done: Callable[[str | None], None]) -> None:
    """Try to connect, in a thread.

    Args:
        endpoint: Where, as ZeroMQ writes it; of TCP.
        done: Called in that thread with why it cannot be done; None: it can.
    """

    def run() -> None:
        done(_obstacle(Address.parse(endpoint.removeprefix("tcp://"))))

    # Signals are for the user's threads.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        threading.Thread(target=run, name="constellation-probe", daemon=True).start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _obstacle(address: Address) -> str | None:
    found: str | None = None
    try:
        numeric = address.resolve()
    except UnknownHost as error:
        return str(error)
    for each in numeric:
        try:
            socket.create_connection((each.host, each.port), _LIMIT).close()
        except TimeoutError:
            found = "there is no answer"
        except OSError as error:
            found = os.strerror(error.errno) if error.errno else str(error)
        else:
            return None
    return found
