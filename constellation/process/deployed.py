"""What a program's image has on a node of a cluster, in place of what it would make natively."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from constellation.process.directory import RuntimeDirectory

if TYPE_CHECKING:
    from constellation.control.messages import Site
    from constellation.transport.network import Security


@dataclass(frozen=True, slots=True, eq=False)
class Deployed:
    """A program's image on a node.

    Attributes:
        connection: The connection to the node's agent for the program.
        directory: The program's runtime directory there.
        agent: The agent's process id.
        site: What its processes have in common there.
        security: How its forks secure connections to other nodes; None: they do not, or there are
            none, since each process starts fresh.
    """

    connection: socket.SocketType
    directory: RuntimeDirectory
    agent: int
    site: Site
    security: Security | None


def load() -> None:
    """Import what the forks of an image have and no other process needs.

    To be called before `gc.freeze()`: what is imported after it each fork would have copies of, as
    soon as it looks for garbage there.
    """
    from constellation.transport import curve, lodge  # noqa: F401


def secured(site: Site) -> Security | None:
    """How connections to other nodes are secured; None: they are not."""
    if site.public is None or site.secret is None:
        return None
    from constellation.security.keypair import Keypair
    from constellation.transport.curve import Curve

    return Curve(Keypair(site.public, site.secret))
