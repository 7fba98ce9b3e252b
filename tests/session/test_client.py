"""Asking where somebody else answers, or nobody: that is told as soon as it is certain."""

from __future__ import annotations

import contextlib
import http.server
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from silence import silent

from constellation.control import cluster
from constellation.control.cluster import AskKill, AskStatus, AskWho, Done, Who, Wrong
from constellation.security.keypair import Keypair
from constellation.session.client import MasterError, ask, ask_one_of
from constellation.session.loop import Loop
from constellation.session.sessions import Session, Sessions
from constellation.transport.curve import Curve
from constellation.transport.router import Router

KEYPAIR = Keypair.new()
SECURITY = Curve(KEYPAIR)
SOON = 5.5
Answer = Callable[[bytes], bytes]


class Nobody:
    """Has no sessions."""

    def opened(self, session: Session) -> None: ...

    def heard(self, session: Session, message: bytes) -> None: ...

    def ended(self, session: Session, reason: str | None) -> None: ...


def listening(port: int = 0) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def endpoint_of(listener: socket.socket) -> str:
    return "tcp://{}:{}".format(*listener.getsockname())


@contextmanager
def service(answer: Answer, keypair: Keypair | None = KEYPAIR, port: int = 0) -> Iterator[str]:
    """A service that answers, in a thread."""
    loop = Loop()
    listener = listening(port)
    endpoint, key = endpoint_of(listener), os.urandom(16)
    security = None if keypair is None else Curve(keypair)
    router = Router(key, endpoint, listener, security=security)
    over = threading.Event()
    sessions = Sessions(loop, router, key, Nobody(), answer=answer)

    def run() -> None:
        while not over.is_set():
            loop.run(over.is_set, 0.05)
        sessions.close()
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield endpoint
    finally:
        over.set()
        thread.join()


def answering(reply: cluster.Reply) -> Answer:
    return lambda request: cluster.encode(reply)


@contextmanager
def talking(first: bytes) -> Iterator[str]:
    """Something that is no service: it says this to whoever connects, and listens."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.sendall(first)
                while self.request.recv(1000):
                    pass

    with serving(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as endpoint:
        yield endpoint


@contextmanager
def serving(server: socketserver.TCPServer) -> Iterator[str]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield endpoint_of(server.socket)
        finally:
            server.shutdown()
            thread.join()


def told(endpoint: str, security: Curve | None = SECURITY, role: str = "master") -> str:
    start = time.monotonic()
    with pytest.raises(MasterError) as caught:
        ask(endpoint, security, AskStatus(), role=role)
    assert time.monotonic() - start < SOON
    return str(caught.value).replace(endpoint.removeprefix("tcp://"), "HERE")


def test_an_answer() -> None:
    with service(answering(Done("it is done"))) as endpoint:
        assert ask(endpoint, SECURITY, AskKill("abc")) == Done("it is done")
    with service(answering(Wrong("it cannot be done"))) as endpoint:
        assert told(endpoint) == "it cannot be done"


def test_another_service_says_where_the_master_is() -> None:
    with service(answering(Who("bridge", "10.0.0.1:9999"))) as endpoint:
        assert told(endpoint) == "HERE is a bridge, and no master; that is at 10.0.0.1:9999"
        assert ask(endpoint, SECURITY, AskWho()) == Who("bridge", "10.0.0.1:9999")
    with service(answering(Who("node", None))) as endpoint:
        assert told(endpoint) == "HERE is a node, and no master; it does not know of one yet"


def test_nobody() -> None:
    with listening() as listener:
        endpoint = endpoint_of(listener)
    text = "nobody listens at HERE: start {}, or see to the address"
    assert told(endpoint) == text.format("the master there")
    right = "the node whose bridge_bind this is, and the master"
    assert told(endpoint, None, "bridge") == text.format(right)


def test_an_http_server() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server) as endpoint:
        text = "an HTTP server answers at HERE, and no master of a cluster: see to the address"
        assert told(endpoint) == text


def test_others() -> None:
    for first, what in ((b"SSH-2.0-x\r\n", "an SSH server"), (b"hello\n", "something else")):
        with talking(first) as endpoint:
            text = f"{what} answers at HERE, and no master of a cluster: see to the address"
            assert told(endpoint) == text


def test_another_key() -> None:
    answer = answering(Done(""))
    with service(answer, Keypair.new()) as endpoint:
        assert told(endpoint) == (
            "the service at HERE has another key than here: compare the key files, and give the "
            "right one with --key-file"
        )
        assert told(endpoint, None) == "the service at HERE wants a key: leave out --insecure"
    with service(answer, None) as endpoint:
        assert told(endpoint) == (
            "the service at HERE was started with --insecure, and has no key: say so here too"
        )


@pytest.mark.parametrize("security", [SECURITY, None])
def test_who_is_silent_is_waited_for(security: Curve | None) -> None:
    """A master that is busy, or stopped, answers later."""
    text = r"has not answered within 1\.6 s: there is a connection, .* Is the master stopped, or"
    with listening() as listener, pytest.raises(MasterError, match=text):
        ask(endpoint_of(listener), security, AskStatus(), attempts=1, patience=1.6)


def test_nobody_takes_the_connection() -> None:
    with silent() as listener:
        text = r"there is no connection\. Is that machine up, or a firewall in between\?"
        with pytest.raises(MasterError, match=text):
            ask(endpoint_of(listener), SECURITY, AskStatus(), attempts=1, patience=0.5)


def test_the_one_of_several_addresses_that_answers() -> None:
    with listening() as listener:
        nobody = endpoint_of(listener)
    with service(answering(Done("here"))) as endpoint:
        found = ask_one_of([nobody, endpoint], SECURITY, AskStatus())
        assert found == (endpoint, Done("here"))
    with pytest.raises(MasterError, match=f"nobody listens at {nobody.removeprefix('tcp://')}"):
        ask_one_of([nobody, endpoint], SECURITY, AskStatus())


def test_a_service_that_is_just_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as listener:
        nobody = endpoint_of(listener)
    port = int(nobody.rpartition(":")[2])
    really = time.sleep
    with contextlib.ExitStack() as stack:

        def start(seconds: float) -> None:
            really(seconds)
            if not started:
                started.append(stack.enter_context(service(answering(Done("now")), port=port)))

        started: list[str] = []
        monkeypatch.setattr(time, "sleep", start)
        assert ask_one_of([nobody], SECURITY, AskStatus()) == (nobody, Done("now"))
        assert started == [nobody]


def test_nobody_is_waited_for_as_long_as_a_service_takes_to_start() -> None:
    with listening() as listener:
        nobody = endpoint_of(listener)
    start = time.monotonic()
    with pytest.raises(MasterError, match="nobody listens at"):
        ask_one_of([nobody, nobody], SECURITY, AskStatus())
    assert 2.0 <= time.monotonic() - start < SOON


def test_who_else_is_there_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as listener:
        nobody = endpoint_of(listener)
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    with (
        talking(b"SSH-2.0-x\r\n") as endpoint,
        pytest.raises(MasterError, match="nobody listens at"),
    ):
        ask_one_of([nobody, endpoint], SECURITY, AskStatus())


def test_a_slow_handshake_is_no_sign_of_another_key() -> None:
    """As over a network that has just come back: what begins it has come, and no more."""
    greeting = (b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE").ljust(64, b"\0")
    with talking(greeting) as endpoint, pytest.raises(MasterError, match="has not answered"):
        ask(endpoint, SECURITY, AskStatus(), attempts=1, patience=2.5)
