"""The events of the cluster, for whoever subscribes: each as its topic and a JSON object."""

from __future__ import annotations

from time import monotonic
from typing import Any

import msgspec
import zmq
from zmq.utils.monitor import parse_monitor_message

from constellation.address import Address
from constellation.session.loop import Loop
from constellation.transport.doorkeeper import Doorkeeper
from constellation.transport.doorway import port_of
from constellation.transport.network import Security
from constellation.transport.security import HANDSHAKE_MS
from constellation_daemons.listening import listen_at
from constellation_daemons.master.instructions import Publish

__all__ = ["Feed"]

_MAX_MESSAGE = 1 << 12  # bytes: subscribers send only what they subscribe to
_BATCH = 256
_TICK = 1.0
_KEEPALIVE = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 15,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
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
        socket.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        for option, value in _KEEPALIVE.items():
            socket.setsockopt(option, value)
        self._doorkeeper = Doorkeeper()
        self._monitor = socket.get_monitor_socket(self._doorkeeper.events)
        self._loop: Loop | None = None
        socket.setsockopt(zmq.IPV6, 1)
        socket.setsockopt(zmq.ROUTING_ID, b"events")
        for listener in listen_at(address):
            if security is not None:
                security.secure_listener(socket, port_of(listener.address.endpoint))
            self.port: int = listener.address.port
            socket.setsockopt(zmq.USE_FD, listener.socket.detach())
            socket.bind(listener.address.endpoint)

    def watch(self, loop: Loop) -> None:
        """Have strangers logged from now on."""
        self._loop = loop
        loop.watch_socket(self._monitor, self._see)
        self._tick()

    def _see(self) -> None:
        for _ in range(_BATCH):
            if not self._told():
                return
            event = parse_monitor_message(self._monitor.recv_multipart(zmq.NOBLOCK))
            endpoint = event["endpoint"].decode(errors="replace")
            self._doorkeeper.see(event["event"], event["value"], endpoint, monotonic())

    def _told(self) -> bool:
        return bool(int(self._monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def _tick(self) -> None:
        if self._loop is not None:
            self._doorkeeper.tick(monotonic())
            self._loop.after(_TICK, self._tick)

    def publish(self, event: Publish) -> None:
        """Tell all who listen."""
        topic = event.topic.value
        body: dict[str, Any] = {"sequence": event.sequence, "event": topic}
        for name in ("node", "program", "pid"):
            value = getattr(event, name)
            if value is not None:
                body[name] = value
        if event.status is not None:
            body["status"] = event.status.exit_status().to_json()
        self._socket.send_multipart([topic.encode(), msgspec.json.encode(body)], zmq.NOBLOCK)

    def close(self) -> None:
        """End it."""
        if self._loop is not None:
            self._loop.unwatch(int(self._monitor.getsockopt(zmq.FD)))
            self._loop = None
        # libzmq waits for room in the monitor, and for one that was closed without end.
        while self._told():
            self._monitor.recv_multipart(zmq.NOBLOCK)
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._doorkeeper.close(monotonic())
        self._socket.close(0)
