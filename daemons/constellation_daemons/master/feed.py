"""The events of the cluster, for whoever subscribes: each as its topic and a JSON object."""

from __future__ import annotations

from typing import Any

import msgspec
import zmq

from constellation.address import Address
from constellation.transport.network import Security
from constellation_daemons.listening import listen_at
from constellation_daemons.master.instructions import Publish

__all__ = ["Feed"]

_HIGH_WATER = 100_000  # events that one subscriber may be behind; it asks for the status then


class Feed:
    """A PUB socket.

    Args:
        context: Of the service.
        address: Where to publish; port 0 is any free one.
        security: How connections are secured; None: they are not.

    Attributes:
        port: At which it publishes.
    """

    def __init__(
        self, context: zmq.Context[Any], address: Address, security: Security | None
    ) -> None:
        self._socket = socket = context.socket(zmq.PUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, _HIGH_WATER)
        socket.setsockopt(zmq.IPV6, 1)
        if security is not None:
            security.secure_listener(socket)
        for listener in listen_at(address):
            self.port: int = listener.address.port
            socket.setsockopt(zmq.USE_FD, listener.socket.detach())
            socket.bind(listener.address.endpoint)

    def publish(self, event: Publish) -> None:
        """Tell all who listen."""
        topic = event.topic.value
        body = {"sequence": event.sequence, "event": topic}
        for name in ("node", "program", "pid", "text"):
            value = getattr(event, name)
            if value is not None:
                body[name] = value
        self._socket.send_multipart([topic.encode(), msgspec.json.encode(body)], zmq.NOBLOCK)

    def close(self) -> None:
        """End it."""
        self._socket.close(0)
