"""Strangers at the port of a process that has others on other machines."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import strangers
from sides import Node, Side

from constellation.address import Address
from constellation.control.messages import Stranger, TurnedAway
from constellation.security.keypair import Keypair
from constellation.transport import lodge, router, transport
from constellation.transport.lodge import Lodge

Sides = Callable[..., list[Side]]
KEYPAIR = Keypair.new()

#: Seconds until a test that waits for something gives up.
PATIENCE = 30.0


class Port:
    """A side's port, what is done there, and what the side tells of it."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.address = Address.parse(side.pid.endpoint.removeprefix("tcp://"))
        self.told: list[TurnedAway] = []

    def watched(self) -> Port:
        """Wait until libzmq tells of connections."""
        self.wait_for(lambda: self.side.transport._router.monitor_fd >= 0)
        return self

    def wait_for(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.told
            self.hear()
            time.sleep(0.01)

    def hear(self) -> None:
        self.told += [each for each in self.side.bridge.receive() if isinstance(each, TurnedAway)]

    @property
    def seen(self) -> list[Stranger]:
        return [each for message in self.told for each in message.strangers]

    @property
    def count(self) -> int:
        return sum(each.count for each in self.seen)

    def knock(self, data: bytes = b"GET / HTTP/1.1\r\n\r\n") -> None:
        """Be a stranger, and see that nothing comes of it."""
        with socket.create_connection((self.address.host, self.address.port)) as stranger:
            stranger.sendall(data)
            assert strangers.no_more_than_greeted(strangers.received(stranger))


@pytest.fixture
def port(sides: Sides, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Port:
    monkeypatch.setattr(transport, "_WATCH_AFTER", 0.0)
    (side,) = sides(1, Node("127.0.0.2", directory, KEYPAIR))
    return Port(side)


@pytest.fixture
def friend(sides: Sides, directory: Path) -> Side:
    """A process of the same program on another node."""
    place = directory / "friend"
    place.mkdir()
    (side,) = sides(1, Node("127.0.0.3", place, KEYPAIR))
    return side


@pytest.mark.parametrize("name", strangers.STRANGERS)
def test_a_stranger_gets_nothing_and_is_told_of(
    port: Port, friend: Side, name: str, tmp_path: Path
) -> None:
    port.watched()
    sender, receiver = friend.sender(port.side), port.side.receiver(friend)
    sender.send("before").block()
    assert receiver.recv().block(10) == "before"
    with strangers.STRANGERS[name](port.address, KEYPAIR.public, tmp_path) as received:
        sender.send("meanwhile").block()
        assert receiver.recv().block(10) == "meanwhile"
    assert strangers.no_more_than_greeted(received)
    assert not (tmp_path / strangers.BOOM).exists()
    port.wait_for(lambda: port.told)
    assert port.seen[0].address in {"", "127.0.0.1"}
    assert port.seen[0].why


def test_before_it_watches_those_with_another_key_are_told_of(
    port: Port, sides: Sides, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_WATCH_AFTER", 600.0)
    place = directory / "late"
    place.mkdir()
    late = Port(sides(1, Node("127.0.0.4", place, KEYPAIR))[0])
    stranger = strangers.STRANGERS["a DEALER with an unknown key"]
    with stranger(late.address, KEYPAIR.public, tmp_path):
        late.wait_for(lambda: late.told)
    assert late.seen == [Stranger("127.0.0.1", "its key is not one that is let in", 1)]
    assert late.side.transport._router.monitor_fd < 0


def test_no_peer_is_told_of(port: Port, friend: Side, sides: Sides, directory: Path) -> None:
    """Wherever it is, whoever connects, however it ends; and a stranger among them is."""
    port.watched()
    for number in range(30):
        place = directory / f"peer {number}"
        place.mkdir()
        host, where = ("127.0.0.2", directory) if number % 2 else ("127.0.0.5", place)
        (peer,) = sides(1, Node(host, where, KEYPAIR))
        peer.sender(port.side).send(number).block()
        assert port.side.receiver(peer).recv().block(10) == number
        friend_sends = friend.sender(peer)
        friend_sends.send(number).block()
        friend_sends.close()
        if number % 3:
            peer.close()
    port.hear()
    assert port.told == []
    port.knock()
    port.wait_for(lambda: port.told)
    assert port.count == 1


def test_a_flood_takes_few_messages_and_leaves_nobody_out(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(router, "_MOST_EVENTS", 4)
    port.watched()
    lock = port.side.transport.lock
    count = 400
    with lock:  # so that all of it is told of at once
        connections = [
            socket.create_connection((port.address.host, port.address.port)) for _ in range(count)
        ]
        for connection in connections:
            connection.sendall(b"nonsense" * 10)
        for connection in connections:
            connection.settimeout(PATIENCE)
            strangers.received(connection)
            connection.close()
    port.wait_for(lambda: port.count == count)
    assert len(port.told) <= 3
    assert all(len(message.strangers) <= 9 for message in port.told)


def test_the_last_are_told_of_at_its_end(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lodge, "INTERVAL", 600.0)
    port.watched()
    for _ in range(3):
        port.knock()
    waiting = port.side.transport._lodge
    assert waiting is not None
    port.wait_for(lambda: sum(each.count for each in waiting._tally._sights.values()) == 2)
    port.hear()
    assert port.count == 1
    port.side.transport.close()
    with contextlib.suppress(EOFError):
        while True:
            port.hear()
    assert port.count == 3


def test_without_descriptors_it_watches_later(
    sides: Sides, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "_WATCH_AFTER", 0.0)
    monkeypatch.setattr(transport, "_WATCH_AGAIN", 0.01)
    tried = []

    def watch(self: router.Router, more: int = 0) -> None:
        tried.append(more)
        if len(tried) < 3:
            raise OSError(24, "Too many open files")
        real(self, more)

    real = router.Router.watch
    monkeypatch.setattr(router.Router, "watch", watch)
    (side,) = sides(1, Node("127.0.0.2", directory, KEYPAIR))
    port = Port(side).watched()
    assert len(tried) == 3
    port.knock()
    port.wait_for(lambda: port.told)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("keypair", [KEYPAIR, None], ids=["native", "plain"])
def test_where_there_are_no_strangers_it_watches_nobody(
    sides: Sides, directory: Path, keypair: Keypair | None
) -> None:
    node = None if keypair is not None else Node("127.0.0.2", directory, None)
    (side,) = sides(1, node)
    assert side.transport._lodge is None


def test_it_makes_nothing_before_somebody_comes() -> None:
    told: list[TurnedAway] = []
    made = Lodge(told.append, lambda when: None)
    made.tick(1.0)
    made.close(2.0)
    assert told == []
    assert set(vars(made)) == {"_tell", "_wake", "due"}
