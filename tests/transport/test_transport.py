"""Transports with each other: routes that come, cross, break and rest, and peers that end."""

from __future__ import annotations

import gc
import select
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from constellation.channel.encoder import Encoder
from constellation.channel.mailbox import Closed, Mailbox
from constellation.channel.outlet import Outlet
from constellation.errors import ChannelClosed, ProcessExited, WouldBlock
from constellation.exit_status import ExitStatus
from constellation.transport import leaving

Sides = Callable[[int], Any]

KILLED = ExitStatus(signal="SIGKILL")


def eventually(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.002)


def test_values_go_both_ways_over_one_connection(sides: Sides) -> None:
    one, other = sides(2)
    there, back = one.sender(other), other.sender(one)
    at_other, at_one = other.receiver(one), one.receiver(other)
    there.send(1).block()
    assert at_other.recv().block() == 1
    back.send(2).block()
    assert at_one.recv().block() == 2
    assert (one.routes, other.routes) == (1, 1)
    for side, remote in ((one, other), (other, one)):
        assert side.told() == [remote.pid.key]


def without_io_thread(*sides: Any) -> None:
    """Nobody sees to the input of these but who asks or waits for it."""
    for side in sides:
        reactor = side.transport.reactor
        eventually(lambda reactor=reactor: reactor._armed)
        with reactor.lock:
            reactor._led_at = float("inf")
            reactor._arm(time.monotonic())
            assert not reactor._armed


def until_it_would_not_block(attempt: Callable[[], Any]) -> Any:
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        try:
            return attempt()
        except WouldBlock:
            time.sleep(0.001)
    raise AssertionError("it would have blocked for 20 seconds")


def test_what_does_not_wait_looks_for_what_has_come(sides: Sides) -> None:
    one, other = sides(2)
    sender, receiver = one.sender(other), other.receiver(one)
    sender.send(0).block()
    assert receiver.recv().block() == 0
    without_io_thread(one, other)
    window = [bytes(1 << 20)] * 3
    for value in window:
        sender.try_send(value)
    with pytest.raises(WouldBlock):
        sender.try_send(window[0])
    for value in window:
        assert until_it_would_not_block(receiver.try_recv) == value
    until_it_would_not_block(lambda: sender.try_send(window[0]))
    with other.transport.lock:
        assert not other.transport.look(), "this thread is in the middle of it"
    assert until_it_would_not_block(receiver.try_recv) == window[0]


