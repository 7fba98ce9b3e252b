from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.session.loop import Loop
from constellation_daemons.agent.relay import InputRelay


class Relayed:
    """A relay, and what it has told."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.told: list[tuple[int, bool]] = []
        self.relay = InputRelay(self.loop.selector, lambda *told: self.told.append(told))

    @property
    def taken(self) -> int:
        return sum(size for size, _ in self.told)

    def turn(self) -> None:
        self.loop.run(lambda: False, 0.02)

    def close(self) -> None:
        self.relay.close()
        self.loop.close()


@pytest.fixture
def relayed() -> Iterator[Relayed]:
    relayed = Relayed()
    yield relayed
    relayed.close()


def test_what_fits_is_taken_at_once(relayed: Relayed) -> None:
    relayed.relay.put(b"one")
    relayed.relay.put(b"two")
    assert relayed.told == [(3, False), (3, False)]
    assert os.read(relayed.relay.reader, 100) == b"onetwo"
    relayed.relay.put(b"")
    assert os.read(relayed.relay.reader, 100) == b""
    os.close(relayed.relay.reader)


@given(st.lists(st.integers(1, 100_000), max_size=8))
def test_everything_arrives_however_slowly_it_is_read(sizes: list[int]) -> None:
    relayed = Relayed()
    data = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    for number, size in enumerate(sizes):
        relayed.relay.put(bytes([number]) * size)
    relayed.relay.put(b"")
    got = bytearray()
    while piece := os.read(relayed.relay.reader, 30_000):
        got += piece
        relayed.turn()
    assert got == data
    assert relayed.taken == len(data)
    os.close(relayed.relay.reader)
    relayed.close()


def test_who_reads_no_more_is_told_of(relayed: Relayed) -> None:
    relayed.relay.put(bytes(200_000))
    assert 0 < relayed.taken < 200_000
    os.close(relayed.relay.reader)
    relayed.turn()
    assert relayed.told[-1][1]
    assert relayed.taken == 200_000
    relayed.relay.put(b"more")
    assert relayed.told[-1] == (4, True)
    relayed.relay.put(b"")


def test_what_waits_when_it_is_closed_is_dropped(relayed: Relayed) -> None:
    relayed.relay.put(bytes(200_000))
    relayed.relay.close()
    relayed.relay.close()
    relayed.turn()
    os.close(relayed.relay.reader)
