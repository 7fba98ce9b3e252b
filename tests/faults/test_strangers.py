"""Strangers at a port where a service listens: they get nothing, cost nothing and are told of."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import strangers
from curve import Client

from constellation.address import Address
from constellation.security.keypair import Keypair, send_key

SERVICE = Path(__file__).with_name("listening_service.py")

#: Seconds until a test that waits for something gives up.
PATIENCE = 30.0


class Service:
    """The service in its process, and one client that has the key."""

    def __init__(self) -> None:
        self.keypair = Keypair.new()
        reading, writing = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, str(SERVICE), str(reading)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[reading],
            text=True,
        )
        os.close(reading)
        send_key(writing, self.keypair)
        os.close(writing)
        self.address = Address.parse(self.line().strip())
        self.client = self.new_client()
        self.sent: list[str] = []
        self.echo(self.client)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def new_client(self) -> Client:
        return Client().connect(self.address.endpoint, self.keypair.public, self.keypair)

    def echo(self, client: Client) -> None:
        """A client is served."""
        self.sent.append(f"number {len(self.sent)}")
        client.send(self.sent[-1].encode())
        assert client.socket.poll(PATIENCE * 1000), "no echo"
        assert client.socket.recv() == self.sent[-1].encode()

    def state(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return dict(json.loads(self.line()))

    def settled(self, descriptors: int) -> dict[str, Any]:
        """How it is when it has no more descriptors than it had."""
        limit = time.monotonic() + PATIENCE
        while (state := self.state())["descriptors"] > descriptors:
            assert time.monotonic() < limit, f"{state['descriptors']} descriptors"
            time.sleep(0.05)
        return state

    def told(self, text: str) -> None:
        """Wait until it has told that: of who has left it hears later than others see."""
        limit = time.monotonic() + PATIENCE
        while not any(text in line for line in self.state()["lines"]):
            assert time.monotonic() < limit, f"nothing is told of what is {text}"
            time.sleep(0.05)

    def close(self) -> None:
        self.client.close()
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("name", strangers.STRANGERS)
def test_a_stranger(service: Service, name: str, tmp_path: Path) -> None:
    before = service.state()
    with strangers.STRANGERS[name](service.address, service.keypair.public, tmp_path) as sent:
        service.echo(service.client)
        new = service.new_client()
        service.echo(new)
        new.close()
    assert strangers.GREETING.startswith(sent)
    after = service.settled(before["descriptors"])
    service.echo(service.client)
    assert after["taken"] == service.sent[:-1]
    assert not (tmp_path / strangers.BOOM).exists()
    service.told("turned away")
    # What anybody's connection takes, of which libzmq and Python keep some.
    assert after["memory"] - before["memory"] < 1 << 20


@pytest.mark.slow_ok(240)
def test_five_hundred_at_once(service: Service) -> None:
    idle = service.state()["descriptors"]
    memory = []
    for _ in range(3):
        with ExitStack() as stack:
            connections = [
                stack.enter_context(
                    socket.create_connection((service.address.host, service.address.port), 30)
                )
                for _ in range(500)
            ]
            for number, connection in enumerate(connections):
                connection.sendall([b"\xff", strangers.CURVE, strangers.CURVE[:20]][number % 3])
            service.echo(service.client)
            new = service.new_client()
            service.echo(new)
            new.close()
            assert service.state()["descriptors"] > idle + 400
            service.settled(idle)  # while they hold their ends open
        service.echo(service.client)
        memory.append(service.state()["memory"])
    state = service.state()
    assert state["taken"] == service.sent
    # What the first ones took is used again.
    assert memory[2] - memory[1] < 2 << 20
    assert 2 <= len(state["lines"]) < 20
    assert "turned away" in state["lines"][0]


def test_many_that_come_and_go(service: Service) -> None:
    before = service.state()
    for number in range(1500):
        with socket.create_connection((service.address.host, service.address.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        if number % 100 == 0:
            service.echo(service.client)
        if number == 500:
            before = service.state() | {"descriptors": before["descriptors"]}
    after = service.settled(before["descriptors"])
    assert after["taken"] == service.sent
    assert after["memory"] - before["memory"] < 2 << 20
    assert len(after["lines"]) < 10
