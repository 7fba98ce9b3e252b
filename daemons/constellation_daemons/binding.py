"""Binding a socket to an address, and what is said where that cannot be done."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable

import psutil
import zmq

from constellation.address import Address, PortRange
from constellation.errors import ConstellationError
from constellation.security.keypair import Keypair
from constellation.transport import security
from constellation.transport.zap import Zap

__all__ = ["ListenError", "bind"]

logger = logging.getLogger(__name__)

_FIRST_FREE_PORT = 1024
_MOST_SHOWN = 8
"""How many of the machine's own addresses an error names."""


class ListenError(ConstellationError):
    """A service cannot listen where it was told to.

    Attributes:
        where: The address.
        reason: Why not, and what would be right.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where = where
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot listen at {self.where}: {self.reason}"


def bind(
    socket: zmq.Socket[bytes],
    address: Address,
    *,
    keypair: Keypair | None,
    zap: Zap | None,
    ports: PortRange | None = None,
) -> list[Address]:
    """Let a socket listen at an address, and at each that its host name stands for.

    Args:
        socket: The socket, whose other options are set.
        address: Where; port 0 is any free one.
        keypair: What the connections are encrypted with; None: they are in the open.
        zap: Who says which clients are let in. Needed with a keypair.
        ports: Take the first of these that is free, and not the port of the address.

    Returns:
        Where the socket listens now.

    Raises:
        ListenError: It cannot. It may listen at some of the addresses all the same: close it.
        UnknownHost: The host name stands for nothing.
    """
    for candidate in ports if ports is not None else [address.port]:
        try:
            return _bind_all(socket, address.with_port(candidate), keypair, zap)
        except _InUse as error:
            if ports is None:
                reason = "something listens there already"
                raise ListenError(str(error.address), reason) from None
    raise ListenError(str(address), f"all of the ports {ports} are in use")


class _InUse(Exception):
    """Something else has the port."""

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self.address = address


class _NotHere(Exception):
    """The machine does not have the address."""


def _bind_all(
    socket: zmq.Socket[bytes], address: Address, keypair: Keypair | None, zap: Zap | None
) -> list[Address]:
    bound: list[Address] = []
    elsewhere: list[Address] = []
    for each in address.resolve():
        try:
            port = bound[0].port if bound else each.port
            bound.append(_bind_one(socket, each.with_port(port), keypair, zap))
        except _NotHere:
            elsewhere.append(each)
        except _InUse:
            for other in bound:
                socket.unbind(other.endpoint)
            raise
    if not bound:
        raise ListenError(str(address), _not_here(elsewhere))
    for each in elsewhere:
        logger.warning(
            "%s stands for %s too, which this machine does not have", address.host, each.host
        )
    return bound


def _bind_one(
    socket: zmq.Socket[bytes], address: Address, keypair: Keypair | None, zap: Zap | None
) -> Address:
    if keypair is None:
        security.plain(socket)
    elif zap is None:
        raise ValueError("a socket that listens with a key needs a ZAP handler")
    else:
        security.secure_server(socket, keypair, zap)
    security.reach(socket, address)
    try:
        socket.bind(address.endpoint)
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            raise _InUse(address) from None
        if error.errno in {errno.EADDRNOTAVAIL, errno.ENODEV}:
            raise _NotHere from None
        raise ListenError(str(address), _reason(address, error)) from None
    endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    return Address.parse(endpoint.removeprefix("tcp://"))


def _reason(address: Address, error: zmq.ZMQError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM} and address.port < _FIRST_FREE_PORT:
        return (
            f"ports below {_FIRST_FREE_PORT} need a right that this user does not have (root's, or "
            "CAP_NET_BIND_SERVICE); take a higher port"
        )
    return os.strerror(error.errno) if error.errno is not None else str(error)


def _not_here(addresses: Iterable[Address]) -> str:
    hosts = " or ".join(address.host for address in addresses)
    own = _own_addresses()
    shown = ", ".join(own[:_MOST_SHOWN]) + (", ..." if len(own) > _MOST_SHOWN else "")
    return f"this machine does not have the address {hosts}; it has {shown}"


def _own_addresses() -> list[str]:
    found = set()
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            try:
                found.add(Address(address.address, 0))
            except ValueError:  # of a network card
                continue
    return [address.host for address in sorted(found) if not address.is_name]
