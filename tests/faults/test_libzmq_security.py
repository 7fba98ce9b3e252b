"""What libzmq really does about security, pinned, as in test_libzmq_facts.py.

Nothing here uses the library itself.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

#: Seconds until a test that waits for something gives up.
PATIENCE = 20.0
MS = int(PATIENCE * 1000)
ZAP = "inproc://zeromq.zap.01"
ZAP_ENFORCE_DOMAIN = 93  # pyzmq has no name for it

SERVER, CLIENT = zmq.curve_keypair(), zmq.curve_keypair()


class Bench:
    """A server and a client, each in a context of its own, and what they opened."""

    def __init__(self) -> None:
        self.contexts: list[zmq.Context[zmq.Socket[bytes]]] = [zmq.Context(), zmq.Context()]
        self.sockets: list[zmq.Socket[bytes]] = []
        self.server = self.socket(zmq.ROUTER)
        self.client = self.socket(zmq.DEALER, 1)

    def socket(self, kind: int, context: int = 0) -> zmq.Socket[bytes]:
        made = self.contexts[context].socket(kind)
        made.linger = 0
        self.sockets.append(made)
        return made

    def bind(self) -> str:
        self.server.curve_publickey, self.server.curve_secretkey = SERVER
        self.server.curve_server = 1
        self.server.bind("tcp://127.0.0.1:*")
        return self.server.last_endpoint.decode()

    def connect(self, endpoint: str) -> None:
        self.client.curve_publickey, self.client.curve_secretkey = CLIENT
        self.client.curve_serverkey = SERVER[0]
        self.client.connect(endpoint)
        self.client.send(b"hello")

    def handler(self, kind: int = zmq.ROUTER) -> zmq.Socket[bytes]:
        made = self.socket(kind)
        made.bind(ZAP)
        return made

    def events(self, of: zmq.Socket[bytes]) -> Iterator[tuple[int, int]]:
        monitor = of.get_monitor_socket()
        self.sockets.insert(0, monitor)

        def told() -> tuple[int, int]:
            assert monitor.poll(MS), "no event"
            message = recv_monitor_message(monitor)
            return message["event"], message["value"]

        return iter(told, None)

    def close(self) -> None:
        for made in self.sockets:
            made.close(linger=0)
        for context in self.contexts:
            context.term()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_without_a_handler_any_client_is_let_in(bench: Bench) -> None:
    bench.connect(bench.bind())
    assert bench.server.poll(MS)


def test_without_a_domain_the_handler_is_asked_about_curve(bench: Bench) -> None:
    handler = bench.handler()
    bench.connect(bench.bind())
    assert handler.poll(MS)
    _, *request = handler.recv_multipart()
    assert request[:4] == [b"", b"1.0", b"1", b""]
    assert request[4:7] == [b"127.0.0.1", b"", b"CURVE"]
    assert len(request[7]) == 32
    assert len(request) == 8


def test_and_not_about_what_is_in_the_open(bench: Bench) -> None:
    handler = bench.handler()
    bench.server.bind("tcp://127.0.0.1:*")
    bench.client.connect(bench.server.last_endpoint.decode())
    bench.client.send(b"hello")
    assert bench.server.poll(MS)
    assert not handler.poll(0)


def test_to_enforce_a_domain_without_one_asks_nobody(bench: Bench) -> None:
    # The reason not to set it: it closes what has a domain, and opens what has none.
    handler = bench.handler()
    bench.server.setsockopt(ZAP_ENFORCE_DOMAIN, 1)
    bench.connect(bench.bind())
    assert bench.server.poll(MS)
    assert not handler.poll(0)


def test_a_handler_that_comes_after_the_listener_is_asked(bench: Bench) -> None:
    endpoint = bench.bind()
    handler = bench.handler()
    bench.connect(endpoint)
    assert handler.poll(MS)


def test_who_waits_for_the_handler_has_sent_nothing_yet(bench: Bench) -> None:
    bench.handler()
    bench.connect(bench.bind())
    assert not bench.server.poll(300)


def test_who_waits_for_the_handler_too_long_is_cut(bench: Bench) -> None:
    bench.handler()
    bench.server.handshake_ivl = 300
    events = bench.events(bench.server)
    bench.connect(bench.bind())
    kinds = [next(events)[0] for _ in range(4)]
    assert kinds[1:] == [
        zmq.EVENT_ACCEPTED,
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
        zmq.EVENT_DISCONNECTED,
    ]


def test_who_is_refused_with_400_hears_of_it_and_stays_away(bench: Bench) -> None:
    handler = bench.handler()
    events = bench.events(bench.client)
    bench.connect(bench.bind())
    assert handler.poll(MS)
    route, *request = handler.recv_multipart()
    handler.send_multipart([route, *request[:3], b"400", b"no", b"", b""])
    while (event := next(events))[0] != zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        assert event[0] != zmq.EVENT_HANDSHAKE_SUCCEEDED
    assert event[1] == 400
    assert not handler.poll(500)


def test_an_answer_that_is_none_cuts_the_connection(bench: Bench) -> None:
    handler = bench.handler()
    bench.connect(bench.bind())
    assert handler.poll(MS)
    route, *_ = handler.recv_multipart()
    handler.send_multipart([route, b"", b"nonsense"])
    assert not bench.server.poll(300)


@pytest.mark.parametrize("kind", [zmq.ROUTER, zmq.REP])
def test_the_name_of_the_socket_is_not_that_of_who_asks(bench: Bench, kind: int) -> None:
    # Else the handler would take all who ask for one.
    handler = bench.handler(kind)
    bench.server.setsockopt(zmq.ROUTING_ID, b"name")
    endpoint = bench.bind()
    routes = set()
    for _ in range(2):
        bench.client = bench.socket(zmq.DEALER, 1)
        bench.connect(endpoint)
        assert handler.poll(MS)
        message = handler.recv_multipart()
        if kind == zmq.REP:
            return
        routes.add(message[0])
    assert len(routes) == 2


def test_a_stranger_is_accepted_and_cut_without_an_event_that_says_why(bench: Bench) -> None:
    events = bench.events(bench.server)
    port = int(bench.bind().rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        kinds = [next(events)[0] for _ in range(3)]
    assert kinds == [zmq.EVENT_LISTENING, zmq.EVENT_ACCEPTED, zmq.EVENT_DISCONNECTED]


def test_what_a_stranger_is_sent_at_most_is_the_greeting(bench: Bench) -> None:
    bench.server.handshake_ivl = 300
    port = int(bench.bind().rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"\xff" + bytes(8) + b"\x7f\x03")
        stranger.settimeout(PATIENCE)
        greeting = b"".join(iter(lambda: stranger.recv(1000), b""))
    assert len(greeting) == 64
    assert greeting.startswith(b"\xff" + bytes(7) + b"\x01\x7f\x03\x01CURVE")


def test_a_frame_before_the_handshake_is_held_to_the_largest_message(bench: Bench) -> None:
    bench.server.maxmsgsize = 1000
    port = int(bench.bind().rpartition(":")[2])
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.settimeout(PATIENCE)
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE" + bytes(15) + bytes(32)
        stranger.sendall(greeting + b"\x06" + (1001).to_bytes(8, "big") + b"x")
        with contextlib.suppress(ConnectionError):
            while stranger.recv(1000):
                pass
    assert time.monotonic() - start < 10  # and not after the time for handshakes, 30 s


def test_who_watches_a_socket_and_does_not_look_holds_up_all_of_it(bench: Bench) -> None:
    # The reason to watch for no event that comes without end, and to look in time.
    endpoint = bench.bind()
    monitor = bench.server.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
    bench.sockets.insert(0, monitor)
    for _ in range(1500):
        with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as stranger:
            stranger.sendall(b"nonsense" * 10)
            stranger.settimeout(1)
            try:
                while stranger.recv(1000):
                    pass
            except TimeoutError:
                break  # nobody reads what was sent
            except ConnectionError:
                continue
    else:
        pytest.fail("strangers are served on")
    bench.connect(endpoint)
    assert not bench.server.poll(200)
    while monitor.poll(500):
        monitor.recv_multipart()
    assert bench.server.poll(MS)
