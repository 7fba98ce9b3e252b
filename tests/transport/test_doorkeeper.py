from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
import zmq

from constellation.transport.doorkeeper import Doorkeeper

HERE = "tcp://10.0.0.1:9999"


def unix() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def unconnected() -> tuple[socket.socket, socket.socket]:
    return socket.socket(), socket.socket()


@pytest.mark.parametrize("make", [unix, unconnected])
def test_a_connection_that_is_gone_may_have_left_its_number_to_another(
    make: Callable[[], tuple[socket.socket, socket.socket]],
) -> None:
    """As where the process was stopped, and hears late of what has come and gone."""
    lines: list[str] = []
    doorkeeper = Doorkeeper(lines.append)
    one, other = make()
    with one, other:
        doorkeeper.see(zmq.EVENT_ACCEPTED, one.fileno(), HERE, 0.0)
        doorkeeper.see(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 0, HERE, 0.0)
        doorkeeper.see(zmq.EVENT_DISCONNECTED, one.fileno(), HERE, 0.0)
    assert lines == [
        "turned away an unknown address at port 9999: it did not complete the handshake"
    ]
