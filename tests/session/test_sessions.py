from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from tcp_proxy import TcpProxy

from constellation.session import sessions
from constellation.session.loop import Loop
from constellation.session.sessions import Session, Sessions
from constellation.transport.router import Router
from constellation.wire.codec import encode
from constellation.wire.frames import VERSION, Credit

LIMIT = 20.0


class End:
    """One end, with what it was told."""

    def __init__(
        self, loop: Loop, *, listens: bool = False, port: int = 0, **options: float
    ) -> None:
        key = os.urandom(16)
        listener = socket.create_server(("127.0.0.1", port)) if listens else None
        self.port = 0 if listener is None else listener.getsockname()[1]
        router = Router(key, f"tcp://127.0.0.1:{self.port}", listener)
        self.sessions = Sessions(loop, router, key, self, **options)
        self.peers: list[Session] = []
        self.messages: list[bytes] = []
        self.ends: list[str | None] = []
        self.greeting = b""
        self.answer: Callable[[Session, bytes], None] = lambda session, message: None

    def opened(self, session: Session) -> None:
        self.peers.append(session)
        if self.greeting:
            session.send(self.greeting)

    def heard(self, session: Session, message: bytes) -> None:
        self.messages.append(message)
        self.answer(session, message)

    def ended(self, session: Session, reason: str | None) -> None:
        self.ends.append(reason)

    def dial(self, port: int) -> Session:
        return self.sessions.dial(f"tcp://127.0.0.1:{port}")


Make = Callable[..., End]


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def make(loop: Loop) -> Iterator[Make]:
    ends: list[End] = []

    def make(**options: float) -> End:
        ends.append(End(loop, **options))  # type: ignore[arg-type]
        return ends[-1]

    yield make
    for end in ends:
        end.sessions.close()


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_messages_go_both_ways_in_order(loop: Loop, make: Make) -> None:
    server, client = make(listens=True), make()
    server.answer = lambda session, message: session.send(b"re " + message)
    session = client.dial(server.port)
    for message in numbered(2000):
        session.send(message)
    assert loop.run(lambda: len(client.messages) == 2000, LIMIT)
    assert server.messages == numbered(2000)
    assert client.messages == [b"re " + message for message in numbered(2000)]
    assert loop.run(lambda: session.unreceived == 0, LIMIT)


def test_a_message_may_be_large_or_empty(loop: Loop, make: Make) -> None:
    server, client = make(listens=True), make()
    session = client.dial(server.port)
    large = random.Random(7).randbytes(5 << 20)
    for message in (large, b"", b"last"):
        session.send(message)
    assert loop.run(lambda: len(server.messages) == 3, LIMIT)
    assert server.messages == [large, b"", b"last"]


def test_other_versions_of_the_protocol_are_refused_and_told_of_at_both_ends(
    loop: Loop, make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sessions, "VERSION", VERSION + 1)  # what links say is as it was
    server, client = make(listens=True), make()
    text = (
        f"speaks version {VERSION} of the stream protocol, and this end version {VERSION + 1}: "
        "install the same version of constellation on both"
    )
    for count in (1, 2):
        client.dial(server.port).send(b"hello")
        assert loop.run(lambda n=count: len(client.ends) == n, LIMIT)  # type: ignore[misc]
        assert loop.run(lambda: not list(server.sessions), LIMIT)
    assert client.ends == [f"127.0.0.1:{server.port} {text}"] * 2
    assert (server.peers, server.messages, server.ends) == ([], [], [])
    assert caplog.messages == [f"a peer {text}"], "once"


def test_closing_delivers_everything_and_is_told(loop: Loop, make: Make) -> None:
    server, client = make(listens=True), make()
    session = client.dial(server.port)
    for message in numbered(500):
        session.send(message)
    session.close()
    session.send(b"too late")
    assert loop.run(lambda: server.ends == [None], LIMIT)
    assert server.messages == numbered(500)
    assert loop.run(lambda: not list(client.sessions), LIMIT)
    assert client.ends == []


