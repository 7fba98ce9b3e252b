from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from constellation.address import Address, UnknownHost
from constellation.session.loop import Loop
from constellation_daemons.names import Names


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def answer(*hosts: str) -> list[Any]:
    return [(0, 0, 0, "", (host, 0)) for host in hosts]


def test_numbers_are_not_looked_up(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", pytest.fail)
    found: list[list[Address]] = []
    address = Address("10.0.0.1", 9999)
    Names(loop).find(address, found.append, pytest.fail)
    assert found == [[address]]


def test_the_loop_goes_on_while_the_name_service_does_not_answer(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def slow(host: str, *_: Any, **__: Any) -> list[Any]:
        assert go.wait(20)
        return answer("10.0.0.1", "fd00::1")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    found: list[list[Address]] = []
    names = Names(loop)
    for number in range(20):
        names.find(Address(f"node{number}.test", 9), found.append, pytest.fail)
    loop.after(0.05, go.set)
    assert loop.run(lambda: len(found) == 20, 20)
    assert found == [[Address("10.0.0.1", 9), Address("fd00::1", 9)]] * 20


def test_a_name_without_an_address_is_told(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", gone)
    errors: list[UnknownHost] = []
    Names(loop).find(Address("node.test", 9), pytest.fail, errors.append)
    assert loop.run(lambda: bool(errors), 20)
    assert (errors[0].host, errors[0].temporary) == ("node.test", True)
