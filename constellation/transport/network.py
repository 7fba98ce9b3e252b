"""How a process is reached where its program runs on several machines.

Each process listens twice: over TCP, where its Pid says, and at a socket in its program's runtime
directory on its node, named by its key. A process on the same node takes the latter. That it is on
the same node says the address in its Pid; that the socket is there has to be seen, since it goes
with the process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import socket

    import zmq

__all__ = ["Gate", "Keeper", "Network", "Security"]


class Keeper(Protocol):
    """Who is told of what a gate decides."""

    def admitted(self) -> None:
        """Somebody is let in."""

    def refused(self, address: str, why: str) -> None:
        """Somebody is turned away.

        Args:
            address: Where it comes from, as text.
            why: What is wrong with it.
        """


class Gate(Protocol):
    """Who decides on those that connect to a context's sockets.

    Attributes:
        keeper: Whom it tells of that; None: it logs strangers itself.
    """

    keeper: Keeper | None

    def fileno(self) -> int:
        """The descriptor that is readable when somebody waits; it shows edges."""

    def serve(self) -> None:
        """Decide on all that wait."""

    def close(self) -> None:
        """Decide no more, before the context is closed."""


class Security(Protocol):
    """How connections over TCP are secured."""

    def gate(self, context: zmq.Context[Any]) -> Gate:
        """Have sockets of this context admit only whom the gate admits, from before they listen."""

    def secure_listener(self, socket: zmq.Socket[Any], place: str) -> None:
        """Have what is bound next talk only to who is admitted.

        Args:
            socket: What is bound. Its routing id tells it apart from others of its context.
            place: Where, as strangers there are told of.
        """

    def secure_connection(self, socket: zmq.Socket[Any]) -> None:
        """Have what is connected next prove who it is, and make sure of the other end."""

    def leave_plain(self, socket: zmq.Socket[Any]) -> None:
        """Have what is bound or connected next do without: it goes through the file system."""


@dataclass(slots=True, eq=False)
class Network:
    """What a process of such a program has besides.

    Attributes:
        directory: Its program's runtime directory on this node.
        listener: Its socket there, bound and listening.
        security: How connections over TCP are secured; None: they are not.
    """

    directory: str
    listener: socket.SocketType
    security: Security | None

    def near_endpoint(self, key: bytes) -> str:
        """Where the process with a key is reached from the same node."""
        return f"ipc://{os.path.join(self.directory, key.hex())}"

    def reach(self, own: str, key: bytes, endpoint: str) -> str:
        """Where to reach a process from here.

        Args:
            own: This process's endpoint.
            key: The other's key.
            endpoint: The other's endpoint.
        """
        if own.rpartition(":")[0] != endpoint.rpartition(":")[0]:
            return endpoint
        near = self.near_endpoint(key)
        return near if os.path.exists(near.removeprefix("ipc://")) else endpoint
