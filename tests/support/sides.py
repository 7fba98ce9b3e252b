"""Processes without processes: transports and handles of several in this one, and their bridge."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from constellation import Receiver, Sender
from constellation.channel import context
from constellation.channel.mailbox import Mailbox
from constellation.control.messages import Exited, FromProcess, Status, ToProcess, Watch
from constellation.control.stream import MessageStream
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.security.keypair import Keypair
from constellation.transport.curve import Curve
from constellation.transport.network import Network
from constellation.transport.transport import Transport


def listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(100)
    return listener


@dataclass(frozen=True)
class Node:
    """Where processes of a program run that has others elsewhere.

    Loopback has many addresses, and each may be that of a node.
    """

    host: str
    directory: Path
    keypair: Keypair | None


_making = threading.Lock()
"""The context that handles are made in is the interpreter's, and sides are used by many threads."""


class Side:
    """What one process has."""

    def __init__(self, directory: Path, node: Node | None = None) -> None:
        key = os.urandom(16)
        network = None
        if node is None:
            path = directory / key.hex()[:8]
            listener = listen(path)
            self.pid = Pid(key, f"ipc://{path}")
        else:
            listener = socket.create_server((node.host, 0))
            near = listen(node.directory / key.hex())
            security = None if node.keypair is None else Curve(node.keypair)
            network = Network(str(node.directory), near, security)
            self.pid = Pid(key, f"tcp://{node.host}:{listener.getsockname()[1]}")
        ours, theirs = socket.socketpair()
        self.bridge = MessageStream(theirs, msgspec.msgpack.Decoder(FromProcess))
        control = MessageStream(ours, msgspec.msgpack.Decoder(ToProcess))
        self.transport = Transport(self.pid, listener, control, inlet=Mailbox, network=network)
        self.transport.start()
        self._context = context.Context(self.transport, None)  # type: ignore[arg-type]

    def _made(self, make: Callable[[], Any]) -> Any:
        with _making:
            before = context._context
            context._context = self._context
            try:
                return make()
            finally:
                context._context = before

    def sender(self, remote: Side, **options: Any) -> Sender[Any]:
        return self._made(lambda: Sender(remote.pid, **options))  # type: ignore[no-any-return]

    def receiver(self, remote: Side, **options: Any) -> Receiver[Any]:
        return self._made(lambda: Receiver(remote.pid, **options))  # type: ignore[no-any-return]

    def told(self) -> list[bytes]:
        """Whose end this process has asked for since the last call."""
        return [each.key for each in self.bridge.receive() if isinstance(each, Watch)]

    def hears_of(self, remote: Side, status: ExitStatus | None) -> None:
        """The bridge says that a process has exited."""
        sent = None if status is None else Status.of(status)
        self.bridge.send(Exited(remote.pid.key, sent))

    @property
    def routes(self) -> int:
        with self.transport.lock:
            return sum(len(peer.routes) for peer in self.transport.peers.values())

    def close(self) -> None:
        if not self.transport.closed:
            self.transport.close()
            # What it has of others' memory ends with a process, and this one goes on.
            for mapping in self.transport.memory.mapped.values():
                mapping.close()
            for peer in self.transport.peers.values():
                peer.ledger = None
        self.bridge.close()


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


@pytest.fixture
def sides(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Any]]:
    # What is registered stays for ever, and these transports end with their test.
    monkeypatch.setattr(os, "register_at_fork", lambda **_: None)
    made: list[Side] = []

    def make(count: int, node: Node | None = None) -> list[Side]:
        made.extend(Side(directory, node) for _ in range(count))
        return made[-count:]

    yield make
    for side in made:
        side.close()
