from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq
from curve import Client, Service

from constellation.address import Address
from constellation.security.keypair import Keypair
from constellation.transport import security

CLUSTER, FRIEND = Keypair.new(), Keypair.new()


@pytest.fixture
def services() -> Iterator[Callable[[], Service]]:
    made: list[Service] = []

    def make() -> Service:
        made.append(Service(admitted=[CLUSTER], own=CLUSTER))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.close()


def test_one_socket_has_endpoints_of_every_kind(
    services: Callable[[], Service], client: Client, directory: Path
) -> None:
    one, other = services(), services()

    def ipc(service: Service, name: str) -> str:
        security.plain(service.router)
        service.router.bind(f"ipc://{directory / name}")
        return service.router.last_endpoint.decode()

    # One binds ipc, then TCP, then connects to both of the other, and binds another ipc.
    one.echoes = False
    one_ipc = ipc(one, "one")
    one_tcp = one.bind()
    other_tcp, other_ipc = other.bind(), ipc(other, "other")
    security.secure_client(one.router, CLUSTER.public, CLUSTER)
    connect(one, other_tcp, b"tcp")
    security.plain(one.router)
    connect(one, other_ipc, b"ipc")
    one_later = ipc(one, "later")

    for route in (b"tcp", b"ipc"):
        one.router.send_multipart([route, b"over " + route])
    others = [Client(), Client()]
    for other_client, endpoint in zip(others, [one_ipc, one_later], strict=True):
        other_client.socket.connect(endpoint)
        other_client.send(b"local")
    client.connect(one_tcp, CLUSTER.public, CLUSTER).send(b"encrypted")

    assert other.run(lambda: len(other.taken) == 2)
    assert sorted(other.taken) == [[b"over ipc"], [b"over tcp"]]
    assert one.run(lambda: len(one.taken) == 5)
    assert sorted(one.taken) == [
        [b"encrypted"],
        [b"local"],
        [b"local"],
        [b"over ipc"],
        [b"over tcp"],
    ]
    assert not one.lines + other.lines
    for other_client in others:
        other_client.close()


def connect(service: Service, endpoint: str, route: bytes) -> None:
    # The other would take two connections of one name for one.
    service.router.setsockopt(zmq.ROUTING_ID, b"one over " + route)
    service.router.setsockopt(zmq.CONNECT_ROUTING_ID, route)
    service.router.connect(endpoint)


@pytest.mark.parametrize("late", [True, False])
def test_an_endpoint_in_the_open_does_not_open_the_other(
    services: Callable[[], Service], client: Client, directory: Path, late: bool
) -> None:
    service = services()
    encrypted = service.bind()
    security.plain(service.router)
    if late:
        service.router.bind(f"ipc://{directory / 'open'}")
    client.socket.connect(encrypted)
    client.send(b"in the open")
    assert not service.run(lambda: bool(service.taken), patience=0.5)
    assert not client.answered()


def test_a_client_talks_to_no_other_server(services: Callable[[], Service], client: Client) -> None:
    service = services()
    client.connect(service.bind(), Keypair.new().public, CLUSTER).send(b"hello")
    assert not service.run(lambda: bool(service.taken), patience=0.5)


def test_a_client_sends_nothing_to_a_server_in_the_open(client: Client) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind("tcp://127.0.0.1:*")
    client.connect(router.last_endpoint.decode(), CLUSTER.public, CLUSTER).send(b"secret")
    assert not router.poll(500)
    router.close(0)
    context.term()


def test_a_socket_that_listens_needs_the_handler_of_its_context(
    services: Callable[[], Service],
) -> None:
    one, other = services(), services()
    with pytest.raises(ValueError, match="the open ZAP handler of its own context"):
        security.secure_server(one.router, CLUSTER, other.zap)
    one.zap.close()
    with pytest.raises(ValueError, match="the open ZAP handler of its own context"):
        security.secure_server(one.router, CLUSTER, one.zap)


def test_the_handler_of_a_shadow_of_the_context_will_do(services: Callable[[], Service]) -> None:
    service = services()
    shadow: zmq.Context[zmq.Socket[bytes]] = zmq.Context.shadow(service.context.underlying)
    with shadow.socket(zmq.ROUTER) as router:
        security.secure_server(router, CLUSTER, service.zap)
        assert service.zap.guards(router)


@pytest.mark.parametrize(
    ("found", "ipv6"),
    [
        (["10.0.0.2"], 0),
        (["fd00::1"], 1),
        (["fd00::1", "10.0.0.2"], 0),
        (["fd00::1", "fd00::2"], 1),
    ],
)
def test_the_version_of_ip_is_that_of_what_the_name_stands_for(
    client: Client, monkeypatch: pytest.MonkeyPatch, found: list[str], ipv6: int
) -> None:
    monkeypatch.setattr(Address, "resolve", lambda self: [Address(host, 1) for host in found])
    security.reach(client.socket, Address("node7.example", 9999))
    assert client.socket.getsockopt(zmq.IPV6) == ipv6
