"""Connections of a peer that may be silent for as long as its machine answers.

The peer is made by hand, of sockets that are there before they connect. So the next connection that
is accepted, or socket that is made, has the number of the one that was closed last.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from constellation.session.loop import Loop
from constellation.session.sessions import Session, Sessions
from constellation.transport.router import Router
from constellation.wire.codec import encode
from constellation.wire.frames import VERSION, Frame, Hello, Probe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of connections")

LIMIT = 20.0
TIMEOUT = 1.0
ONE, OTHER = os.urandom(16), os.urandom(16)
GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x00NULL" + bytes(16) + bytes(32)
"""ZMTP 3.0, without security."""


class Connecting:
    """A connection of the peer with this key."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self._socket = socket.socket()
        self._socket.settimeout(LIMIT)

    def connect(self, port: int) -> None:
        self._socket.connect(("127.0.0.1", port))
        ready = b"\x05READY"
        for name, value in ((b"Socket-Type", b"DEALER"), (b"Identity", b"I" + self.key)):
            ready += bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
        self._socket.sendall(GREETING + b"\x04" + bytes([len(ready)]) + ready)
        # Before the other end has said the same nothing else may come.
        answer = b""
        while b"\x05READY" not in answer:
            answer += self._socket.recv(1 << 10)

    def say(self, frame: Frame) -> None:
        *parts, last = map(bytes, encode(frame))
        for more, part in (*((1, part) for part in parts), (0, last)):
            self._socket.sendall(bytes([more, len(part)]) + part)

    def end(self) -> None:
        """It ends, and keeps its own number."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()


class End:
    """Where the peer connects."""

    def __init__(self) -> None:
        self.loop = Loop()
        listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        key = os.urandom(16)
        self.router = Router(key, f"tcp://127.0.0.1:{self.port}", listener)
        self.router.notes_origin = True
        self.sessions = Sessions(self.loop, self.router, key, self, timeout=TIMEOUT)
        self.peers: list[Session] = []
        self.ends: list[str | None] = []
        self.first, self.second, self.other = map(Connecting, (ONE, ONE, OTHER))

    def opened(self, session: Session) -> None:
        session.lenient = True
        self.peers.append(session)

    def heard(self, session: Session, message: bytes) -> None:
        pass

    def ended(self, session: Session, reason: str | None) -> None:
        self.ends.append(reason)

    def hear(self, connecting: Connecting) -> int:
        """Hear something over a connection. Gives the number that this has here."""
        self.router.origin = -1
        connecting.say(Hello(VERSION, connecting.key, f"a session of {connecting.key.hex()}"))
        assert self.loop.run(lambda: self.router.origin >= 0, LIMIT)
        self.router.origin = -1
        connecting.say(Probe(0, 0))
        assert self.loop.run(lambda: self.router.origin >= 0, LIMIT)
        return self.router.origin

    def close(self) -> None:
        for each in (self.first, self.second, self.other):
            each.close()
        self.sessions.close()
        self.loop.close()


@pytest.fixture
def end() -> Iterator[End]:
    made = End()
    yield made
    made.close()


def closed(number: int) -> bool:
    return not os.path.exists(f"/proc/self/fd/{number}")


def limit(number: int) -> int:
    """Milliseconds for which the system waits for who reads nothing; 0: for ever."""
    with socket.socket(fileno=os.dup(number)) as same:
        return same.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_the_next_connection_of_the_same_number_has_no_limit_either(end: End) -> None:
    end.first.connect(end.port)
    number = end.hear(end.first)
    assert limit(number) == 0
    end.first.end()
    assert end.loop.run(lambda: closed(number), LIMIT)
    end.second.connect(end.port)
    assert end.hear(end.second) == number, "it has the number again"
    assert limit(number) == 0
    assert len(end.peers) == 1, "the session goes on"


def test_nobody_else_answers_who_has_the_number_of_its_connection(end: End) -> None:
    """The peer has made another one, over which nothing has come yet."""
    end.first.connect(end.port)
    number = end.hear(end.first)
    end.other.connect(end.port)
    end.second.connect(end.port)
    end.hear(end.other)  # so that the second one has taken the place of the first
    end.first.end()
    assert end.loop.run(lambda: closed(number), LIMIT)
    with socket.socket() as another, socket.create_server(("127.0.0.1", 0)) as server:
        assert another.fileno() == number, "it has the number now"
        another.connect(server.getsockname())
        assert end.loop.run(lambda: bool(end.ends), LIMIT)
    session, _ = end.peers
    assert end.ends == [f"{session.name} has said nothing for {TIMEOUT:g} s"]
