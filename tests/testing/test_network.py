"""The network and the clock for tests do as they are told, and the same for the same seed."""

from __future__ import annotations

from typing import Any

import pytest

from constellation.testing import ManualClock, SimulatedNetwork
from constellation.wire.events import Arrived
from constellation.wire.link import Link


def test_time_goes_on_only_when_it_is_told_to() -> None:
    clock = ManualClock(5.0)
    clock.advance(1.5)
    clock.advance(0.0)
    assert clock.now == 6.5
    with pytest.raises(ValueError):
        clock.advance(-1.0)
    assert clock.now == 6.5


def network(seed: int = 0) -> SimulatedNetwork:
    links = (Link(key * 16, f"ipc:///{key.decode()}") for key in (b"a", b"b"))
    return SimulatedNetwork(ManualClock(), *links, seed=seed)


def values(end: Any) -> list[bytes]:
    return [event.parts[0] for event in end.events if isinstance(event, Arrived)]


def push(net: SimulatedNetwork, *texts: bytes) -> None:
    stream = net.ends[0].link.outbound("n")
    if stream.last == 0:
        stream.open("", "raw")
    for text in texts:
        stream.push([text], 1, len(text))


def connected(seed: int = 0) -> SimulatedNetwork:
    net = network(seed)
    push(net, b"first")
    net.settle()
    assert values(net.ends[1]) == [b"first"]
    (route,) = net.routes
    assert route.up
    return net


def test_what_is_sent_arrives_in_order() -> None:
    net = connected()
    push(net, b"1", b"2", b"3")
    net.exchange()
    assert values(net.ends[1]) == [b"first", b"1", b"2", b"3"]
    assert not net.deliver()


def test_what_is_lost_is_lost_until_it_is_asked_for() -> None:
    net = connected()
    push(net, b"1")
    net.lose(net.ends[0])
    net.exchange()
    assert values(net.ends[1]) == [b"first"]
    net.settle()
    assert values(net.ends[1]) == [b"first", b"1"]
    assert net.clock.now > 0


def test_nothing_new_arrives_over_a_cut_route_before_it_is_restored() -> None:
    net = connected()
    net.cut(net.routes[0])
    push(net, b"1")
    net.exchange()
    assert values(net.ends[1]) == [b"first"]
    net.restore(net.routes[0])
    net.exchange()
    assert values(net.ends[1]) == [b"first", b"1"]


@pytest.mark.parametrize("seed", range(20))
def test_what_was_under_way_over_a_cut_route_arrives_once_in_the_end(seed: int) -> None:
    net = connected(seed)
    texts = [b"%d" % number for number in range(10)]
    push(net, *texts)
    net.send(net.ends[0])
    net.cut(net.routes[0])
    net.settle()
    assert values(net.ends[1]) == [b"first", *texts]


def test_the_accepter_of_a_cut_route_dials_after_it_has_sent_something_in_vain() -> None:
    net = connected()
    net.cut(net.routes[0])
    stream = net.ends[1].link.outbound("back")
    stream.open("", "raw")
    net.send(net.ends[1])  # lost; now it knows
    net.advance(1.0)
    net.send(net.ends[1])
    assert [route.dialler for route in net.routes] == list(net.ends)


def test_the_dead_neither_send_nor_receive() -> None:
    net = connected()
    net.kill(net.ends[1])
    push(net, b"1")
    net.exchange()
    net.advance(100.0)
    net.exchange()
    assert values(net.ends[1]) == [b"first"]
    assert not net.ends[0].link.delivered


def story(seed: int) -> list[str]:
    net = network(seed)
    push(net, *(b"%d" % number for number in range(20)))
    for _ in range(3):
        net.send(net.ends[0])
        net.deliver()
        for route in net.routes:
            net.cut(route)
            net.restore(route)
    net.settle()
    return [*map(str, net.routes), repr(net.clock), *map(repr, net.ends[1].events)]


def test_the_same_seed_gives_the_same_story() -> None:
    def anonymous(seed: int) -> list[str]:
        return [line.partition(" object at ")[0] for line in story(seed)]

    assert anonymous(1) == anonymous(1)
