"""What a program's image has on a node of a cluster, in place of what it would make natively."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from constellation.process.directory import RuntimeDirectory

if TYPE_CHECKING:
    from constellation.transport.network import Security


@dataclass(frozen=True, slots=True, eq=False)
class Deployed:
    """A program's image on a node.

    Attributes:
        connection: The connection to the node's agent for the program.
        directory: The program's runtime directory there.
        agent: The agent's process id.
        security: How its processes secure connections to other nodes; None: they do not.
    """

    connection: socket.SocketType
    directory: RuntimeDirectory
    agent: int
    security: Security | None


def secured(public: bytes | None, secret: bytes | None) -> Security | None:
    """How connections are secured with a keypair; None: they are not."""
    if public is None or secret is None:
        return None
    from constellation.security.keypair import Keypair
    from constellation.transport.curve import Curve

    return Curve(Keypair(public, secret))
