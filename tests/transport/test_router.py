"""The one ROUTER, and what of libzmq it is built around."""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from constellation.transport.router import Router, Unroutable, key_of_route
from constellation.wire.codec import decode, encode
from constellation.wire.errors import WireError
from constellation.wire.frames import Data

Make = Callable[[], "Peer"]


class Peer:
    def __init__(self, directory: Path, number: int) -> None:
        self.key = bytes([number]) * 16
        path = directory / str(number)
        self.endpoint = f"ipc://{path}"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen(100)
        self.router = Router(self.key, self.endpoint, listener)

    def dial(self, other: Peer) -> bytes:
        return self.router.dial(other.key, other.endpoint)

    def receive(self) -> list[Any]:
        eventually(self.router.readable)
        return self.router.receive()


def eventually(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


def drained(peer: Peer) -> bool:
    while peer.router.readable():
        peer.router.receive()
    return True


def unroutable(peer: Peer, route: bytes) -> bool:
    try:
        peer.router.send(route, [b"?"])
    except Unroutable:
        return True
    return False


@pytest.fixture
def make(directory: Path) -> Iterator[Make]:
    made: list[Peer] = []
    numbers = itertools.count(1)

    def one() -> Peer:
        made.append(Peer(directory, next(numbers)))
        return made[-1]

    yield one
    for peer in made:
        peer.router.close()


def test_who_is_dialled_can_answer_on_the_same_route(make: Make) -> None:
    one, other = make(), make()
    route = one.dial(other)
    assert key_of_route(route) == other.key
    one.router.send(route, [b"hello", b"", b"there"])
    back, *parts = other.receive()
    assert parts == [b"hello", b"", b"there"]
    assert back == b"I" + one.key
    assert key_of_route(back) == one.key
    other.router.send(back, [b"yes"])
    assert one.receive() == [route, b"yes"]


def test_both_dial_at_once_and_have_two_routes(make: Make) -> None:
    for _ in range(20):
        one, other = make(), make()
        there, back = one.dial(other), other.dial(one)
        one.router.send(there, [b"1"])
        other.router.send(back, [b"2"])
        assert one.receive() == [b"I" + other.key, b"2"]
        assert other.receive() == [b"I" + one.key, b"1"]


def test_no_route_is_named_twice(make: Make) -> None:
    one, other = make(), make()
    routes = set()
    for number in range(10):
        route = one.dial(other)
        routes.add(route)
        one.router.send(route, [str(number).encode()])
        assert other.receive()[1] == str(number).encode()
        one.router.hang_up(other.endpoint)
        one.router.hang_up(other.endpoint)
    assert len(routes) == 10


def test_a_route_that_never_was_or_has_ended_is_an_error(make: Make) -> None:
    one, other = make(), make()
    with pytest.raises(Unroutable):
        one.router.send(b"I" + other.key, [b"x"])
    route = one.dial(other)
    one.router.send(route, [b"x"])
    back = other.receive()[0]
    one.router.hang_up(other.endpoint)
    # It ends when all that came over it was read; and libzmq works only while it is called.
    eventually(lambda: drained(one) and drained(other) and unroutable(other, back))
    with pytest.raises(Unroutable):
        one.router.send(route, [b"x", b"y"])
    # The next message is whole, whatever became of the one before.
    again = one.dial(other)
    one.router.send(again, [b"z"])
    assert other.receive()[1:] == [b"z"]


@pytest.mark.parametrize("settles", [False, True])
def test_what_is_behind_a_message_of_one_part_is_dropped(make: Make, settles: bool) -> None:
    """Whatever it is, it is not taken for a message, nor for a part of the next."""
    one, other = make(), make()
    route = one.dial(other)
    (whole,) = encode(Data(1, 1, 1, 33, False, False, [b"x"]))
    forged = [b"I" + b"f" * 16, encode(Data(1, 1, 1, 33, False, False, [b"forged"]))[0]]
    for behind in ([], [b""], [forged[0]], forged, [*forged, b"", b""]):
        one.router.send(route, [whole, *behind])
    one.router.send(route, [b"next", b"of two"])
    for _ in range(5):
        assert other.receive() == [b"I" + one.key, whole]
        if settles:
            other.router.settle()
    assert other.receive() == [b"I" + one.key, b"next", b"of two"]


def test_the_end_of_a_dialled_route_is_told(make: Make) -> None:
    one, other = make(), make()
    route = one.dial(other)
    one.router.send(route, [b"x"])
    other.receive()
    assert list(one.router.disconnected()) == []
    other.router.close()
    told: list[bytes] = []
    eventually(lambda: told.extend(one.router.disconnected()) or told)
    assert told[0] == route
    one.router.hang_up(other.endpoint)
    other.router = Router(b"x" * 16, "", None)  # for the fixture


def test_large_parts_are_not_copied_and_small_ones_are(make: Make) -> None:
    one, other = make(), make()
    route = one.dial(other)
    one.router.send(route, [b"head", bytes(10), bytes(100_000), b"tail"])
    _, head, small, large, tail = other.receive()
    assert (head, small, tail) == (b"head", bytes(10), b"tail")
    assert isinstance(small, bytes)
    assert isinstance(large, memoryview)
    assert large == bytes(100_000)


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("sent", [False, True])
def test_an_interrupt_between_the_parts_costs_that_message_only(
    make: Make, part: int, sent: bool
) -> None:
    """Signal handlers run within pyzmq's send, before the part is sent or after it."""
    one, other = make(), make()
    route = one.dial(other)
    send = one.router._send
    parts = [b"one", b"two", b"three"]
    interrupted_at = [route, *parts][part]

    def interrupted(data: Any, flags: int) -> None:
        if data != interrupted_at or sent:
            send(data, flags)
        if data == interrupted_at:
            raise KeyboardInterrupt

    one.router._send = interrupted
    with pytest.raises(KeyboardInterrupt):
        one.router.send(route, parts)
    one.router._send = send
    one.router.send(route, [b"next", b"whole"])
    received = other.receive()[1:]
    if received == parts:  # the message arrived whole
        received = other.receive()[1:]
    # It has more parts than any that it could be taken for, or what begins like no frame.
    assert len(received) > len(parts)
    assert received[0] in (b"one", b"", route)
    if received[0] != b"one":
        with pytest.raises(WireError):
            decode(received)
    assert received[-1] == b"", "which tells it from a frame that is wrong"
    assert other.receive()[1:] == [b"next", b"whole"]
    assert unroutable(one, b"I" + bytes(16)), "this is an error as ever"


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_an_interrupt_while_receiving_costs_that_message_only(make: Make, taken: int) -> None:
    one, other = make(), make()
    route = one.dial(other)
    one.router.send(route, [b"one", b"two"])
    eventually(other.router.readable)
    receive = other.router._receive
    calls = itertools.count(1)

    def interrupted(*arguments: Any) -> Any:
        part = receive(*arguments)
        if next(calls) == taken:
            raise KeyboardInterrupt
        return part

    other.router._receive = interrupted
    with pytest.raises(KeyboardInterrupt):
        other.router.receive()
    other.router._receive = receive
    # Its rest is no message.
    assert not other.router.readable()
    one.router.send(route, [b"next"])
    assert other.receive()[1:] == [b"next"]


def test_nothing_is_lost_however_much_waits_to_be_read(make: Make) -> None:
    one, other = make(), make()
    route = one.dial(other)
    for number in range(5000):
        one.router.send(route, [b"%d" % number, bytes(1000)])
    one.router.send(route, [b"end"])
    for number in range(5000):
        assert other.receive()[1] == b"%d" % number
    assert other.receive()[1] == b"end"


def test_the_end_of_every_dialled_route_shows_in_the_descriptor(make: Make) -> None:
    """libzmq waits for ever to tell what nobody reads: its thread stands after 2,000 ends."""
    one = make()
    for _ in range(3):
        other = make()
        route = one.dial(other)
        one.router.send(route, [b"hello"])
        other.receive()
        other.router.close()
        poller = select.poll()
        poller.register(one.router.monitor_fd, select.POLLIN)
        ended: list[bytes] = []
        while not ended:
            assert poller.poll(10_000), "nothing showed that the route has ended"
            ended = list(one.router.disconnected())
        assert ended == [route]


def test_after_every_use_of_the_socket_there_may_be_input_that_does_not_show(make: Make) -> None:
    one, other = make(), make()
    assert not one.router.readable()
    assert not one.router.unsure
    route = one.dial(other)
    for use in (
        lambda: None,  # it was dialled
        lambda: one.router.send(route, [b"?"]),
        lambda: one.router.hang_up(other.endpoint),
    ):
        use()
        assert one.router.unsure
        assert drained(one)
        assert not one.router.unsure
