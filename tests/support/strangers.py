"""What strangers do at a port where a service listens with CURVE.

Each of them does its worst, holds what it has until it is released, and says what it was sent. At
most that is the greeting which whoever connects to a socket of ZeroMQ is sent.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import zmq

from constellation.address import Address

#: How long a stranger waits for what it hopes for, seconds.
HOPE = 0.3

GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x01CURVE" + bytes(15) + bytes(32)
BOOM = "boom"


def no_more_than_greeted(received: bytes) -> bool:
    """Whether somebody was sent a greeting, at most: one byte of it counts a name in old ZMTP."""
    return (GREETING[:8] + received[8:9] + GREETING[9:]).startswith(received)


class Bomb:
    """What makes a file where it is unpickled."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / BOOM)

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.path, "w")


Stranger = Callable[[Address, bytes, Path], AbstractContextManager[bytes]]
"""Given where, the public key of the service and a directory for bombs to go off in."""


def raw(data: Callable[[Path], bytes]) -> Stranger:
    """One that sends bytes."""

    @contextmanager
    def stranger(address: Address, _key: bytes, directory: Path) -> Iterator[bytes]:
        with socket.create_connection((address.host, address.port), timeout=10) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data(directory))
            yield received(connection)

    return stranger


def received(connection: socket.socket) -> bytes:
    """What was sent until the end, or until there is no hope."""
    connection.settimeout(HOPE)
    data = b""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while more := connection.recv(1 << 16):
            data += more
    return data


def peer(kind: int, set_up: Callable[[zmq.Socket[bytes], bytes], None]) -> Stranger:
    """One that speaks as ZeroMQ does."""

    @contextmanager
    def stranger(address: Address, key: bytes, directory: Path) -> Iterator[bytes]:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        made = context.socket(kind)
        made.linger = 0
        set_up(made, key)
        if kind == zmq.ROUTER:
            made.setsockopt(zmq.CONNECT_ROUTING_ID, b"service")
        if kind == zmq.SUB:
            made.subscribe(b"")
        made.connect(address.endpoint)
        if kind != zmq.SUB:
            route = [b"service"] if kind == zmq.ROUTER else []
            # A DEALER that is turned away meanwhile has nobody to send to any more.
            with contextlib.suppress(zmq.Again):
                for _ in range(20):
                    made.send_multipart([*route, b"", bomb(directory)], zmq.NOBLOCK)
        try:
            yield b"".join(made.recv_multipart()) if made.poll(HOPE * 1000) else b""
        finally:
            made.close(0)
            context.term()

    return stranger


def bomb(directory: Path) -> bytes:
    return pickle.dumps(Bomb(directory))


def keys(keypair: tuple[bytes, bytes], server: bytes | None = None) -> Callable[..., None]:
    def set_up(made: zmq.Socket[bytes], key: bytes) -> None:
        made.curve_publickey, made.curve_secretkey = keypair
        made.curve_serverkey = server if server is not None else key

    return set_up


def in_the_open(_made: zmq.Socket[bytes], _key: bytes) -> None:
    pass


def plain(made: zmq.Socket[bytes], _key: bytes) -> None:
    made.plain_username, made.plain_password = b"user", b"password"


def frame(size: int) -> bytes:
    """The beginning of a frame that says it is so large."""
    return b"\x06" + size.to_bytes(8, "big") + b"x" * 1000


CURVE = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15) + bytes(32)

STRANGERS: dict[str, Stranger] = {
    "random bytes": raw(lambda _: os.urandom(64 << 10)),
    "random bytes after a greeting": raw(lambda _: CURVE + os.urandom(64 << 10)),
    "an HTTP request": raw(lambda _: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "a TLS handshake": raw(lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512)),
    "a pickle bomb": raw(bomb),
    "silence": raw(lambda _: b""),
    "half a greeting": raw(lambda _: CURVE[:20]),
    "a huge frame": raw(lambda _: CURVE + frame(1 << 40)),
    "a handshake of zeros": raw(lambda _: CURVE + b"\x04\xc8\x05HELLO" + bytes(194)),
    "ZMTP 1.0": raw(lambda _: b"\x01\x00\x06\x00hello"),
    "a DEALER in the open": peer(zmq.DEALER, in_the_open),
    "a ROUTER in the open": peer(zmq.ROUTER, in_the_open),
    "a SUB in the open": peer(zmq.SUB, in_the_open),
    "a DEALER with a password": peer(zmq.DEALER, plain),
    "a DEALER with an unknown key": peer(zmq.DEALER, keys(zmq.curve_keypair())),
    "a ROUTER with an unknown key": peer(zmq.ROUTER, keys(zmq.curve_keypair())),
    "a DEALER for another server": peer(
        zmq.DEALER, keys(zmq.curve_keypair(), zmq.curve_keypair()[0])
    ),
}
