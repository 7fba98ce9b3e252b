"""Processes of a program that runs on several nodes: loopback has an address for each."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sides import Node, Side

from constellation import ExitStatus, ProcessExited
from constellation.control.messages import Unreached
from constellation.pid import Pid
from constellation.security.keypair import Keypair
from constellation.transport import transport

MakeNode = Callable[..., Node]
Sides = Callable[..., list[Side]]
KEYPAIR = Keypair.new()


@pytest.fixture
def node(directory: Path) -> MakeNode:
    def make(number: int, keypair: Keypair | None = KEYPAIR) -> Node:
        place = directory / str(number)
        place.mkdir(exist_ok=True)
        return Node(f"127.0.0.{number}", place, keypair)

    return make


def reached(side: Side) -> set[str]:
    """How a side has reached others: the schemes of what it has dialled."""
    with side.transport.lock:
        return {each.partition(":")[0] for each in side.transport._router._dialled}


@pytest.mark.parametrize("keypair", [KEYPAIR, None], ids=["curve", "plain"])
def test_values_go_over_tcp_between_nodes(
    sides: Sides, node: MakeNode, keypair: Keypair | None
) -> None:
    (a,), (b,) = sides(1, node(1, keypair)), sides(1, node(2, keypair))
    to_b, to_a = a.sender(b), b.sender(a)
    from_a, from_b = b.receiver(a), a.receiver(b)
    for number in range(500):
        to_b.send((number, "there")).block()
        to_a.send((number, "back")).block()
    assert [from_a.recv().block(10) for _ in range(500)] == [(n, "there") for n in range(500)]
    assert [from_b.recv().block(10) for _ in range(500)] == [(n, "back") for n in range(500)]
    assert reached(a) | reached(b) == {"tcp"}


def unreached(side: Side, limit: float) -> list[Unreached]:
    """What the process tells its bridge of those that it cannot connect to."""
    end = time.monotonic() + limit
    found: list[Unreached] = []
    while not found and time.monotonic() < end:
        found = [each for each in side.bridge.receive() if isinstance(each, Unreached)]
        time.sleep(0.02)
    return found


def test_the_bridge_is_told_of_a_peer_that_cannot_be_connected_to(
    sides: Sides, node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_UNHEARD", 0.2)
    (a,), (b,) = sides(1, node(1)), sides(1, node(2))
    b.close()
    sender = a.sender(b)
    sender.send("lost").block()
    assert unreached(a, 20) == [Unreached(b.pid.key, b.pid.endpoint, "Connection refused")]
    assert unreached(a, 0.5) == [], "it is told once"
    a.hears_of(b, None)


def test_a_peer_that_only_does_not_answer_is_waited_for(
    sides: Sides, node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_UNHEARD", 0.2)
    (a,) = sides(1, node(1))
    with socket.create_server(("127.0.0.2", 0)) as stopped:
        pid = Pid(os.urandom(16), f"tcp://127.0.0.2:{stopped.getsockname()[1]}")
        a.sender(SimpleNamespace(pid=pid)).send("later").block()  # type: ignore[arg-type]
        assert unreached(a, 1.0) == []
    (b,), (c,) = sides(1, node(2)), sides(1, node(2))
    b.sender(c).send("here").block()
    a.sender(c).send("here").block()
    assert unreached(a, 0.5) == []


def test_large_values_go_over_tcp(sides: Sides, node: MakeNode) -> None:
    (a,), (b,) = sides(1, node(1)), sides(1, node(2))
    sender, receiver = a.sender(b), b.receiver(a)
    values = [np.arange(3 << 17, dtype=np.float64) + number for number in range(4)]
    sending = threading.Thread(target=lambda: [sender.send(value).block() for value in values])
    sending.start()
    for value in values:
        np.testing.assert_array_equal(receiver.recv().block(20), value)
    sending.join()
    assert reached(a) == {"tcp"}


def cut(side: Side) -> None:
    """Break every connection that a process has opened."""
    transport = side.transport
    with transport.lock:
        for peer in transport.peers.values():
            for route in [route for route in peer.routes if route[:1] == b"O"]:
                transport._router.hang_up(peer.pid.endpoint)
                transport._route_ended(peer, route)
                transport._ready.add(peer)
    transport.reactor.wake_io()


def pattern(number: int) -> bytes:
    return bytes([number % 251]) * (300_000 + number)


def test_large_values_stay_what_they_are_when_connections_are_cut(
    sides: Sides, node: MakeNode
) -> None:
    (a,), (b,) = sides(1, node(1)), sides(1, node(2))
    sender, receiver = a.sender(b), b.receiver(a)
    stop = threading.Event()

    def send() -> None:
        array = np.zeros(40_000)
        for number in range(200):
            sender.send(pattern(number)).block()  # which nobody else refers to
            array[:] = number
            sender.send(array).block()
        array[:] = -1
        sender.close()

    def break_them() -> None:
        while not stop.wait(0.02):
            cut(a)

    threads = [threading.Thread(target=send), threading.Thread(target=break_them)]
    for thread in threads:
        thread.start()
    try:
        for number in range(200):
            assert receiver.recv().block(30) == pattern(number)
            array = receiver.recv().block(30)
            assert array.min() == array.max() == number
        assert list(receiver) == []
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert a.transport._router._lender is not None, "some of it was lent"
    assert gone(a), "what was on the routes that were cut goes with them"


def gone(side: Side) -> bool:
    """Whether nothing is lent any more, before long."""
    router = side.transport._router
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        with side.transport.lock:
            assert router._lender is not None
            router._lender.sweep()
            if not router._lender._loans:
                return True
        time.sleep(0.01)
    return False


def test_what_was_received_is_not_kept(sides: Sides, node: MakeNode) -> None:
    (a,), (b,) = sides(1, node(1)), sides(1, node(2))
    sender, receiver = a.sender(b), b.receiver(a)
    for number in range(10):
        sender.send(pattern(number)).block()
        assert receiver.recv().block(20) == pattern(number)
    sender.flush().block(20)
    with a.transport.lock:
        lender = a.transport._router._lender
        assert lender is not None
        assert not lender._loans


@pytest.mark.parametrize("numbers", [(1, 1), (1, 2)], ids=["on one node", "in the open"])
def test_nothing_is_lent_without_encryption(
    sides: Sides, node: MakeNode, numbers: tuple[int, int]
) -> None:
    keypair = KEYPAIR if numbers == (1, 1) else None
    (a,), (b,) = (sides(1, node(number, keypair)) for number in numbers)
    sender, receiver = a.sender(b), b.receiver(a)
    for number in range(5):
        sender.send(pattern(number)).block()
        assert receiver.recv().block(20) == pattern(number)
    assert a.transport._router._lender is None


def test_large_values_cross_memory_within_a_node(sides: Sides, node: MakeNode) -> None:
    (a, b), (c,) = sides(2, node(1)), sides(1, node(2))
    array = np.arange(1 << 17, dtype=np.float64)
    ends = [(a.sender(side), side.receiver(a)) for side in (b, c)]
    for number in range(20):
        for sender, receiver in ends:
            array[0] = number
            sender.send(array).block()
            got = receiver.recv().block(20)
            assert got[0] == number
            np.testing.assert_array_equal(got[1:], array[1:])
    with a.transport.lock:
        assert a.transport.peer(b.pid).lends
        assert not a.transport.peer(c.pid).lends
        borrowers = {block.borrower for block in a.transport.memory.pool._blocks.values()}
    assert borrowers == {b.pid.key}


def test_processes_on_one_node_do_without(sides: Sides, node: MakeNode) -> None:
    a, b = sides(2, node(1))
    a.sender(b).send("near").block()
    assert b.receiver(a).recv().block(10) == "near"
    assert reached(a) == {"ipc"}
    assert reached(b) == set()


def test_one_socket_does_both(sides: Sides, node: MakeNode) -> None:
    (a, b), (c,) = sides(2, node(1)), sides(1, node(2))
    for _ in range(3):
        for source, target in ((a, b), (a, c), (c, a), (c, b), (b, c), (b, a)):
            source.sender(target).send(source.pid).block()
            assert target.receiver(source).recv().block(10) == source.pid
    assert reached(a) == {"ipc", "tcp"}


def test_the_file_system_alone_does_not_make_two_nodes_one(sides: Sides, directory: Path) -> None:
    """Network namespaces may share it, and containers a directory."""
    a, b = (sides(1, Node(f"127.0.0.{n}", directory, KEYPAIR))[0] for n in (1, 2))
    a.sender(b).send(1).block()
    assert b.receiver(a).recv().block(10) == 1
    assert reached(a) == {"tcp"}


def test_nor_does_the_address(sides: Sides, node: MakeNode, directory: Path) -> None:
    """Another program on the same node has a directory of its own."""
    other = directory / "other"
    other.mkdir()
    (a,), (b,) = sides(1, node(1)), sides(1, Node("127.0.0.1", other, KEYPAIR))
    a.sender(b).send(1).block()
    assert b.receiver(a).recv().block(10) == 1
    assert reached(a) == {"tcp"}


@pytest.mark.parametrize("keypair", [Keypair.new(), None], ids=["another key", "no key"])
def test_a_stranger_gets_nothing(
    sides: Sides, node: MakeNode, keypair: Keypair | None, caplog: pytest.LogCaptureFixture
) -> None:
    (a,), (stranger,) = sides(1, node(1)), sides(1, node(2, keypair))
    sender = stranger.sender(a)
    sender.send("let me in").block()
    receiver = a.receiver(stranger)
    with pytest.raises(TimeoutError):
        receiver.recv().block(0.5)
    (friend,) = sides(1, node(3))
    friend.sender(a).send("hello").block()
    assert a.receiver(friend).recv().block(10) == "hello"


def test_both_may_begin_at_once(sides: Sides, node: MakeNode) -> None:
    """500 pairs: each connects to the other at the same instant."""
    here, there = sides(20, node(1)), sides(25, node(2))
    failures: list[BaseException] = []

    def talk(own: Side, others: list[Side]) -> None:
        try:
            senders = [own.sender(other) for other in others]
            for sender, other in zip(senders, others, strict=True):
                sender.send((own.pid, other.pid)).block(20)
            for other in others:
                assert own.receiver(other).recv().block(20) == (other.pid, own.pid)
        except BaseException as failure:  # noqa: BLE001 - told below
            failures.append(failure)

    threads = [threading.Thread(target=talk, args=(side, there)) for side in here]
    threads += [threading.Thread(target=talk, args=(side, here)) for side in there]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_garbage_at_the_port_does_no_harm(sides: Sides, node: MakeNode) -> None:
    (a,), (b,) = sides(1, node(1)), sides(1, node(2))
    host, _, port = a.pid.endpoint.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(os.urandom(1 << 16))
        b.sender(a).send("hello").block()
        assert a.receiver(b).recv().block(10) == "hello"


def test_an_exit_is_told_as_on_one_machine(sides: Sides, node: MakeNode) -> None:
    (a,), (b,) = sides(1, node(1)), sides(1, node(2))
    sender = b.sender(a)
    sender.send("last words").block()
    receiver: Any = a.receiver(b)
    assert receiver.recv().block(10) == "last words"
    b.close()
    a.hears_of(b, ExitStatus(code=3))
    with pytest.raises(ProcessExited) as caught:
        receiver.recv().block(10)
    assert caught.value.status == ExitStatus(code=3)
