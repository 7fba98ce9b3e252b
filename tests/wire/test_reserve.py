"""Streams that are two windows ahead of their readers, and what keeps others from it."""

from __future__ import annotations

from collections import deque

from constellation.wire.events import Arrived
from constellation.wire.frames import Frame
from constellation.wire.link import ALONE_AFTER, Link
from constellation.wire.reserve import Reserve
from constellation.wire.stream import Outbound

WINDOW = 4000
SIZE = 900  # four of them go into a window


def test_places_are_for_so_many_and_given_back() -> None:
    reserve = Reserve(2)
    first, second, third = object(), object(), object()
    assert reserve.take(first)
    assert reserve.take(second)
    assert not reserve.take(third)
    assert reserve.take(first), "it has one"
    reserve.give_back(third)
    assert not reserve.take(third)
    reserve.give_back(first)
    assert reserve.take(third)


class Pair:
    """Two links, of which the first sends as much as it may, over a route that is never empty."""

    def __init__(self, first: Reserve | None, second: Reserve | None) -> None:
        self.sender, self.reader = (
            Link(key * 16, "ipc:///k", window=WINDOW, fragment=10 * WINDOW, reserve=reserve)
            for key, reserve in ((b"a", first), (b"b", second))
        )
        self.now = 0.0
        self.under_way: deque[Frame] = deque()
        self.unread: list[Arrived] = []
        for link in (self.sender, self.reader):
            link.route_up(self.now)

    def stream(self, name: str = "n") -> Outbound:
        stream = self.sender.outbound(name)
        stream.open("", "raw")
        return stream

    def fill(self, stream: Outbound, size: int = SIZE) -> int:
        """Push as much as may be. Gives how much is ahead of the reader then."""
        while stream.fits(size):
            stream.push([bytes(size)], 1, size)
        inbound = self.reader._inbound.get(stream.number)
        return stream.pushed - (0 if inbound is None else inbound.taken)

    def exchange(self, taken: int = 1000, left: int = 1) -> None:
        """What is under way arrives, but for so many frames, and so many values are taken."""
        while (frame := self.sender.next_frame(self.now)) is not None:
            self.under_way.append(frame)
        while len(self.under_way) > left:
            self.reader.receive(self.under_way.popleft(), self.now)
            self.unread += (e for e in self.reader.events() if isinstance(e, Arrived))
            taken = self.take(taken)
            self.answer()

    def take(self, count: int) -> int:
        """The reader takes so many values, if there are. Gives how many were not there."""
        taken, self.unread = self.unread[:count], self.unread[count:]
        for event in taken:
            event.stream.consumed(event.weight)
        return count - len(taken)

    def answer(self) -> None:
        """The sender hears of it."""
        while (frame := self.reader.next_frame(self.now)) is not None:
            self.sender.receive(frame, self.now)
        self.sender.events()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for link in (self.sender, self.reader):
            link.tick(self.now)
        self.answer()

    def run(self, stream: Outbound, seconds: float = 2 * ALONE_AFTER, size: int = SIZE) -> int:
        """The sender sends for so long, to a reader that takes all. Gives how far it got ahead."""
        most = 0
        for _ in range(20):
            most = max(most, self.fill(stream, size))
            self.advance(seconds / 20)
            self.exchange()
        return most


def test_large_values_get_two_windows_where_they_are_taken_at_once() -> None:
    pair = Pair(Reserve(), Reserve())
    stream = pair.stream()
    assert WINDOW < pair.run(stream) <= 2 * WINDOW
    for link in (pair.sender, pair.reader):
        link.validate()


def test_it_takes_a_place_at_both_ends() -> None:
    for reserves in ((None, Reserve()), (Reserve(), None), (Reserve(0), Reserve())):
        pair = Pair(*reserves)
        assert pair.run(pair.stream()) <= WINDOW
    pair = Pair(Reserve(), Reserve(0))
    assert pair.run(pair.stream()) <= WINDOW


def test_a_reader_that_does_not_take_is_no_further_behind_than_two_windows() -> None:
    pair = Pair(Reserve(), Reserve())
    stream = pair.stream()
    pair.run(stream)
    for _ in range(20):
        behind = pair.fill(stream)
        pair.advance(1.0)
        pair.exchange(taken=0)
    assert WINDOW < behind <= 2 * WINDOW
    # It takes again, but is behind: from there on it is one window.
    while pair.unread:
        pair.take(1)
        pair.advance(1.0)
        ahead = pair.fill(stream)
        assert ahead <= max(behind, WINDOW)
        behind = ahead
        pair.exchange(taken=0)
        if behind <= WINDOW:
            break
    assert behind <= WINDOW


def test_a_stream_that_shares_its_link_has_one_window() -> None:
    pair = Pair(Reserve(), Reserve())
    stream, other = pair.stream(), pair.stream("other")
    other.push([b"beside"], 1, 6)
    most = 0
    for _ in range(40):
        most = max(most, pair.fill(stream))
        other.push([b"beside"], 1, 6)
        pair.advance(ALONE_AFTER / 2)
        pair.exchange()
    assert most <= WINDOW
    assert WINDOW < pair.run(stream, 3 * ALONE_AFTER), "the other one is quiet"


def test_small_values_have_one_window() -> None:
    pair = Pair(Reserve(), Reserve())
    assert pair.run(pair.stream(), size=20) <= WINDOW


def test_a_sender_gives_its_place_back_when_all_is_received() -> None:
    reserve = Reserve(1)
    pair = Pair(reserve, Reserve())
    pair.run(pair.stream())
    assert not reserve.take(object())
    pair.exchange(left=0)
    pair.advance(1.0)
    assert reserve.take(object())


def test_a_reader_gives_its_place_back_when_the_sender_is_not_far_ahead() -> None:
    reserve = Reserve(1)
    pair = Pair(Reserve(), reserve)
    stream = pair.stream()
    pair.run(stream)
    assert not reserve.take(object())
    # Of small ones nothing more is granted than the window.
    pair.run(stream, size=20)
    pair.run(stream, size=20)
    assert reserve.take(object())


def test_what_a_peer_held_is_given_back_with_it() -> None:
    reserves = Reserve(1), Reserve(1)
    pair = Pair(*reserves)
    stream = pair.stream()
    pair.run(stream)
    pair.fill(stream)
    assert not any(reserve.take(object()) for reserve in reserves)
    for link, reserve in zip((pair.sender, pair.reader), reserves, strict=True):
        link.end()
        assert reserve.take(object())
