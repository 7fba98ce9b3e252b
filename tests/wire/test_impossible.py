"""Frames that are well formed and that no peer may send: refused, and nothing has changed.

`links.snapshot` is all that a link knows; what is refused or ignored leaves it as it was.
"""

from __future__ import annotations

from typing import Any

import pytest
from links import snapshot

from constellation.wire.errors import WireError
from constellation.wire.events import Arrived, Closed, Opened
from constellation.wire.frames import Close, Credit, Data, Frame, Open, Probe
from constellation.wire.link import Link
from constellation.wire.stream import Outbound

WINDOW = 1024
FRAGMENT = 100


def link_that_received(*frames: Frame) -> Link:
    link = Link(b"r" * 16, "ipc:///r", window=WINDOW, fragment=FRAGMENT)
    for frame in frames:
        link.receive(frame, 0.0)
    return link


def opening(stream: int = 1, sequence: int = 1, name: str = "n") -> Open:
    return Open(stream, sequence, name, "int", "pickle")


def data(sequence: int, *, stream: int = 1, **fields: Any) -> Data:
    known: dict[str, Any] = {"count": 1, "weight": 33, "more": False, "joined": False}
    known |= {"parts": [b"x"]} | fields
    return Data(stream, sequence, **known)


def begun(sequence: int) -> Data:
    return data(sequence, count=0, weight=0, more=True)


REFUSED = {
    "DATA of a stream that was never opened": ([], data(1)),
    "CLOSE of a stream that was never opened": ([], Close(1, 1)),
    "the beginning of a value on a stream that was never opened": ([], begun(1)),
    "OPEN twice": ([opening()], opening(sequence=2)),
    "OPEN of another name": ([opening(), Close(1, 2)], opening(sequence=3, name="m")),
    "CLOSE twice": ([opening(), Close(1, 2)], Close(1, 3)),
    "DATA after CLOSE": ([opening(), Close(1, 2)], data(3)),
    "a fragment after CLOSE": ([opening(), Close(1, 2)], begun(3)),
    "OPEN between fragments": ([opening(), begun(2)], opening(sequence=3)),
    "CLOSE between fragments": ([opening(), begun(2)], Close(1, 3)),
    "OPEN of stream 0": ([], opening(stream=0)),
    "DATA in the middle of stream 0": ([], data(7, stream=0)),
    "OPEN of a name that another stream has": ([opening()], opening(stream=2)),
    "CREDIT of a stream that does not exist": ([], Credit(1, 0, WINDOW, gap=False)),
    "CREDIT of stream 0": ([], Credit(0, 0, WINDOW, gap=True)),
    "DATA that goes on with nothing": ([opening()], data(2, joined=True)),
    "a fragment that goes on with nothing": (
        [opening()],
        data(2, joined=True, more=True, count=0, weight=0),
    ),
    "a fragment that goes on with a part and has none": (
        [opening(), begun(2)],
        data(3, joined=True, parts=[]),
    ),
    "a fragment that goes on with a part where there was none": (
        [opening(), data(2, count=0, weight=0, more=True, parts=[])],
        data(3, joined=True),
    ),
    "a fragment that is not the last and ends values": (
        [opening()],
        data(2, count=1, weight=0, more=True),
    ),
    "a fragment that is not the last and has a weight": (
        [opening()],
        data(2, count=0, weight=1, more=True),
    ),
}


@pytest.mark.parametrize(("before", "frame"), REFUSED.values(), ids=REFUSED)
def test_what_no_peer_may_send_is_refused_and_changes_nothing(
    before: list[Frame], frame: Frame
) -> None:
    link = link_that_received(*before)
    known = snapshot(link)
    with pytest.raises(WireError):
        link.receive(frame, 1.0)
    assert snapshot(link) == known


