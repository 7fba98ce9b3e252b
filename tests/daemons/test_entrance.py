from __future__ import annotations

import resource
import select
import socket as sockets
import time
from collections.abc import Callable, Iterator

import pytest
import zmq
from curve import PATIENCE, Client

from constellation.address import Address, PortRange
from constellation.security.keypair import Keypair
from constellation_daemons import entrance as entrance_module
from constellation_daemons.binding import ListenError
from constellation_daemons.entrance import Entrance

CLUSTER, STRANGER = Keypair.new(), Keypair.new()
HERE = Address("127.0.0.1", 0)


class Service:
    """A context with an entrance and what it opened."""

    def __init__(self, keypair: Keypair | None) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.lines: list[str] = []
        self.entrance = Entrance(self.context, keypair, tell=self.lines.append)

    def open(self, kind: int = zmq.ROUTER, **options: int) -> tuple[zmq.Socket[bytes], Address]:
        listener = self.entrance.open(kind, HERE, **options)
        return listener.socket, listener.address

    def run(self, until: Callable[[], bool], patience: float = PATIENCE) -> bool:
        limit = time.monotonic() + patience
        while not until():
            if time.monotonic() > limit:
                return False
            select.select(self.entrance.descriptors(), [], [], 0.01)
            self.entrance.serve()
        return True

    def close(self) -> None:
        self.entrance.close()
        self.context.term()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service(CLUSTER)
    yield made
    made.close()


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.close()


def test_who_has_the_key_is_let_in(service: Service, client: Client) -> None:
    router, address = service.open()
    client.connect(address.endpoint, CLUSTER.public, CLUSTER).send(b"hello")
    assert service.run(lambda: bool(router.poll(0)))
    router.send_multipart(router.recv_multipart())
    assert client.socket.poll(PATIENCE * 1000)
    assert not service.lines


def test_who_listens_to_events_needs_it_too(service: Service) -> None:
    publisher, address = service.open(zmq.PUB)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    subscribers = []
    for keypair in (CLUSTER, STRANGER):
        subscriber = context.socket(zmq.SUB)
        subscriber.curve_serverkey = CLUSTER.public
        subscriber.curve_publickey, subscriber.curve_secretkey = keypair.public, keypair.secret
        subscriber.subscribe(b"")
        subscriber.connect(address.endpoint)
        subscribers.append(subscriber)

    def heard() -> bool:
        publisher.send(b"event")
        return bool(subscribers[0].poll(0))

    assert service.run(heard)
    assert service.run(lambda: bool(service.lines))
    assert service.lines == [
        f"turned away 127.0.0.1 at port {address.port}: its key is not one that is let in"
    ]
    assert not subscribers[1].poll(100)
    for subscriber in subscribers:
        subscriber.close(0)
    context.term()


def test_without_a_key_everybody_is(client: Client) -> None:
    service = Service(None)
    router, address = service.open()
    client.socket.connect(address.endpoint)
    client.send(b"hello")
    assert service.run(lambda: bool(router.poll(0)))
    assert service.entrance.zap is None
    service.close()


def test_a_program_may_be_let_in_with_a_key_of_its_own(service: Service, client: Client) -> None:
    router, address = service.open()
    assert service.entrance.zap is not None
    service.entrance.zap.admit(STRANGER.public, "a program")
    client.connect(address.endpoint, CLUSTER.public, STRANGER).send(b"hello")
    assert service.run(lambda: bool(router.poll(0)))


