"""The listening sockets of services, and what is said where there can be none."""

from __future__ import annotations

import errno
import socket

from constellation.address import Address
from constellation_daemons.binding import ListenError

__all__ = ["listen_at"]

_BACKLOG = 512  # strangers that connect and say nothing hold up no more than this


def listen_at(address: Address) -> socket.socket:
    """Bind and listen.

    Raises:
        ListenError: It cannot be done; the text says why, and what would be right.
    """
    where = address.resolve()[0]
    family = socket.AF_INET6 if where.is_ipv6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # The port of a service that has just ended is free again, whatever it had sent last.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if where.is_wildcard and where.is_ipv6:
            # All addresses are those of IPv4 too, whatever the system is set to.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((where.host, where.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(str(address), _reason(error)) from error
    return listener


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "something else listens there; stop that, or choose another port"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; `ip address` shows those that it has"
        case errno.EACCES:
            return "ports below 1024 are not for ordinary users; choose a larger one"
        case _:
            return str(error.strerror)