def test_a_stream_goes_on_after_what_was_refused() -> None:
    link = link_that_received(opening(), begun(2))
    for wrong in (Close(1, 3), opening(sequence=3), data(3, joined=True, parts=[])):
        with pytest.raises(WireError):
            link.receive(wrong, 0.0)
    link.receive(data(3, joined=True, parts=[b"y", b"z"], count=2, weight=70), 0.0)
    link.receive(Close(1, 4), 0.0)
    opened, arrived, closed = link.events()
    assert isinstance(opened, Opened)
    assert isinstance(arrived, Arrived)
    assert isinstance(closed, Closed)
    assert (arrived.parts, arrived.count, arrived.weight) == ([b"xy", b"z"], 2, 70)


IGNORED = {
    "a probe of nothing": ([], Probe(0, 0)),
    "a probe of stream 0": ([], Probe(0, 7)),
    "a probe of a stream of which nothing was sent": ([], Probe(1, 0)),
}


@pytest.mark.parametrize(("before", "frame"), IGNORED.values(), ids=IGNORED)
def test_what_means_nothing_changes_nothing(before: list[Frame], frame: Frame) -> None:
    link = link_that_received(*before)
    known = snapshot(link)
    link.receive(frame, 1.0)
    assert snapshot(link) == known


# -- the end that sends


def sending() -> tuple[Link, Outbound]:
    """A link that has sent #1 and #2 of a stream, got both acknowledged, and sent #3; #4 waits."""
    link = link_that_received()
    stream = link.outbound("n")
    stream.open("int", "pickle")
    for _ in range(3):
        stream.push([b"x" * FRAGMENT], 1, 400)
    for _ in range(3):
        assert link.next_frame(0.0) is not None
    link.receive(Credit(1, 2, WINDOW + 400, gap=False), 0.0)
    assert (stream.sent, stream.last, stream.received) == (3, 4, 2)
    link.events()
    return link, stream


@pytest.mark.parametrize("received", [4, 5, 2**64 - 1])
def test_a_credit_for_what_was_not_sent_is_refused(received: int) -> None:
    link, _ = sending()
    known = snapshot(link)
    with pytest.raises(WireError):
        link.receive(Credit(1, received, 5 * WINDOW, gap=True), 1.0)
    assert snapshot(link) == known


def test_a_credit_for_what_was_sent_on_an_earlier_route_is_taken() -> None:
    link, stream = sending()
    link.route_up(1.0)
    link.receive(Credit(1, 3, WINDOW + 400, gap=False), 1.0)
    assert stream.received == 3
    with pytest.raises(WireError):
        link.receive(Credit(1, 4, WINDOW + 400, gap=False), 1.0)


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("received", [0, 1])
def test_a_credit_that_shrinks_is_ignored(received: int, gap: bool) -> None:
    link, _ = sending()
    known = snapshot(link)
    link.receive(Credit(1, received, WINDOW, gap=gap), 0.0)
    assert snapshot(link) == known


# -- the end that receives


def test_a_record_from_the_future_is_dropped_and_what_is_missing_is_asked_for_once() -> None:
    link = link_that_received(opening())
    stream = link.events()[0].stream  # type: ignore[union-attr]
    assert link.next_frame(0.0) is None
    for sequence in (3, 4, 2**64 - 1):
        link.receive(data(sequence), 0.0)
    assert link.events() == []
    assert stream.received == 1
    assert link.next_frame(0.0) == Credit(1, 1, WINDOW, gap=True)
    assert link.next_frame(0.0) is None


@pytest.mark.parametrize("sequence", [0, 1, 2])
def test_a_record_from_the_past_is_dropped_and_acknowledged_again(sequence: int) -> None:
    link = link_that_received(opening(), data(2))
    link.events()
    link.tick(1.0)
    assert link.next_frame(1.0) == Credit(1, 2, WINDOW, gap=False)
    link.receive(data(sequence, parts=[b"other"]), 2.0)
    assert link.events() == []
    assert link.next_frame(2.0) is None
    link.tick(3.0)
    assert link.next_frame(3.0) == Credit(1, 2, WINDOW, gap=False)


def test_the_middle_of_an_unknown_stream_is_asked_for_from_its_beginning_once() -> None:
    link = link_that_received(data(2), data(3), Probe(1, 3))
    assert link.events() == []
    assert link.next_frame(0.0) == Credit(1, 0, WINDOW, gap=True)
    assert link.next_frame(0.0) is None
