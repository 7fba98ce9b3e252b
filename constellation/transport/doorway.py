"""What libzmq tells of the connections that come in at a listener: who of them was a stranger."""

from __future__ import annotations

from typing import Final

import zmq

from constellation.transport.arrivals import Arrivals, Stranger
from constellation.transport.kernel import connection, peer_host
from constellation.transport.security import HANDSHAKE_MS

__all__ = ["Doorway", "port_of"]

_NOT_SECURE: Final = "it did not speak CURVE as a peer does"

_ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
_SUCCEEDED: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_FAILED: Final = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
_FAILED_PROTOCOL: Final = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
_FAILED_AUTH: Final = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
_DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)


class Doorway:
    """The connections that come in at one socket, as libzmq tells of them."""

    def __init__(self) -> None:
        self._arrivals = Arrivals(HANDSHAKE_MS / 1000 + 1)

    def see(self, event: int, value: int, now: float) -> Stranger | None:
        """Libzmq has told something of a connection. Gives the stranger that it shows, if any.

        Those that the ZAP handler has told of are not among them.

        Args:
            event: What.
            value: What belongs to it.
            now: Seconds of the monotonic clock.
        """
        arrivals = self._arrivals
        if event == _ACCEPTED:
            arrivals.accepted(value, peer_host(connection(value)), now)
        elif event == _SUCCEEDED:
            arrivals.succeeded(now)
        elif event == _FAILED:
            arrivals.failed()
        elif event == _FAILED_PROTOCOL:
            arrivals.failed(_NOT_SECURE)
        elif event == _FAILED_AUTH:
            arrivals.failed("")  # the handler has told of it
        elif event == _DISCONNECTED:
            return arrivals.ended(value, now)
        return None

    def admitted(self, now: float) -> None:
        """A connection is a peer's, as is known otherwise."""
        self._arrivals.succeeded(now)


def port_of(endpoint: str) -> str:
    """The place that an endpoint of TCP is on its machine, for people: ``port 9999``."""
    return f"port {endpoint.rpartition(':')[2]}"
