"""Whether a window is certain to be full, for which its peer is asked."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from constellation.errors import WouldBlock
from constellation.transport.peer import Peer
from constellation.transport.windows import Windows


class Bench:
    """A stream whose window is full, and questions about that."""

    def __init__(self, sides: Callable[[int], Any]) -> None:
        self.one, self.other = sides(2)
        self.sender = self.one.sender(self.other)
        self.windows = Windows(self.one.transport)
        self.question = 0
        with contextlib.suppress(WouldBlock):
            while True:
                self.sender.try_send(bytes(1 << 20))

    @property
    def peer(self) -> Peer:
        peer: Peer = self.one.transport.peers[self.other.pid.key]
        return peer

    def ask(self) -> bool:
        self.question += 1
        with self.one.transport.lock:
            self.windows.ask(self.question)
            return self.look()

    def look(self) -> bool:
        return self.windows.is_full(self.peer, self.peer.link.outbound(""))

    def until_answered(self) -> None:
        limit = time.monotonic() + 20
        while self.peer.link.outbound("").wanting:
            assert time.monotonic() < limit
            time.sleep(0.002)


@pytest.fixture
def bench(sides: Callable[[int], Any]) -> Bench:
    return Bench(sides)


def test_it_is_certain_when_the_peer_has_answered_twice(bench: Bench) -> None:
    found = []
    for _ in range(4):
        found.append((bench.ask(), bench.windows.since))
        bench.until_answered()
    assert found == [(False, 1), (False, 2), (True, 1), (True, 2)]


def test_one_examination_asks_once(bench: Bench) -> None:
    for _ in range(3):
        first = bench.ask()
        with bench.one.transport.lock:
            assert bench.look() == bench.look() == first
        bench.until_answered()
    assert bench.windows.since == 1


def test_what_is_not_answered_is_not_certain(bench: Bench) -> None:
    for _ in range(3):
        bench.ask()
        bench.until_answered()
    with bench.other.transport.lock:
        assert bench.ask()
        assert not bench.ask()
        assert not bench.ask()
    bench.until_answered()
    assert bench.ask()
    assert bench.windows.since == 3


def test_a_wait_that_was_over_begins_anew(bench: Bench) -> None:
    for _ in range(3):
        bench.ask()
        bench.until_answered()
    with bench.one.transport.lock:
        for question in (10, 11):
            bench.windows.ask(question)  # nobody waits for room
    bench.question = 20
    assert not bench.ask()
