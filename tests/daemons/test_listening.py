from __future__ import annotations

import logging
import os
import socket
from typing import Any

import pytest
import zmq

from constellation.address import Address
from constellation.transport.router import Router
from constellation_daemons.binding import ListenError
from constellation_daemons.listening import listen_at


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> str:
    """Stands for two addresses of this machine and, in between, one that it does not have."""
    hosts = ["127.7.0.1", "192.0.2.1", "127.7.0.2"]

    def found(*_: Any, **__: Any) -> list[Any]:
        return [(0, 0, 0, "", (host, 0)) for host in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return "node.test"


def test_all_addresses_of_a_name_are_listened_at(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        one, two = listen_at(Address(name, 0))
    assert [one.address.host, two.address.host] == ["127.7.0.1", "127.7.0.2"]
    assert one.address.port == two.address.port > 0
    assert "stands for 192.0.2.1 too, which this machine does not have" in caplog.text
    with pytest.raises(ListenError, match="something else listens there"):
        listen_at(Address(name, one.address.port))
    for each in (one, two):
        each.socket.close()


def test_a_router_is_reached_at_each_of_them(name: str) -> None:
    first, *others = [(each.address.endpoint, each.socket) for each in listen_at(Address(name, 0))]
    router = Router(os.urandom(16), *first, others=others)
    context: zmq.Context[Any] = zmq.Context()
    try:
        for endpoint in (first[0], others[0][0]):
            with context.socket(zmq.REQ) as request:
                request.connect(endpoint)
                request.send(endpoint.encode())
                poller = zmq.Poller()
                poller.register(router.fd, zmq.POLLIN)
                while not router.readable():
                    assert poller.poll(10_000)
                assert router.receive()[2] == endpoint.encode()
    finally:
        context.destroy(0)
        router.close()


def test_none_of_them_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ListenError, match="this machine has no such address"):
        listen_at(Address("192.0.2.1", 0))
