"""Sockets that talk with keys, and a service that takes what comes to it."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

import zmq

from constellation.security.keypair import Keypair
from constellation.transport import security
from constellation.transport.zap import Zap

#: Seconds until a test that waits for something gives up.
PATIENCE = 20.0


class Service:
    """A ROUTER that echoes, encrypted, with its handler, both in this thread.

    Attributes:
        lines: What the handler told.
        taken: What reached the service.
    """

    def __init__(self, *, admitted: list[Keypair], own: Keypair) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.lines: list[str] = []
        self.taken: list[list[bytes]] = []
        self.echoes = True
        self.zap = Zap(self.context, tell=self.lines.append)
        for keypair in admitted:
            self.zap.admit(keypair.public, f"user {keypair.fingerprint}")
        self.own = own
        self.router = self.context.socket(zmq.ROUTER)
        self.router.linger = 0
        # As all of ours: handshakes must not get mixed up by it.
        self.router.setsockopt(zmq.ROUTING_ID, b"service")

    def bind(self, endpoint: str = "tcp://127.0.0.1:*") -> str:
        security.secure_server(self.router, self.own, self.zap)
        self.router.bind(endpoint)
        return self.router.last_endpoint.decode()

    def run(self, until: Callable[[], bool], patience: float = PATIENCE) -> bool:
        """Serve until something holds; says whether it does."""
        limit = time.monotonic() + patience
        router_fd = self.router.getsockopt(zmq.FD)
        while not until():
            if time.monotonic() > limit:
                return False
            while self.router.getsockopt(zmq.EVENTS) & zmq.POLLIN:
                message = self.router.recv_multipart()
                self.taken.append(message[1:])
                if self.echoes:
                    self.router.send_multipart(message)
            select.select([router_fd, self.zap], [], [], 0.01)
            self.zap.serve()
        return True

    def close(self) -> None:
        self.router.close(0)
        self.zap.close()
        self.context.term()


class Client:
    """A DEALER in a context of its own."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0

    def connect(self, endpoint: str, server: bytes, keypair: Keypair) -> Client:
        security.secure_client(self.socket, server, keypair)
        self.socket.connect(endpoint)
        return self

    def send(self, *parts: bytes) -> Client:
        self.socket.send_multipart(parts)
        return self

    def answered(self) -> bool:
        return bool(self.socket.poll(0))

    def close(self) -> None:
        self.socket.close(0)
        self.context.term()
