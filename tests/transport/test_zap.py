from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import psutil
import pytest
import zmq
from curve import Client, Service
from hypothesis import given
from hypothesis import strategies as st

from constellation.security.keypair import Keypair
from constellation.transport.zap import ENDPOINT, Zap

CLUSTER, FRIEND, STRANGER = Keypair.new(), Keypair.new(), Keypair.new()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service(admitted=[CLUSTER, FRIEND], own=CLUSTER)
    yield made
    made.close()


@pytest.fixture
def client() -> Iterator[Callable[[], Client]]:
    made: list[Client] = []

    def make() -> Client:
        made.append(Client())
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("keypair", [CLUSTER, FRIEND])
def test_who_has_a_key_that_is_admitted_is_let_in(
    service: Service, client: Callable[[], Client], keypair: Keypair
) -> None:
    friend = client().connect(service.bind(), CLUSTER.public, keypair).send(b"hello")
    assert service.run(friend.answered)
    assert friend.socket.recv() == b"hello"
    assert not service.lines


def test_who_has_another_is_not_and_is_told_of(
    service: Service, client: Callable[[], Client]
) -> None:
    endpoint = service.bind()
    stranger = client().connect(endpoint, CLUSTER.public, STRANGER).send(b"let me in")
    assert service.run(lambda: bool(service.lines))
    assert service.lines == ["turned away 127.0.0.1: its key is not one that is let in"]
    friend = client().connect(endpoint, CLUSTER.public, FRIEND).send(b"hello")
    assert service.run(friend.answered)
    assert not stranger.answered()
    assert service.taken == [[b"hello"]]


def test_nobody_is_let_in_before_the_handler_is_served(
    service: Service, client: Callable[[], Client]
) -> None:
    friend = client().connect(service.bind(), CLUSTER.public, FRIEND).send(b"hello")
    poller = zmq.Poller()
    poller.register(service.zap.fileno(), zmq.POLLIN)
    assert poller.poll(20_000), "nobody asked"
    assert not service.router.poll(200)
    assert service.run(friend.answered)


def test_a_message_says_as_whom_its_sender_was_let_in(
    service: Service, client: Callable[[], Client]
) -> None:
    friend = client().connect(service.bind(), CLUSTER.public, FRIEND).send(b"hello")
    while not service.router.poll(10):
        service.zap.serve()
    frames = service.router.recv_multipart(copy=False)
    assert [frame.bytes for frame in frames[1:]] == [b"hello"]
    assert frames[1].get("User-Id") == f"user {FRIEND.fingerprint}"
    friend.close()


def test_who_is_dismissed_comes_in_no_more_and_stays_where_it_is(
    service: Service, client: Callable[[], Client]
) -> None:
    endpoint = service.bind()
    within = client().connect(endpoint, CLUSTER.public, FRIEND).send(b"1")
    assert service.run(within.answered)
    assert within.socket.recv() == b"1"
    service.zap.dismiss(FRIEND.public)
    service.zap.dismiss(FRIEND.public)
    client().connect(endpoint, CLUSTER.public, FRIEND).send(b"late")
    assert service.run(lambda: bool(service.lines))
    within.send(b"2")
    assert service.run(within.answered)
    service.zap.admit(FRIEND.public)
    again = client().connect(endpoint, CLUSTER.public, FRIEND).send(b"again")
    assert service.run(again.answered)
    assert [b"late"] not in service.taken


def test_many_handshakes_at_once(service: Service) -> None:
    endpoint = service.bind()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealers = []
    for number in range(100):
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.curve_serverkey = CLUSTER.public
        keypair = FRIEND if number % 2 else STRANGER
        dealer.curve_publickey, dealer.curve_secretkey = keypair.public, keypair.secret
        dealer.connect(endpoint)
        dealer.send(str(number).encode())
        dealers.append(dealer)
    friends = dealers[1::2]
    assert service.run(lambda: all(friend.poll(0) for friend in friends))
    assert sorted(int(body) for [body] in service.taken) == list(range(1, 100, 2))
    assert not any(stranger.poll(0) for stranger in dealers[::2])
    for dealer in dealers:
        dealer.close()
    context.term()


def test_a_context_has_one_handler(service: Service) -> None:
    with pytest.raises(ValueError, match="has a handler of ZAP requests already"):
        Zap(service.context)


def test_after_one_there_may_be_another() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    first = Zap(context)
    first.close()
    first.close()
    second = Zap(context)
    second.close()
    context.term()


@pytest.mark.parametrize("key", [b"", b"x" * 39, b"~" * 40, b"#" * 40, CLUSTER.public_bytes])
def test_what_is_no_key_is_not_admitted(service: Service, key: bytes) -> None:
    for change in (service.zap.admit, service.zap.dismiss):
        with pytest.raises(ValueError, match="40 characters of Z85"):
            change(key)