def test_what_no_peer_sends_is_told_of(service: Service) -> None:
    _, address = service.open()
    with sockets.create_connection((address.host, address.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert service.run(lambda: bool(service.lines))
    [line] = service.lines
    # It may be gone before anybody has asked where it came from.
    assert line in {
        f"turned away {where} at port {address.port}: what it sent is not what a peer sends"
        for where in ("127.0.0.1", "an unknown address")
    }


def test_who_says_nothing_is_told_of(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrance_module, "HANDSHAKE_MS", 300)
    monkeypatch.setattr("constellation.transport.security.HANDSHAKE_MS", 300)
    _, address = service.open()
    with sockets.create_connection((address.host, address.port)) as stranger:
        assert service.run(lambda: bool(service.lines))
        stranger.settimeout(PATIENCE)
        assert stranger.recv(100).startswith(b"\xff")
        assert stranger.recv(100) == b""
    assert service.lines == [
        f"turned away 127.0.0.1 at port {address.port}: it did not complete the handshake"
    ]


def test_who_does_not_encrypt_is_told_of(service: Service, client: Client) -> None:
    router, address = service.open()
    client.socket.connect(address.endpoint)
    client.send(b"in the open")
    assert service.run(lambda: bool(service.lines))
    assert service.lines[0].startswith("turned away ")
    assert not router.poll(0)


def test_a_larger_message_than_is_taken_cuts_its_sender_off(
    service: Service, client: Client
) -> None:
    router, address = service.open(max_message=1000)
    client.connect(address.endpoint, CLUSTER.public, CLUSTER)
    client.send(b"small")
    assert service.run(lambda: bool(router.poll(0)))
    assert router.recv_multipart()[1] == b"small"
    client.send(bytes(2000))

    def arrives() -> bool:
        client.send(b"after")  # the first of them over the connection that is cut
        return bool(router.poll(0))

    assert service.run(arrives)
    assert router.recv_multipart()[1] == b"after"
    assert not service.lines


def test_more_strangers_than_fit_into_a_batch(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance_module, "_BATCH", 4)
    _, address = service.open()
    strangers = [sockets.create_connection((address.host, address.port)) for _ in range(20)]
    for stranger in strangers:
        stranger.sendall(b"nonsense" * 10)
    for stranger in strangers:
        stranger.settimeout(PATIENCE)
        try:
            while stranger.recv(1000):
                pass
        except ConnectionResetError:
            pass
        stranger.close()
    time.sleep(0.1)  # all of it has been told of by libzmq
    service.entrance.serve()
    assert service.entrance.deadline == 0.0
    rounds = 0
    while service.entrance.deadline == 0.0:
        service.entrance.serve()
        rounds += 1
    assert rounds >= 8
    service.entrance.close()
    assert len(service.lines) == 2
    assert service.lines[1].startswith(f"turned away 19 more at port {address.port} in ")


def test_it_ends_also_where_nobody_has_looked_for_long(service: Service) -> None:
    _, address = service.open()
    for _ in range(1500):
        with sockets.create_connection((address.host, address.port)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            stranger.settimeout(0.5)
            try:
                while stranger.recv(1000):
                    pass
            except TimeoutError:
                break  # libzmq waits until somebody looks
            except ConnectionError:
                continue
    else:
        pytest.fail("libzmq waits for nobody")


def test_last_messages_leave(service: Service, client: Client) -> None:
    router, address = service.open()
    client.connect(address.endpoint, CLUSTER.public, CLUSTER).send(b"hello")
    assert service.run(lambda: bool(router.poll(0)))
    route, _ = router.recv_multipart()
    for number in range(100):
        router.send_multipart([route, bytes(100_000), str(number).encode()])
    service.entrance.close(linger=PATIENCE)
    for number in range(100):
        assert client.socket.poll(PATIENCE * 1000)
        assert client.socket.recv_multipart()[1] == str(number).encode()


def test_few_descriptors_are_told_of(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (40, 1000))
    _, address = service.open()
    for _ in range(2):
        with sockets.create_connection((address.host, address.port)):
            assert service.run(lambda: bool(service.lines))
    assert service.lines[0] == (
        "nearly all of the 40 files that this process may have open are: more connections will "
        "have to wait; `ulimit -n` raises that"
    )
    assert not any("nearly" in line for line in service.lines[1:])


def test_what_cannot_be_opened_leaves_nothing(service: Service) -> None:
    _, address = service.open()
    before = service.entrance.descriptors()
    with pytest.raises(ListenError, match="something listens there already"):
        service.entrance.open(zmq.ROUTER, address)
    assert service.entrance.descriptors() == before


def test_a_range_of_ports(service: Service) -> None:
    _, taken = service.open()
    ports = PortRange(taken.port, min(taken.port + 20, 65535))
    listener = service.entrance.open(zmq.PUB, HERE, ports=ports)
    assert listener.address.port in ports
    assert listener.address != taken


def test_where_it_listens_is_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    _, address = service.open()
    assert caplog.messages == [f"listening at {address}"]