def test_who_is_closed_upon_may_have_said_its_last_before(loop: Loop, make: Make) -> None:
    server, client = make(listens=True), make()
    server.answer = lambda session, message: session.close()
    session = client.dial(server.port)
    session.send(b"bye")
    assert loop.run(lambda: client.ends == [None], LIMIT)
    assert not session.open
    assert loop.run(lambda: not list(server.sessions), LIMIT)


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_broken_connections_lose_nothing(loop: Loop, make: Make, how: str) -> None:
    server, client = make(listens=True), make()
    server.answer = lambda session, message: session.send(message)
    blob = bytes(30_000)
    with TcpProxy(server.port) as proxy:
        session = client.dial(proxy.port)
        breaks = 0
        for number in range(600):
            session.send(b"%d " % number + blob)
            loop.run(lambda: False, 0.002)
            if number % 100 == 50:
                getattr(proxy, how)()
                breaks += 1
        assert loop.run(lambda: len(client.messages) >= 600, 60.0)
        assert proxy.accepted > breaks // 2
    assert [int(message.split()[0]) for message in server.messages] == list(range(600))
    assert client.messages == server.messages
    assert client.ends == server.ends == []


def test_a_slow_network_only_takes_longer(loop: Loop, make: Make) -> None:
    server, client = make(listens=True), make()
    with TcpProxy(server.port, delay=0.1, rate=2e6) as proxy:
        session = client.dial(proxy.port)
        sent = [random.Random(number).randbytes(100_000) for number in range(20)]
        for message in sent:
            session.send(message)
        assert loop.run(lambda: len(server.messages) == 20, LIMIT)
    assert server.messages == sent


def test_a_session_that_nobody_speaks_in_stays(loop: Loop, make: Make) -> None:
    server, client = make(listens=True, timeout=1.5), make(timeout=1.5)
    session = client.dial(server.port)
    loop.run(lambda: False, 3.0)
    assert session.open
    assert client.ends == server.ends == []


def test_silence_ends_it_at_both_ends(loop: Loop, make: Make) -> None:
    server, client = make(listens=True, timeout=1.5), make(timeout=1.5)
    server.answer = lambda session, message: session.send(message)
    with TcpProxy(server.port) as proxy:
        session = client.dial(proxy.port)
        session.send(b"hello")
        assert loop.run(lambda: bool(client.messages), LIMIT)
        proxy.freeze()
        start = time.monotonic()
        assert loop.run(lambda: bool(client.ends and server.ends), LIMIT)
        assert time.monotonic() - start < 10
    assert client.ends == [f"127.0.0.1:{proxy.port} has said nothing for 1.5 s"]
    (reason,) = server.ends
    assert reason is not None
    assert reason.endswith("has said nothing for 1.5 s")
    assert not session.open


def test_a_short_silence_does_not(loop: Loop, make: Make) -> None:
    server, client = make(listens=True), make()
    with TcpProxy(server.port) as proxy:
        session = client.dial(proxy.port)
        session.send(b"before")
        assert loop.run(lambda: bool(server.messages), LIMIT)
        proxy.freeze()
        session.send(b"during")
        loop.run(lambda: False, 2.0)
        proxy.thaw()
        session.send(b"after")
        assert loop.run(lambda: len(server.messages) == 3, LIMIT)
    assert server.messages == [b"before", b"during", b"after"]


