"""What the next endpoint of a socket is protected by.

libzmq takes the security of an endpoint from the options of the socket at the moment of its `bind`
or `connect`. One socket may so have endpoints in the open next to encrypted ones. The options stay
until they are changed, so one of these is called right before each `bind` and each `connect`.
"""

from __future__ import annotations

from typing import Final

import zmq

from constellation.address import Address
from constellation.security.keypair import Keypair
from constellation.transport.zap import Zap

__all__ = ["HANDSHAKE_MS", "plain", "reach", "secure_client", "secure_server"]

HANDSHAKE_MS: Final = 5_000
"""How long a connection may take to become one of a peer, milliseconds. A stranger that says
nothing has a descriptor for so long."""


def plain(socket: zmq.Socket[bytes]) -> None:
    """Protect the next endpoint by nothing: for ipc, and for TCP where the user wants it so."""
    # Sets the mechanism to NULL as well.
    socket.setsockopt(zmq.CURVE_SERVER, 0)


def secure_server(socket: zmq.Socket[bytes], keypair: Keypair, zap: Zap) -> None:
    """Encrypt the next endpoint, which is bound, and let in only whom the handler admits.

    Args:
        socket: The socket.
        keypair: Its public key is what clients have to know.
        zap: The handler of the socket's context. It is asked for, since without one libzmq lets
            everybody in.

    Raises:
        ValueError: The handler is that of another context, or closed.
    """
    if not zap.guards(socket):
        raise ValueError("a socket that listens needs the open ZAP handler of its own context")
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keypair.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keypair.secret)
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)


def secure_client(socket: zmq.Socket[bytes], server: bytes, keypair: Keypair) -> None:
    """Encrypt the next endpoint, which is connected to.

    Args:
        socket: The socket.
        server: The public key of the server, as Z85 text. No other server is talked to.
        keypair: What the server is shown.
    """
    # Before the keys, which set the mechanism to CURVE: this sets it to NULL.
    socket.setsockopt(zmq.CURVE_SERVER, 0)
    socket.setsockopt(zmq.CURVE_SERVERKEY, server)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keypair.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keypair.secret)


def reach(socket: zmq.Socket[bytes], address: Address) -> None:
    """Let the next endpoint be at this address, whichever version of IP that is of.

    A name is looked up for it: libzmq looks for addresses of one version only.

    Raises:
        UnknownHost: The name service knows no address of the host name.
    """
    versions = {found.is_ipv6 for found in address.resolve()}
    # IPv4 where both are: the older one works on more networks that have both.
    socket.setsockopt(zmq.IPV6, int(versions == {True}))
