"""What libzmq reads where it is, and how it is known that it has done so."""

from __future__ import annotations

import os
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from constellation.security.keypair import Keypair
from constellation.transport.curve import Curve
from constellation.transport.lending import Lender
from constellation.transport.router import LENT_FROM, Router

SECURITY = Curve(Keypair.new())


class Peer:
    """A router that is reached over TCP with CURVE, at an address of its own."""

    def __init__(self, number: int) -> None:
        self.key = bytes([number]) * 16
        listener = socket.create_server((f"127.0.0.{number}", 0))
        self.endpoint = "tcp://{}:{}".format(*listener.getsockname())
        self.router = Router(self.key, self.endpoint, listener, security=SECURITY)

    def dial(self, other: Peer) -> bytes:
        return self.router.dial(other.key, other.endpoint)

    def serve(self) -> None:
        assert self.router.gate is not None
        self.router.gate.serve()

    @property
    def lender(self) -> Lender:
        assert self.router._lender is not None
        return self.router._lender

    @property
    def lent(self) -> list[Any]:
        """The loans that are not known to be over."""
        self.lender.sweep()
        return [loan for loans in self.lender._loans.values() for loan in loans]


@pytest.fixture
def pair() -> Iterator[tuple[Peer, Peer]]:
    one, other = Peer(1), Peer(2)
    yield one, other
    one.router.close()
    other.router.close()


def eventually(condition: Callable[[], object], *peers: Peer) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        for peer in peers:
            peer.serve()
        time.sleep(0.001)


def received(here: Peer, there: Peer) -> list[bytes]:
    eventually(here.router.readable, here, there)
    return [bytes(part) for part in here.router.receive()[1:]]


def large(number: int = 0) -> bytes:
    return bytes([number]) * LENT_FROM


def test_a_large_part_is_lent_until_it_was_read(pair: tuple[Peer, Peer]) -> None:
    one, other = pair
    route = one.dial(other)
    one.router.send(route, [b"before", large(1), large(2), b"behind"], sealed=True)
    # Nobody has let it in yet, so nothing can have been sent.
    (loan,) = one.lent
    assert list(loan.parts) == [b"before", large(1), large(2)]
    assert received(other, one) == [b"before", large(1), large(2), b"behind"]
    eventually(lambda: not one.lent)


def test_an_answer_tells_that_it_is_over(pair: tuple[Peer, Peer]) -> None:
    one, other = pair
    route = one.dial(other)
    for number in range(100):
        one.router.send(route, [b"%d" % number, large(number), b"behind"], sealed=True)
        assert received(other, one) == [b"%d" % number, large(number), b"behind"]
        other.router.send(b"I" + one.key, [b"yes"])
        assert received(one, other) == [b"yes"]
        assert not one.lender._loans


@pytest.mark.parametrize(
    "parts",
    [
        [b"before", b"small", b"behind"],
        [b"before", large()],
        [b"before", large(), b""],
        [b"before", large(), bytes(5000)],
    ],
    ids=["small", "nothing behind", "an empty part behind", "a large one behind"],
)
def test_what_cannot_be_lent_is_copied(pair: tuple[Peer, Peer], parts: list[Any]) -> None:
    one, other = pair
    one.router.send(one.dial(other), parts, sealed=True)
    assert one.router._lender is None or not one.lent
    assert received(other, one) == [bytes(part) for part in parts]


@pytest.mark.parametrize("kind", [memoryview, bytearray])
def test_what_may_change_is_copied(pair: tuple[Peer, Peer], kind: Any) -> None:
    one, other = pair
    content = bytearray(large(1))
    one.router.send(one.dial(other), [b"before", kind(content), b"behind"], sealed=True)
    content[:] = large(2)
    assert received(other, one) == [b"before", large(1), b"behind"]


def test_nothing_is_lent_where_it_may_go_in_the_open(pair: tuple[Peer, Peer]) -> None:
    one, other = pair
    one.router.send(one.dial(other), [b"before", large(), b"behind"])
    assert one.router._lender is None
    assert received(other, one) == [b"before", large(), b"behind"]
    assert one.router.seals(other.endpoint)
    assert not one.router.seals(one.endpoint.rpartition(":")[0] + ":1"), "it may be reached by ipc"
    assert not one.router.seals("ipc:///somewhere")


