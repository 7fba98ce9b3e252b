"""The listening sockets of services, and what is said where there can be none."""

from __future__ import annotations

import errno
import logging
import socket
from dataclasses import dataclass

from constellation.address import Address
from constellation_daemons.binding import ListenError

__all__ = ["Listener", "listen_at"]

logger = logging.getLogger(__name__)

_BACKLOG = 512  # strangers that connect and say nothing hold up no more than this
_NOT_HERE = errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens.

    Attributes:
        address: Where, in numbers.
        socket: The socket.
    """

    address: Address
    socket: socket.socket


def listen_at(address: Address) -> list[Listener]:
    """Bind and listen: at each address that a host name stands for and that this machine has.

    Args:
        address: Where. Port 0 is any that is free, and the same at all of its addresses.

    Raises:
        ListenError: It cannot be done; the text says why, and what would be right.
        UnknownHost: The host name stands for nothing.
    """
    found: list[Listener] = []
    missing: list[Address] = []
    reason: OSError | None = None
    try:
        for each in address.resolve():
            try:
                found.append(_listen(each.with_port(found[0].address.port) if found else each))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing.append(each)
                reason = error
        if reason is not None and not found:
            raise reason
    except OSError as error:
        for listener in found:
            listener.socket.close()
        raise ListenError(str(address), _reason(error)) from error
    for each in missing:
        logger.warning(
            "%s stands for %s too, which this machine does not have", address.host, each.host
        )
    return found


def _listen(address: Address) -> Listener:
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # The port of a service that has just ended is free again, whatever it had sent last.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.is_ipv6:
            # All addresses are those of IPv4 too, whatever the system is set to.
            only = int(not address.is_wildcard)
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        listener.bind((address.host, address.port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return Listener(address.with_port(listener.getsockname()[1]), listener)


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
