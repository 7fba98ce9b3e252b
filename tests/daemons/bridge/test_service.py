"""What a bridge makes of peers that say what they may not: it leaves them, and nobody else."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import local_bridge
import msgspec
import programs
import pytest
from local_bridge import LocalBridge

from constellation.control import deployment as messages
from constellation.control.deployment import Deploy, Greeting
from constellation.program.exchange import Serving
from constellation.program.ignore import Rules
from constellation.program.pack import pack_script
from constellation.program.transfer import decode_for_sender
from constellation.security.key_file import make_key_file, read_key_file
from constellation.session.loop import Loop
from constellation.session.sessions import Session, Sessions
from constellation.transport.curve import Curve
from constellation.transport.router import Router
from constellation.version import VERSION
from constellation_daemons.agent import messages as agent_messages

LIMIT = 20.0
PYTHON = platform.python_version()


@pytest.fixture(scope="module")
def shared_bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBridge]:
    with local_bridge.bridge(tmp_path_factory.mktemp("bridge")) as bridge:
        yield bridge


@pytest.fixture
def bridge(shared_bridge: LocalBridge) -> Iterator[LocalBridge]:
    yield shared_bridge
    shared_bridge.settle()


class Peer:
    """Whoever connects to a bridge, and says what a test wants."""

    def __init__(self, bridge: LocalBridge) -> None:
        self._loop = Loop()
        key = os.urandom(16)
        security = Curve(read_key_file(bridge.options.key_file))
        self._sessions = Sessions(self._loop, Router(key, "", None, security=security), key, self)
        self._session = self._sessions.dial(f"tcp://{bridge.address}")
        self.messages: list[Any] = []
        self.ended_with: list[str | None] = []

    def opened(self, session: Session) -> None: ...

    def heard(self, session: Session, message: bytes) -> None:
        self.messages.append(messages.from_bridge.decode(message))

    def ended(self, session: Session, reason: str | None) -> None:
        self.ended_with.append(reason)

    def say(self, *said: object) -> None:
        for each in said:
            self._session.send(each if isinstance(each, bytes) else msgspec.msgpack.encode(each))

    def until(self, condition: Callable[[], object]) -> None:
        assert self._loop.run(lambda: bool(condition()), LIMIT), (self.messages, self.ended_with)

    def until_left(self) -> None:
        self.until(lambda: self.ended_with)
        assert self.ended_with == [None]

    def close(self) -> None:
        self._sessions.close()
        self._loop.close()


@pytest.fixture
def peer(bridge: LocalBridge) -> Iterator[Peer]:
    peer = Peer(bridge)
    yield peer
    peer.close()


def request(tmp_path: Path, source: str = "print()", **changes: Any) -> Deploy:
    package = pack_script(str(programs.write(tmp_path, source)), Rules())
    manifest = package.manifest.encode()
    plain = Deploy(manifest, [b"program.py"], {}, None, None)
    return msgspec.structs.replace(plain, **changes)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\xc1",
        b"\x93",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(1 << 20),
        msgspec.msgpack.encode(["X"]),
    ],
)
def test_a_first_message_that_is_none_is_left(
    peer: Peer, bridge: LocalBridge, first: bytes
) -> None:
    peer.say(first)
    peer.until_left()
    assert peer.messages == []
    assert "which has said what cannot be" in bridge.log


@pytest.mark.parametrize(
    "said",
    [
        b"\xc1",
        ["Deploy", b"no manifest"],
        messages.Room(0),
        messages.Input(b"early"),
        messages.Interrupt("SIGINT"),
        Greeting(VERSION, PYTHON),
        agent_messages.ImageReady(),
    ],
)
def test_a_client_that_speaks_out_of_turn_is_left(peer: Peer, said: object) -> None:
    peer.say(Greeting(VERSION, PYTHON), said)
    peer.until_left()
    assert [type(each).__name__ for each in peer.messages] == ["Welcome"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"manifest": b"\xc1"}, "manifest"),
        ({"arguments": []}, "nothing is said of what to run"),
        ({"arguments": [b"program.py", b"a\0b"]}, "zero byte"),
        ({"environ": {b"A": b"\0"}}, "zero byte"),
        ({"environ": {b"A=B": b""}}, "no name of a variable"),
        ({"environ": {b"": b""}}, "no name of a variable"),
        ({"mem": -1}, "negative"),
        ({"cpu": float("nan")}, "not an amount of cores"),
    ],
)
def test_what_cannot_be_run_is_refused(
    peer: Peer, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    peer.say(Greeting(VERSION, PYTHON), request(tmp_path, **changes))
    peer.until(lambda: len(peer.messages) == 2)
    failed = peer.messages[1]
    assert isinstance(failed, messages.Failed)
    assert reason in failed.reason
    peer.until_left()


def test_another_version_of_python_is_denied(peer: Peer, tmp_path: Path) -> None:
    peer.say(Greeting(VERSION, "3.1.4"), request(tmp_path))
    peer.until_left()
    (denied,) = peer.messages
    assert isinstance(denied, messages.Denied)
    assert f"the command has Python 3.1.4, and the bridge {PYTHON}: " in denied.reason


def test_another_version_of_python_is_told_to_the_user(tmp_path: Path) -> None:
    path = programs.write(tmp_path, "print()")
    directory = tmp_path / "bridge"
    directory.mkdir()
    with local_bridge.bridge(directory, version="3.1.4") as bridge:
        done = bridge.run(path, form="human")
    assert done.code == 1
    assert done.err.startswith(b"constellation: the command has Python ")
    assert b", and the bridge 3.1.4: " in done.err


RUNNING = """
import sys, time
from constellation import init
init()
print("running", flush=True)
time.sleep(60)
"""


def serve(peer: Peer, tmp_path: Path, source: str) -> None:
    """Deploy a program, and send its files."""
    package = pack_script(str(programs.write(tmp_path, source)), Rules())
    serving = Serving(package.manifest, package)
    deploy = Deploy(package.manifest.encode(), [b"program.py"], {}, None, None)
    peer.say(Greeting(VERSION, PYTHON), deploy)

    def running() -> bool:
        for message in peer.messages:
            if isinstance(message, messages.Transfer):
                serving.receive(decode_for_sender(message.data))
                while (answer := serving.next()) is not None:
                    peer.say(messages.Transfer(msgspec.msgpack.encode(answer)))
        peer.messages = [m for m in peer.messages if not isinstance(m, messages.Transfer)]
        return any(isinstance(message, messages.Print) for message in peer.messages)

    peer.until(running)


@pytest.mark.parametrize(
    "said",
    [
        b"nonsense",
        messages.Room(1 << 40),
        messages.Room(-1),
        messages.Input(bytes(1 << 20)),
        messages.Shut(7),
        messages.Interrupt("SIGNONSENSE"),
        messages.Interrupt("default_int_handler"),
        Greeting(VERSION, PYTHON),
    ],
)
def test_a_client_that_says_nonsense_loses_its_program_and_no_other(
    peer: Peer, bridge: LocalBridge, tmp_path: Path, said: object
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with bridge.start(programs.write(other, RUNNING)) as command:
        serve(peer, tmp_path, RUNNING)
        command.until(lambda: b"running" in command.output())
        peer.say(said)
        peer.until_left()
        command.until(lambda: len(bridge.agents) == 1)
        assert command.process.poll() is None
        command.signal(2)
        assert command.wait() == 130
    assert "Traceback" not in bridge.log


def test_an_agent_of_no_program_is_left(peer: Peer) -> None:
    peer.say(agent_messages.Hello(bytes(16), "local", 1, PYTHON))
    peer.until_left()


def test_names_of_others_are_text_in_the_log(peer: Peer, bridge: LocalBridge) -> None:
    peer.say(agent_messages.Hello(bytes(16), "a\x1b[2J\nb", 1, PYTHON))
    peer.until_left()
    assert r"an agent of a\x1b[2J\nb came" in bridge.log


def test_a_bridge_is_not_hurt_by_strangers(bridge: LocalBridge, tmp_path: Path) -> None:
    host, port = bridge.address.split(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(os.urandom(10_000))
        done = bridge.run(programs.write(tmp_path, "from constellation import init\ninit()"))
    assert done.code == 0


def test_another_key_does_not_get_in(bridge: LocalBridge, tmp_path: Path) -> None:
    make_key_file(str(tmp_path / "other.key"))
    path = programs.write(tmp_path, "from constellation import init\ninit()")
    done = bridge.run("--key-file", tmp_path / "other.key", path, form="human")
    assert done.code == 1
    assert b"has another key than here" in done.err