def test_without_libzmq_at_hand_it_is_copied(
    pair: tuple[Peer, Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Any:
        raise OSError("there is none")

    monkeypatch.setattr("constellation.transport.lending._library", none)
    one, other = pair
    route = one.dial(other)
    for _ in range(2):
        one.router.send(route, [b"before", large(), b"behind"], sealed=True)
        assert received(other, one) == [b"before", large(), b"behind"]
    assert one.router._lender is None


def test_a_route_that_is_closed_ends_its_loans(pair: tuple[Peer, Peer]) -> None:
    one, other = pair
    route = one.dial(other)
    for _ in range(5):
        one.router.send(route, [b"before", large(), b"behind"], sealed=True)
    assert len(one.lent) == 5
    one.router.hang_up(other.endpoint)
    # libzmq tells its own threads what to do when the socket is used.
    eventually(lambda: not one.router.readable() and not one.lent)


def test_a_route_that_stands_still_holds_up_the_loans_of_no_other(
    pair: tuple[Peer, Peer],
) -> None:
    one, other = pair
    with socket.create_server(("127.0.0.3", 0)) as stopped:
        endpoint = "tcp://{}:{}".format(*stopped.getsockname())
        still = one.router.dial(b"still" + bytes(11), endpoint)
        one.router.send(still, [b"before", large(), b"behind"], sealed=True)
        route = one.dial(other)
        for number in range(60):
            one.router.send(route, [b"before", large(number), b"behind"], sealed=True)
            assert received(other, one) == [b"before", large(number), b"behind"]
        eventually(lambda: set(one.lender._loans) == {still} if one.lent else False)


class _Interrupt(BaseException):
    pass


def interrupting(function: Any, at: int) -> Any:
    """The function, which raises before its call of this number, and after it of the next."""
    left = [at]

    def called(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == -1:
            raise _Interrupt
        answer = function(*arguments)
        if left[0] == 0:
            left[0] = -2
            raise _Interrupt
        return answer

    return called


@pytest.mark.parametrize("name", ["_make", "_constant", "_message", "_record"])
@pytest.mark.parametrize("at", [0, 1])
def test_a_message_that_was_interrupted_ends_and_lets_go(
    pair: tuple[Peer, Peer], monkeypatch: pytest.MonkeyPatch, name: str, at: int
) -> None:
    one, other = pair
    route = one.dial(other)
    one.router.send(route, [b"first", large(), b"behind"], sealed=True)
    assert received(other, one) == [b"first", large(), b"behind"]
    with monkeypatch.context() as patch:
        patch.setattr(one.lender, name, interrupting(getattr(one.lender, name), at))
        with pytest.raises(_Interrupt):
            one.router.send(route, [b"cut", large(), b"behind"], sealed=True)
    one.router.send(route, [b"next", large(), b"behind"], sealed=True)
    whole = [b"cut", large(), b"behind"]
    messages = []
    while not messages or messages[-1] != [b"next", large(), b"behind"]:
        messages.append(received(other, one))
    # What was interrupted came as a whole, or not, or is seen to be none.
    for message in messages[:-1]:
        assert message == whole or message[-1] == b""
    eventually(lambda: not one.lent)


def test_what_is_lent_is_kept_and_then_dropped(pair: tuple[Peer, Peer]) -> None:
    class Content:
        pass

    one, other = pair
    route = one.dial(other)
    content = Content()
    gone = weakref.ref(content)
    one.router.send(route, [b"before", large(), b"behind"], sealed=True)
    (loan,) = one.lent
    loan.parts = [*loan.parts, content]  # type: ignore[list-item]
    del loan, content
    assert gone() is not None
    received(other, one)
    eventually(lambda: not one.lent)
    assert gone() is None


def test_random_content_arrives_as_it_was(pair: tuple[Peer, Peer]) -> None:
    one, other = pair
    route = one.dial(other)
    for _ in range(30):
        parts = [os.urandom(9), os.urandom(LENT_FROM + 1), os.urandom(3), os.urandom(1)]
        one.router.send(route, parts, sealed=True)
        assert received(other, one) == parts