def test_nobody_there(loop: Loop, make: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = make(connect_timeout=0.5)
    client.dial(port)
    assert loop.run(lambda: bool(client.ends), LIMIT)
    (reason,) = client.ends
    assert reason is not None
    assert reason.startswith(f"127.0.0.1:{port} does not answer: no connection within 0.5 s")


def test_what_comes_for_a_session_that_is_over_is_dropped(loop: Loop, make: Make) -> None:
    """The last receipt is lost, so its peer says all of it again, from HELLO on."""
    server, client = make(listens=True), make()
    with TcpProxy(server.port) as proxy:
        session = client.dial(proxy.port)
        session.send(b"one")
        session.close()
        assert loop.run(lambda: server.ends == [None], LIMIT)
        proxy.cut()
        loop.run(lambda: not list(client.sessions), LIMIT)
    assert server.messages == [b"one"]
    assert len(server.peers) == 1


def test_many_peers_at_once(loop: Loop, make: Make) -> None:
    server = make(listens=True)
    server.answer = lambda session, message: session.send(message)
    clients = [make() for _ in range(20)]
    for number, client in enumerate(clients):
        session = client.dial(server.port)
        for index in range(50):
            session.send(b"%d %d" % (number, index))
    assert loop.run(lambda: all(len(each.messages) == 50 for each in clients), LIMIT)
    for number, client in enumerate(clients):
        assert client.messages == [b"%d %d" % (number, index) for index in range(50)]


def test_a_peer_that_is_started_again_is_another(loop: Loop, make: Make) -> None:
    """At the same port: libzmq connects to it as if nothing had happened."""
    server, client = make(listens=True), make()
    with TcpProxy(server.port) as proxy:
        session = client.dial(proxy.port)
        session.send(b"one")
        assert loop.run(lambda: session.unreceived == 0, LIMIT)
        other = make(listens=True)
        proxy.retarget(other.port)
        proxy.cut()
        session.send(b"two")
        assert loop.run(lambda: bool(client.ends), LIMIT)
    assert client.ends == [f"127.0.0.1:{proxy.port} has been started anew"]
    assert other.messages == []


def test_the_next_session_of_two_services_is_another(loop: Loop, make: Make) -> None:
    """One end has given the first one up, and the other has not noticed."""
    server, client = make(listens=True), make(timeout=1.0)
    with TcpProxy(server.port) as proxy:
        first = client.dial(proxy.port)
        for message in numbered(5):
            first.send(message)
        assert loop.run(lambda: first.unreceived == 0, LIMIT)
        (old,) = server.peers
        proxy.freeze()
        old.send(b"lost")
        first.send(b"lost as well")
        assert loop.run(lambda: bool(client.ends), LIMIT)
        second = client.dial(proxy.port)
        second.send(b"fresh")
        proxy.thaw()
        assert loop.run(lambda: len(server.peers) == 2, LIMIT)
        server.peers[1].send(b"fresh too")
        assert loop.run(lambda: client.messages[-1:] == [b"fresh too"], LIMIT)
        assert loop.run(lambda: server.messages[-1] == b"fresh", LIMIT)
    assert server.messages[:5] == numbered(5)
    assert server.ends == [f"{old.name} has begun another session"]
    assert client.messages == [b"fresh too"]
    assert second.open


def met(loop: Loop, server: End, client: End, port: int) -> Session:
    """A session in which both have said something."""
    server.answer = lambda session, message: session.send(message)
    session = client.dial(port)
    session.send(b"hello")
    assert loop.run(lambda: bool(client.messages), LIMIT)
    return session


def test_who_is_killed_is_noticed_before_it_is_silent_for_long(loop: Loop, make: Make) -> None:
    server, client = make(listens=True, timeout=60.0), make(timeout=60.0)
    met(loop, server, client, server.port)
    client.sessions.close()  # without a word, as the kernel does for who is killed
    assert loop.run(lambda: bool(server.ends), LIMIT)
    (reason,) = server.ends
    assert reason is not None
    assert reason.endswith("has closed the connection, and made no other")


def test_a_server_that_is_killed_is_noticed_too(loop: Loop, make: Make) -> None:
    server, client = make(listens=True, timeout=60.0), make(timeout=60.0)
    met(loop, server, client, server.port)
    server.sessions.close()
    assert loop.run(lambda: bool(client.ends), LIMIT)
    reason = f"127.0.0.1:{server.port} has closed the connection, and made no other"
    assert client.ends == [reason]


def test_a_patient_session_ends_with_its_connection(loop: Loop, make: Make) -> None:
    server, client = make(listens=True, timeout=1.5), make(timeout=1.5)
    met(loop, server, client, server.port)
    (peer,) = server.peers
    peer.patient = True
    client.sessions.close()
    assert loop.run(lambda: bool(server.ends), LIMIT)


def test_a_server_that_is_started_anew_is_no_peer_any_more(loop: Loop, make: Make) -> None:
    server, client = make(listens=True, timeout=60.0), make(timeout=60.0)
    session = met(loop, server, client, server.port)
    server.sessions.close()
    make(listens=True, port=server.port)
    session.send(b"for the old one")
    assert loop.run(lambda: bool(client.ends), LIMIT)
    assert client.ends == [f"127.0.0.1:{server.port} has been started anew"]


def test_what_is_said_to_a_server_that_was_there_before_is_no_nonsense(
    loop: Loop, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = make(listens=True, timeout=60.0), make(timeout=60.0)
    session = met(loop, server, client, server.port)
    for message in numbered(20):
        session.send(message)
    assert loop.run(lambda: len(client.messages) > 20, LIMIT)
    server.sessions.close()
    anew = make(listens=True, port=server.port)
    anew.greeting = b"welcome"
    session.send(b"for the old one")
    assert loop.run(lambda: bool(client.ends), LIMIT)
    assert client.ends == [f"127.0.0.1:{server.port} has been started anew"]
    loop.run(lambda: False, 0.2)
    assert caplog.messages == []


def test_nonsense_in_a_session_is_told_of(
    loop: Loop, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server, client = make(listens=True), make()
    session = met(loop, server, client, server.port)
    assert loop.run(lambda: server.peers[0].unreceived == 0, LIMIT)
    assert session._route is not None
    client.sessions._router.send(session._route, encode(Credit(1, 1000, 0, False)))
    assert loop.run(lambda: bool(caplog.messages), LIMIT)
    assert "received #1000" in caplog.messages[0]


def test_who_was_held_up_itself_takes_nobody_for_lost(loop: Loop, make: Make) -> None:
    server, client = make(listens=True, timeout=1.5), make(timeout=1.5)
    session = met(loop, server, client, server.port)
    loop.after(0, lambda: time.sleep(2.0))  # both: they share the loop
    loop.run(lambda: False, 3.0)
    assert session.open
    assert client.ends == server.ends == []


@pytest.fixture
def other_loop() -> Iterator[Loop]:
    """Of an end that may stand still while the others go on."""
    loop = Loop()
    yield loop
    loop.close()


def both(loops: tuple[Loop, Loop], done: Callable[[], bool], limit: float = LIMIT) -> bool:
    """Serve two loops until `done`, or for so many seconds. Says whether it is done."""
    end = time.monotonic() + limit
    while not done() and time.monotonic() < end:
        for loop in loops:
            loop.run(done, 0.02)
    return done()


def test_who_stood_still_and_was_given_up_hears_that_at_once(
    loop: Loop, other_loop: Loop, make: Make
) -> None:
    server, client = make(listens=True, timeout=1.5), End(other_loop, timeout=30.0)
    loops = loop, other_loop
    first = client.dial(server.port)
    first.send(b"one")
    assert both(loops, lambda: server.messages == [b"one"] and first.unreceived == 0)
    assert loop.run(lambda: bool(server.ends), LIMIT)
    start = time.monotonic()
    assert both(loops, lambda: bool(client.ends))
    assert time.monotonic() - start < 1.5, "nothing has to be waited for"
    (reason,) = client.ends
    assert reason is not None
    begin = f"127.0.0.1:{server.port} has given up the session, since this end was not run for "
    assert reason.startswith(begin)
    assert first.given_up
    second = client.dial(server.port)
    second.send(b"two")
    assert both(loops, lambda: server.messages == [b"one", b"two"])
    both(loops, lambda: False, 2.0)
    assert second.open
    assert len(client.ends) == 1
    client.sessions.close()


def test_who_closes_a_session_that_was_given_up_is_told_nothing(
    loop: Loop, other_loop: Loop, make: Make
) -> None:
    server, client = make(listens=True, timeout=1.5), End(other_loop, timeout=30.0)
    loops = loop, other_loop
    session = client.dial(server.port)
    session.send(b"one")
    assert both(loops, lambda: server.messages == [b"one"])
    assert loop.run(lambda: bool(server.ends), LIMIT)
    session.send(b"two")
    session.close()
    assert both(loops, lambda: not list(client.sessions), 5.0)
    assert client.ends == []
    assert server.messages == [b"one"]
    client.sessions.close()


def test_who_goes_on_knows_first_that_it_stood_still(
    loop: Loop, other_loop: Loop, make: Make
) -> None:
    """What it said last leaves only now, and is answered before it has looked at anything."""
    server, client = make(listens=True, timeout=1.5), End(other_loop, timeout=30.0)
    loops = loop, other_loop
    session = client.dial(server.port)
    session.send(b"one")
    assert both(loops, lambda: server.messages == [b"one"] and session.unreceived == 0)
    assert loop.run(lambda: bool(server.ends), LIMIT)
    session.send(b"two")
    loop.run(lambda: False, 1.0)  # it is answered
    assert both(loops, lambda: bool(client.ends))
    (reason,) = client.ends
    assert reason is not None
    assert "given up the session, since this end was not run for " in reason
    client.sessions.close()