def test_who_waits_for_room_is_tried_again_when_there_is_some(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = sides(2)
    sender, receiver = one.sender(other), other.receiver(one)
    value = bytes(1 << 20)
    for _ in range(3):
        sender.try_send(value)
    tried = []
    admit = Outlet.admit
    monkeypatch.setattr(Outlet, "admit", lambda *args: tried.append(args) or admit(*args))
    blocked = threading.Thread(target=sender.send(value).block)
    blocked.start()
    eventually(lambda: one.transport.reactor.lead)
    assert len(tried) == 1
    assert receiver.recv().block() == value
    blocked.join(20)
    assert not blocked.is_alive()
    assert len(tried) == 2
    sender.close()
    assert list(receiver) == [value] * 3


def test_a_handler_takes_nothing_from_the_wait_that_it_interrupts(sides: Sides) -> None:
    """The thread that waits would not be woken for it: it is the one that took it."""
    one, other = sides(2)
    sender, receiver = one.sender(other), other.receiver(one)
    another = other.receiver(one, name="x")
    asked: list[bool] = []

    def handler(number: int, frame: Any) -> None:
        sender.send("came meanwhile").block()
        assert select.select([other.transport._router.fd], [], [], 20)[0]
        asked.append(other.transport.look())
        with pytest.raises(WouldBlock):
            another.try_recv()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert receiver.recv().block(timeout=20) == "came meanwhile"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert asked == [False]


def test_nothing_is_connected_for_a_handle_alone(sides: Sides) -> None:
    one, other = sides(2)
    kept = one.sender(other), one.receiver(other)
    one.receiver(other, name="x").close()
    assert one.routes == 0
    assert other.transport.peers == {}
    del kept


def test_both_connect_at_once(sides: Sides) -> None:
    for _ in range(10):
        one, other = sides(2)
        ends = [(one, one.sender(other), other.receiver(one))]
        ends.append((other, other.sender(one), one.receiver(other)))
        barrier = threading.Barrier(2)

        def send(sender: Any, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            sender.send_many(range(100)).block()
            sender.close()

        threads = [threading.Thread(target=send, args=(sender,)) for _, sender, _ in ends]
        for thread in threads:
            thread.start()
        for _, _, receiver in ends:
            assert list(receiver) == [*range(100)]
        for thread in threads:
            thread.join()


def cut(side: Any) -> None:
    """Breaks every connection that a process has opened."""
    transport = side.transport
    with transport.lock:
        for peer in transport.peers.values():
            for route in [route for route in peer.routes if route[:1] == b"O"]:
                transport._router.hang_up(peer.pid.endpoint)
                transport._route_ended(peer, route)
                transport._ready.add(peer)
    transport.reactor.wake_io()


def test_connections_that_are_cut_cost_no_value(sides: Sides) -> None:
    one, other = sides(2)
    sender, receiver = one.sender(other), other.receiver(one)
    stop = threading.Event()

    def break_them() -> None:
        while not stop.wait(0.02):
            cut(one)
            cut(other)

    breaking = threading.Thread(target=break_them)
    values = [(number, bytes(500)) for number in range(3000)]
    sending = threading.Thread(target=lambda: (sender.send_many(values).block(), sender.close()))
    breaking.start()
    sending.start()
    try:
        assert [number for number, _ in receiver] == [*range(3000)]
    finally:
        stop.set()
        breaking.join()
        sending.join()


def test_a_route_that_nobody_needs_is_closed_and_opened_again(sides: Sides) -> None:
    one, other = sides(2)
    for value in range(2):
        with one.sender(other) as sender, other.receiver(one) as receiver:
            sender.send(value).block()
            assert receiver.recv().block() == value
            assert one.routes == 1
        eventually(lambda: one.routes == 0)


def test_what_was_sent_arrives_before_the_end(sides: Sides) -> None:
    one, other = sides(2)
    sender, receiver = one.sender(other), other.receiver(one)
    sender.send_many(range(1000)).block()
    sender.flush().block()
    other.hears_of(one, KILLED)
    one.transport.close()
    assert [receiver.recv().block() for _ in range(1000)] == [*range(1000)]
    with pytest.raises(ProcessExited) as caught:
        receiver.recv().block()
    assert caught.value.pid == one.pid
    assert caught.value.status == KILLED


def test_an_end_that_nobody_knows_of(sides: Sides) -> None:
    one, other = sides(2)
    receiver = other.receiver(one)
    other.hears_of(one, None)
    with pytest.raises(ProcessExited, match="how is not known") as caught:
        receiver.recv().block()
    assert caught.value.status is None


def test_an_ended_peer_is_forgotten_and_its_end_is_not(sides: Sides) -> None:
    one, other = sides(2)
    with other.receiver(one) as receiver:
        other.hears_of(one, KILLED)
        with pytest.raises(ProcessExited):
            receiver.recv().block()
    assert other.transport.peers == {}
    other.told()
    sender = other.sender(one)
    for attempt in (lambda: sender.send(1).block(), lambda: sender.try_send(1)):
        with pytest.raises(ProcessExited) as caught:
            attempt()
        assert caught.value.status == KILLED
    with pytest.raises(ProcessExited):
        other.receiver(one).try_recv()
    assert other.told() == [], "the bridge is not asked again"


def test_what_an_ended_peer_sent_keeps_it(sides: Sides) -> None:
    one, other = sides(2)
    one.sender(other, name="a").send(5).block()
    gc.collect()
    eventually(lambda: one.pid.key in other.transport.peers)
    peer = other.transport.peers[one.pid.key]
    # One lives, and what it sends after the end of it is dropped.
    inlets = peer.inlets
    eventually(lambda: "a" in inlets and any(type(each) is Closed for each in [*inlets["a"].items]))
    other.hears_of(one, KILLED)
    eventually(lambda: other.transport.peers[one.pid.key].ended)
    with other.receiver(one, name="a") as receiver:
        assert receiver.recv().block() == 5
        with pytest.raises(ChannelClosed):
            receiver.recv().block()
    assert other.transport.peers == {}


def test_only_the_last_ends_are_remembered(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("constellation.transport.transport._REMEMBERED", 3)
    (one, *others) = sides(6)
    for other in others:
        with one.receiver(other) as receiver:
            one.hears_of(other, KILLED)
            with pytest.raises(ProcessExited):
                receiver.recv().block()
    assert list(one.transport._past) == [other.pid.key for other in others[2:]]


def test_a_bridge_that_is_gone_ends_nothing_by_itself(sides: Sides) -> None:
    one, other = sides(2)
    sender, receiver = one.sender(other), other.receiver(one)
    one.bridge.close()
    other.bridge.close()
    for value in range(10):
        sender.send(value).block()
        assert receiver.recv().block() == value


# -- leaving


def test_leaving_closes_what_is_open_and_delivers_it(sides: Sides) -> None:
    one, other = sides(2)
    sender, receiver = one.sender(other), other.receiver(one)
    sender.send_many(range(100)).block()
    assert leaving.leave(one.transport, None) == []
    assert list(receiver) == [*range(100)]


def test_two_that_leave_at_once_let_each_other_go(sides: Sides) -> None:
    for _ in range(10):
        one, other = sides(2)
        there, back = one.sender(other), other.sender(one)
        there.send_many([bytes(1000)] * 100).block()
        back.send_many([bytes(1000)] * 100).block()
        lines: list[list[str]] = []

        def leave(side: Any, lines: list[list[str]] = lines) -> None:
            lines.append(leaving.leave(side.transport, 20))

        threads = [threading.Thread(target=leave, args=(side,)) for side in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert lines == [[], []]


def test_what_nobody_received_in_time_is_told(sides: Sides) -> None:
    (one,) = sides(1)
    (other,) = sides(1)
    other.transport.close()  # it never answers, and nobody says that it has exited
    sender = one.sender(other)
    sender.send_many([1, 2, 3]).block()
    one.sender(other, name="b").send(4).block()
    (line,) = leaving.leave(one.transport, 0.05)
    assert line == (
        f"4 values sent to process {other.pid} may not have been received: "
        "it did not acknowledge in time"
    )


def test_values_of_a_next_sender_that_nobody_asks_for_are_told_of(sides: Sides) -> None:
    one, other = sides(2)
    for number in range(3):
        one.sender(other).send(number).block()
    receiver = other.receiver(one)
    assert list(receiver) == [0]
    eventually(lambda: receiver._mailbox.overlooked == 2)
    (line,) = leaving.leave(other.transport, 0.05)
    assert line.startswith(f"2 values from process {one.pid} were not received: the Receiver was ")


def test_values_of_a_next_sender_that_the_next_receiver_has_are_not(sides: Sides) -> None:
    one, other = sides(2)
    for number in range(3):
        one.sender(other).send(number).block()
        assert list(other.receiver(one)) == [number]
    kept = one.sender(other)
    kept.send_many([1, 2]).block()
    assert other.receiver(one).recv().block() == 1
    assert leaving.leave(other.transport, 0.05) == []


def test_a_peer_that_exited_is_not_waited_for(sides: Sides) -> None:
    one, other = sides(2)
    other.transport.close()
    sender = one.sender(other)
    sender.send(1).block()
    one.hears_of(other, KILLED)
    (line,) = leaving.leave(one.transport, None)
    assert line == f"1 value sent to process {other.pid} may not have been received: it has exited"


class Overtaken:
    """A side that has something to send, and before whose message one of another side comes."""

    def __init__(self, sides: Sides) -> None:
        one, other = sides(2)
        self.transport = one.transport
        self.overtaken = False
        self._peer = other.pid
        self._incoming, self._receiver = other.sender(one), one.receiver(other)
        self._incoming.send(0).block()
        assert self._receiver.recv().block() == 0

    def prepare(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The transport's lock is held."""
        transport = self.transport
        while transport._service(()):
            pass
        router = transport._router
        send = router.send

        def overtaken(route: bytes, parts: Any, **how: Any) -> None:
            monkeypatch.setattr(router, "send", send)
            self.overtaken = True
            self._incoming.send(1).block()
            assert select.select([router.fd], [], [], 20)[0]
            send(route, parts, **how)

        monkeypatch.setattr(router, "send", overtaken)
        peer = transport.peer(self._peer)
        peer.link.outbound("more").open("", "raw")
        transport._ready.add(peer)

    def comes(self) -> bool:
        """Whether somebody has taken the message, or looks whether there is one."""
        assert self.overtaken
        return bool(self._receiver._mailbox.items) or self.transport.reactor._more


def test_what_comes_while_the_service_sends_is_not_overlooked(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    overtaken = Overtaken(sides)
    with overtaken.transport.lock:
        overtaken.prepare(monkeypatch)
        assert overtaken.transport._service(()), "there is input left"
        assert not overtaken.transport._service(())
        assert overtaken.comes()


def test_what_comes_while_a_timer_sends_is_not_overlooked(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    overtaken = Overtaken(sides)
    transport = overtaken.transport
    with transport.lock:
        overtaken.prepare(monkeypatch)
        monkeypatch.setattr(transport, "_run_timers", lambda _: transport._pump())
        transport._flush_at = time.monotonic()
        assert transport._service(()), "there is input left"
        assert overtaken.overtaken


def test_what_comes_while_batches_leave_is_seen_before_anybody_waits(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    overtaken = Overtaken(sides)
    transport = overtaken.transport
    with transport.lock:
        overtaken.prepare(monkeypatch)
        monkeypatch.setattr(transport, "_unflushed", Unflushed())
        transport._flush()
        assert overtaken.comes()


class Unflushed(dict[Any, Any]):
    """Of batches, all that were there have been handed over."""

    def __bool__(self) -> bool:
        return True


def test_what_is_deferred_is_tried_again_where_nothing_else_happens(sides: Sides) -> None:
    (side,) = sides(1)
    tried: list[float] = []

    def action() -> bool:
        tried.append(time.monotonic())
        return len(tried) == 20

    side.transport.defer(action)
    end = time.monotonic() + 20
    while len(tried) < 20:
        assert time.monotonic() < end, len(tried)
        time.sleep(0.01)
    assert tried[-1] - tried[0] < 1.0


@pytest.mark.parametrize("ended", [False, True])
def test_who_closes_many_handles_has_not_all_of_them_looked_at_each_time(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    one, other = sides(2)
    handles = [one.sender(other, name=str(number)) for number in range(200)]
    handles += [one.receiver(other, name=str(number)) for number in range(200)]
    if ended:
        one.hears_of(other, KILLED)
        eventually(lambda: one.transport.peers[other.pid.key].ended)
    looks = 0

    def in_use(each: Outlet | Mailbox) -> bool:
        nonlocal looks
        looks += 1
        return each.owner is not None

    for kind in (Outlet, Mailbox):
        monkeypatch.setattr(kind, "in_use", property(in_use))
    for handle in handles:
        handle.close()
    assert looks < 10 * len(handles)
    if ended:
        assert other.pid.key not in one.transport.peers


def test_a_closed_sender_leaves_no_pickler_behind(sides: Sides) -> None:
    one, other = sides(2)

    def count() -> int:
        gc.collect()
        return sum(type(each) is Encoder for each in gc.get_objects())

    before = count()
    for number in range(20):
        sender = one.sender(other, name=str(number))
        sender.send(number).block()
        sender.close()
    assert count() == before
    receivers = [other.receiver(one, name=str(number)) for number in range(20)]
    assert [list(receiver) for receiver in receivers] == [[number] for number in range(20)]
