"""What answers at an address, where it is not who was expected there.

It is asked only when a connection has failed: a stranger is logged by the service that it comes to.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from typing import Final

from constellation.address import Address

__all__ = ["Finding", "what_is_there"]

_CONNECT: Final = 2.0
_SPEAK: Final = 0.5
"""Seconds that something has to accept a connection, and that it has to say something."""

_GREETING_SIZE: Final = 64
_GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00"
"""The beginning of that of ZMTP 3: the other end says all of its own then."""
_REQUEST: Final = b"GET / HTTP/1.0\r\n\r\n"
_START: Final = {"bridge": "start the node whose bridge_bind this is, and the master"}
"""How a role comes to be there that nobody starts by itself."""
_MECHANISM: Final = slice(12, 32)
_KNOWN: Final = {
    b"HTTP/": "an HTTP server",
    b"SSH-": "an SSH server",
    b"\x15\x03": "a TLS server",
}


@dataclass(frozen=True)
class Finding:
    """What is wrong at an address.

    Attributes:
        text: A sentence for the user.
        nobody: Whether nobody listens there.
    """

    text: str
    nobody: bool = False


def what_is_there(endpoint: str, role: str, *, secured: bool, ended: bool) -> Finding | None:
    """Say who is at an address, and what would be right. Takes a few seconds at most.

    Args:
        endpoint: A numeric one, as ZeroMQ writes it.
        role: Who was expected there: "master", "bridge".
        secured: Whether a key is used here.
        ended: Whether a connection was made and has ended, as with a wrong key; else there was
            none yet, or its handshake takes long, which the network may be to blame for.

    Returns:
        What is wrong; None where it may well be who was expected.
    """
    place = endpoint.removeprefix("tcp://")
    try:
        text = _who_answers(place, role, secured=secured, ended=ended)
    except ConnectionRefusedError:
        text = f"nobody listens at {place}: {_START.get(role, f'start the {role} there')}"
        return Finding(f"{text}, or see to the address", nobody=True)
    return None if text is None else Finding(text)


def _who_answers(place: str, role: str, *, secured: bool, ended: bool) -> str | None:
    address = Address.parse(place)
    try:
        said = _hear(address, _GREETING)
    except ConnectionRefusedError:
        raise
    except OSError as error:
        reason = "no answer" if error.errno is None else os.strerror(error.errno)
        return f"{place} cannot be reached: {reason}"
    if len(said) < _GREETING_SIZE or said[0] != 0xFF or said[9] != 0x7F:
        with contextlib.suppress(OSError):
            said = _hear(address, _REQUEST) or said
        if not said:
            return None  # whoever it is may be busy, or stopped
        known = (name for start, name in _KNOWN.items() if said.startswith(start))
        what = next(known, "something else")
        return f"{what} answers at {place}, and no {role} of a cluster: see to the address"
    theirs = said[_MECHANISM].rstrip(b"\0")
    if theirs == b"CURVE" and secured:
        if not ended:
            return None
        return (
            f"the service at {place} has another key than here: compare the key files, and give "
            f"the right one with --key-file"
        )
    if theirs == b"CURVE":
        return f"the service at {place} wants a key: leave out --insecure"
    if theirs == b"NULL" and secured:
        return (
            f"the service at {place} was started with --insecure, and has no key: say so here too"
        )
    return None


def _hear(address: Address, first: bytes) -> bytes:
    """What somebody says who is told this.

    Raises:
        OSError: There is no connection.
    """
    with socket.create_connection((address.host, address.port), _CONNECT) as connection:
        said = b""
        end = time.monotonic() + _SPEAK
        # It may close the connection, and have said something before.
        with contextlib.suppress(OSError):
            connection.sendall(first)
            while len(said) < _GREETING_SIZE and (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                data = connection.recv(_GREETING_SIZE)
                if not data:
                    break
                said += data
        return said