def test_without_another_way_strangers_are_told_of_in_the_log(
    client: Callable[[], Client], caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(admitted=[CLUSTER], own=CLUSTER)
    service.zap.close()
    service.zap = Zap(service.context)
    client().connect(service.bind(), CLUSTER.public, STRANGER)
    assert service.run(lambda: bool(caplog.records))
    [record] = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "constellation.transport.zap")
    assert STRANGER.public.decode() not in caplog.text
    service.close()


# -- what only this process itself could ask ------------------------------------------------------


class Asker:
    """Asks as libzmq does, or not at all like it."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.lines: list[str] = []
        self.zap = Zap(self.context, tell=self.lines.append)
        self.zap.admit(FRIEND.public, "friend")
        self.dealer = self.context.socket(zmq.DEALER)
        self.dealer.linger = 0
        self.dealer.connect(ENDPOINT)

    def ask(self, *parts: bytes) -> list[bytes]:
        self.dealer.send_multipart(parts)
        self.zap.serve()
        assert self.dealer.poll(1000), "no answer"
        return self.dealer.recv_multipart()

    def close(self) -> None:
        self.dealer.close()
        self.zap.close()
        self.context.term()


@pytest.fixture
def asker() -> Iterator[Asker]:
    made = Asker()
    yield made
    made.close()


def request(
    *credentials: bytes, version: bytes = b"1.0", mechanism: bytes = b"CURVE"
) -> list[bytes]:
    return [b"", version, b"7", b"", b"10.0.0.9", b"", mechanism, *credentials]


def test_the_answers_are_of_zap_1_0(asker: Asker) -> None:
    granted = asker.ask(*request(FRIEND.public_bytes))
    assert granted == [b"", b"1.0", b"7", b"200", b"", b"friend", b""]
    refused = asker.ask(*request(STRANGER.public_bytes))
    assert refused == [b"", b"1.0", b"7", b"400", b"not let in", b"", b""]
    failed = asker.ask(*request(FRIEND.public_bytes, version=b"2.0"))
    assert failed == [b"", b"1.0", b"7", b"500", b"no request of ZAP 1.0", b"", b""]


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        (request(FRIEND.public_bytes, mechanism=b"NULL"), b"400"),
        (request(b"user", b"password", mechanism=b"PLAIN"), b"400"),
        (request(), b"400"),
        (request(FRIEND.public_bytes, b"more"), b"400"),
        (request(FRIEND.public), b"400"),
        (request(FRIEND.public_bytes[:-1]), b"400"),
        (request(FRIEND.public_bytes, version=b""), b"500"),
        (request(FRIEND.public_bytes)[:5], b"500"),
        (request(FRIEND.public_bytes)[1:], b"500"),
        ([b"", b"1.0"], b"500"),
        ([b""], b"500"),
        ([b"x" * 100_000], b"500"),
    ],
)
def test_whatever_is_asked_there_is_an_answer(
    asker: Asker, parts: list[bytes], status: bytes
) -> None:
    answer = asker.ask(*parts)
    assert (answer[:2], answer[3], len(answer)) == ([b"", b"1.0"], status, 7)
    assert len(asker.lines) == 1
    assert asker.ask(*request(FRIEND.public_bytes))[3] == b"200"


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=12))
def test_nothing_that_is_asked_ends_it(parts: list[bytes]) -> None:
    asker = Asker()
    try:
        assert asker.ask(*parts)[3] in {b"400", b"500"}
        assert asker.ask(*request(FRIEND.public_bytes))[3] == b"200"
    finally:
        asker.close()


def test_who_asks_and_goes_gets_no_answer_and_does_no_harm(asker: Asker) -> None:
    asker.dealer.send_multipart(request(STRANGER.public_bytes))
    asker.dealer.close()
    asker.dealer = asker.context.socket(zmq.DEALER)
    asker.dealer.linger = 0
    asker.dealer.connect(ENDPOINT)
    assert asker.ask(*request(FRIEND.public_bytes))[3] == b"200"


def test_strangers_take_no_memory_and_few_lines(asker: Asker) -> None:
    def ask(number: int) -> None:
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}".encode()
        parts = request(number.to_bytes(32, "big"))
        asker.ask(*parts[:4], address, *parts[5:])

    for number in range(1000):
        ask(number)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for number in range(1000, 11_000):
        ask(number)
    gc.collect()
    assert psutil.Process().memory_info().rss - before < 2 << 20
    assert len(asker.lines) < 10
    assert asker.zap.deadline is not None
