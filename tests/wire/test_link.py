"""One link, its peer played by the test."""

from __future__ import annotations

import pytest

from constellation.wire.errors import WireError
from constellation.wire.events import Arrived, Closed, Greeted, Left, Opened, Received, Room
from constellation.wire.frames import VERSION, Bye, Close, Credit, Data, Frame, Hello, Open, Probe
from constellation.wire.link import Link
from constellation.wire.stream import Inbound, Outbound

WINDOW = 1000
FRAGMENT = 100
DELAY = 0.025
PROBE_AFTER = 0.5
HELLO = Hello(VERSION, b"k" * 16, "ipc:///k")


def new_link() -> Link:
    return Link(
        b"k" * 16,
        "ipc:///k",
        window=WINDOW,
        fragment=FRAGMENT,
        ack_delay=DELAY,
        probe_after=PROBE_AFTER,
    )


def sent(link: Link, now: float = 0.0) -> list[Frame]:
    """All that the link has to send now."""
    frames = []
    while (frame := link.next_frame(now)) is not None:
        frames.append(frame)
    assert not link.pending
    link.validate()
    return frames


def opened(link: Link, name: str = "n") -> Outbound:
    stream = link.outbound(name)
    stream.open("int", "pickle")
    return stream


def value(stream: int, sequence: int, size: int = 10) -> Data:
    return Data(stream, sequence, 1, size, False, False, [b"v" * size])


def push(stream: Outbound, size: int = 10) -> None:
    stream.push([b"v" * size], 1, size)


def receiving() -> tuple[Link, Inbound]:
    """A link to which stream 1 was opened, with #1 acknowledged."""
    link = new_link()
    link.receive(Open(1, 1, "n", "int", "pickle"), 0.0)
    (event,) = link.events()
    assert isinstance(event, Opened)
    link.tick(1.0)
    assert sent(link) == [Credit(1, 1, WINDOW, gap=False)]
    return link, event.stream


# -- numbering


def test_streams_are_numbered_from_1_in_the_order_of_their_first_use() -> None:
    link = new_link()
    assert [link.outbound(name).number for name in ("", "a", "b", "a", "")] == [1, 2, 3, 2, 1]


def test_the_records_of_a_stream_share_one_sequence_from_1() -> None:
    link = new_link()
    stream = opened(link)
    push(stream)
    stream.close()
    stream.open("str", "json")
    push(stream)
    assert sent(link) == [
        Open(1, 1, "n", "int", "pickle"),
        value(1, 2),
        Close(1, 3),
        Open(1, 4, "n", "str", "json"),
        value(1, 5),
    ]
    assert stream.last == stream.sent == 5


def test_streams_take_turns() -> None:
    link = new_link()
    first, second = opened(link, "a"), opened(link, "b")
    for stream in (first, second):
        push(stream)
        push(stream)
    frames = [frame for frame in sent(link) if isinstance(frame, (Open, Data))]
    assert [frame.stream for frame in frames] == [1, 2, 1, 2, 1, 2]


@pytest.mark.parametrize("text", ["x" * 70_000, "é" * 33_000, "\ud800"])
@pytest.mark.parametrize("place", ["name", "type", "codec"])
def test_a_text_that_open_cannot_carry_is_refused_and_nothing_is_pushed(
    place: str, text: str
) -> None:
    texts = {"name": "n", "type": "int", "codec": "pickle"} | {place: text}
    link = new_link()
    stream = link.outbound(texts["name"])
    with pytest.raises(ValueError):
        stream.open(texts["type"], texts["codec"])
    assert stream.last == 0
    assert sent(link) == []


# -- routes and HELLO


def test_a_new_route_begins_with_hello_and_everything_not_received_goes_again() -> None:
    link = new_link()
    stream = opened(link)
    push(stream)
    push(stream)
    link.route_up(0.0)
    first = [HELLO, Open(1, 1, "n", "int", "pickle"), value(1, 2), value(1, 3)]
    assert sent(link) == first
    link.receive(Credit(1, 2, WINDOW, gap=False), 0.1)
    link.route_up(0.2)
    assert sent(link) == [HELLO, value(1, 3)]


def test_a_new_route_tells_again_how_far_the_peers_streams_got() -> None:
    link, _ = receiving()
    link.route_up(2.0)
    assert sent(link) == [HELLO, Credit(1, 1, WINDOW, gap=False)]


def test_a_new_route_asks_for_room_whose_credit_may_be_lost() -> None:
    link = new_link()
    stream = opened(link)
    push(stream, 400)
    sent(link)
    link.receive(Credit(1, 5, WINDOW, gap=False), 0.0)
    assert stream.delivered
    link.route_up(1.0)
    assert sent(link) == [HELLO, Probe(1, 5)]
    link.receive(Credit(1, 5, WINDOW + 400, gap=False), 1.0)
    link.route_up(2.0)
    assert sent(link) == [HELLO]


def test_hello_is_repeated_with_probes_until_the_peer_answers() -> None:
    link = new_link()
    stream = opened(link)
    link.route_up(0.0)
    assert sent(link) == [HELLO, Open(1, 1, "n", "int", "pickle")]
    link.tick(1.0)
    assert sent(link) == [HELLO, Probe(1, 1)]
    link.receive(Credit(1, 0, WINDOW, gap=True), 1.0)
    assert sent(link) == [Open(1, 1, "n", "int", "pickle")]
    link.tick(2.0)
    assert sent(link) == [Probe(1, 1)]
    link.receive(Credit(1, 1, WINDOW, gap=False), 2.0)
    assert stream.delivered


def test_who_the_peer_is_is_told() -> None:
    link = new_link()
    link.receive(Hello(VERSION, b"p" * 16, "ipc:///p"), 0.0)
    assert link.events() == [Greeted(VERSION, b"p" * 16, "ipc:///p")]
    assert link.events() == []


# -- acknowledgement and credit


def test_a_receipt_is_acknowledged_within_the_delay_once_for_all_records() -> None:
    link, _ = receiving()
    link.receive(value(1, 2), 2.0)
    link.receive(value(1, 3), 2.01)
    assert sent(link) == []
    assert link.deadline() == 2.0 + DELAY
    link.tick(2.0 + DELAY)
    assert sent(link) == [Credit(1, 3, WINDOW, gap=False)]
    assert link.deadline() is None


def test_a_quarter_of_the_window_is_acknowledged_at_once() -> None:
    link, stream = receiving()
    link.receive(value(1, 2, 250), 2.0)
    assert sent(link) == [Credit(1, 2, WINDOW, gap=False)]
    stream.consumed(250)
    assert sent(link) == [Credit(1, 2, WINDOW + 250, gap=False)]


def test_less_than_a_quarter_is_handed_back_within_the_delay() -> None:
    link, stream = receiving()
    link.receive(value(1, 2, 100), 2.0)
    stream.consumed(100)
    assert sent(link) == []
    link.tick(2.0 + DELAY)
    assert sent(link) == [Credit(1, 2, WINDOW + 100, gap=False)]


def test_credit_is_cumulative_and_a_later_one_repairs_a_lost_one() -> None:
    link = new_link()
    stream = opened(link)
    for _ in range(4):
        push(stream, 90)
    sent(link)
    link.receive(Credit(1, 4, WINDOW + 270, gap=False), 0.0)
    link.receive(Credit(1, 2, WINDOW + 90, gap=False), 0.0)  # an older one that came late
    assert (stream.received, stream.granted) == (4, WINDOW + 270)
    assert link.events() == [Received(stream), Room(stream)]


def test_the_window_is_what_was_granted_and_not_taken() -> None:
    stream = opened(new_link())
    assert stream.fits(WINDOW)
    assert stream.fits(WINDOW + 1)  # nothing is outstanding
    push(stream, 600)
    assert stream.fits(400)
    assert not stream.fits(401)


def test_a_record_larger_than_the_window_passes_when_nothing_is_outstanding() -> None:
    link = new_link()
    stream = opened(link)
    push(stream, 10)
    assert not stream.fits(5 * WINDOW)
    sent(link)
    link.receive(Credit(1, 2, WINDOW, gap=False), 0.0)  # received is not taken
    assert not stream.fits(5 * WINDOW)
    link.receive(Credit(1, 2, WINDOW + 10, gap=False), 0.0)
    assert stream.fits(5 * WINDOW)


def test_what_is_under_way_is_bounded_though_a_large_value_is_not() -> None:
    link = new_link()
    stream = opened(link)
    push(stream, 50 * FRAGMENT)
    frames = sent(link)
    assert len(frames) < 12
    link.receive(Credit(1, len(frames), WINDOW, gap=False), 0.0)
    assert len(sent(link)) > 2


# -- records that cannot be taken yet


def test_a_held_record_and_those_after_it_are_acknowledged_when_it_is_released() -> None:
    link, stream = receiving()
    for number in (2, 3, 4):
        link.receive(value(1, number), 2.0)
    second, third, _ = link.events()
    assert isinstance(second, Arrived)
    assert isinstance(third, Arrived)
    assert (second.record, third.record) == (2, 3)
    stream.hold(third.record)
    link.tick(2.0 + DELAY)
    assert sent(link) == [Credit(1, 2, WINDOW, gap=False)]
    link.receive(value(1, 5), 3.0)
    assert len(link.events()) == 1, "it arrives all the same"
    link.tick(3.0 + DELAY)
    assert sent(link) == [Credit(1, 2, WINDOW, gap=False)]
    stream.release(third.record)
    assert sent(link) == [Credit(1, 5, WINDOW, gap=False)]


def test_several_records_may_be_held() -> None:
    link, stream = receiving()
    for number in (2, 3, 4):
        link.receive(value(1, number), 2.0)
    for record in (4, 2, 4):
        stream.hold(record)
    stream.release(4)
    assert sent(link) == [Credit(1, 1, WINDOW, gap=False)]
    stream.hold(4)
    stream.release(2)
    assert sent(link) == [Credit(1, 3, WINDOW, gap=False)]
    stream.release(4)
    assert sent(link) == [Credit(1, 4, WINDOW, gap=False)]


def test_what_is_held_is_not_asked_for() -> None:
    link, stream = receiving()
    link.receive(value(1, 2), 2.0)
    stream.hold(2)
    link.receive(Probe(1, 2), 3.0)
    assert sent(link) == [Credit(1, 1, WINDOW, gap=False)]
    link.receive(value(1, 2), 3.0)  # it was sent again over another route
    assert len(link.events()) == 1
    link.receive(value(1, 4), 3.0)
    assert sent(link) == [Credit(1, 1, WINDOW, gap=True)], "what is lost is, and that begins there"
    link.receive(value(1, 3), 3.0)
    stream.release(2)
    assert sent(link) == [Credit(1, 3, WINDOW, gap=False)]


def test_the_fragments_before_the_last_of_a_held_value_are_acknowledged() -> None:
    link, stream = receiving()
    link.receive(Data(1, 2, 0, 0, True, False, [b"v"]), 2.0)
    link.receive(Data(1, 3, 1, 10, False, False, [b"w"]), 2.0)
    (event,) = link.events()
    assert isinstance(event, Arrived)
    stream.hold(event.record)
    link.tick(2.0 + DELAY)
    assert sent(link) == [Credit(1, 2, WINDOW, gap=False)]


# -- gaps and PROBE


def test_what_follows_a_gap_goes_again() -> None:
    link = new_link()
    stream = opened(link)
    for _ in range(3):
        push(stream)
    sent(link)
    link.receive(Credit(1, 2, WINDOW, gap=True), 0.0)
    assert sent(link) == [value(1, 3), value(1, 4)]
    link.receive(Credit(1, 1, WINDOW, gap=True), 0.0)  # an older one that came late
    assert sent(link) == []


def test_a_gap_is_asked_for_once_and_again_after_a_probe_or_a_new_route() -> None:
    link, stream = receiving()
    link.receive(value(1, 3), 2.0)
    link.receive(value(1, 4), 2.0)
    assert sent(link) == [Credit(1, 1, WINDOW, gap=True)]
    link.receive(Probe(1, 4), 3.0)
    assert sent(link) == [Credit(1, 1, WINDOW, gap=True)]
    link.route_up(4.0)
    assert sent(link) == [HELLO, Credit(1, 1, WINDOW, gap=False)]
    link.receive(value(1, 3), 4.0)
    assert sent(link) == [Credit(1, 1, WINDOW, gap=True)]
    link.receive(value(1, 2), 5.0)
    link.receive(value(1, 3), 5.0)
    assert stream.received == 3


def test_a_probe_is_answered_at_once() -> None:
    link, _ = receiving()
    link.receive(Probe(1, 1), 2.0)
    assert sent(link) == [Credit(1, 1, WINDOW, gap=False)]


def test_who_gets_no_answer_asks_less_and_less_often() -> None:
    link = new_link()
    stream = opened(link)
    sent(link)
    waits = []
    now = 0.0
    for _ in range(7):
        due = link.deadline()
        assert due is not None
        waits.append(due - now)
        now = due
        link.tick(now)
        assert sent(link, now)[-1] == Probe(1, 1)
    assert waits == [0.5, 1, 2, 4, 8, 8, 8]
    link.receive(Credit(1, 1, WINDOW, gap=False), now)
    link.tick(now + 0.5)
    assert link.deadline() is None
    push(stream)
    sent(link, 100.0)
    assert link.deadline() == 100.5


def test_who_stops_waiting_asks_soon_the_next_time() -> None:
    link = new_link()
    stream = opened(link)
    sent(link)
    link.receive(Credit(1, 1, WINDOW, gap=False), 0.0)
    link.await_room(stream)
    now = 0.0
    for _ in range(5):
        now = link.deadline() or 0.0
        link.tick(now)
        assert sent(link, now) == [Probe(1, 1)]
        link.receive(Credit(1, 1, WINDOW, gap=False), now)
    stream.waiting = False
    link.tick(now + 8)
    assert sent(link) == []
    assert link.deadline() is None
    push(stream)
    sent(link, 100.0)
    assert link.deadline() == 100.5


def test_who_found_no_room_and_gave_up_still_asks_once() -> None:
    link = new_link()
    stream = opened(link)
    push(stream, WINDOW)
    sent(link)
    link.receive(Credit(1, 9, WINDOW, gap=False), 0.0)
    sent(link)
    link.receive(Credit(1, 11, WINDOW, gap=False), 0.0)  # the CREDIT after it is lost
    link.await_room(stream)
    stream.waiting = False
    link.tick(1.0)
    assert sent(link) == [Probe(1, 11)]
    link.receive(Credit(1, 11, 2 * WINDOW, gap=False), 1.0)
    assert stream.fits(WINDOW)
    link.tick(9.0)
    assert sent(link) == []
    assert link.deadline() is None


def test_a_receipt_is_asked_for_after_what_it_is_for() -> None:
    link = new_link()
    stream = opened(link)
    opened(link, "received")
    sent(link)
    link.receive(Credit(2, 1, WINDOW, gap=False), 0.0)
    push(stream)
    link.request_receipt()
    assert sent(link) == [value(1, 2), Probe(1, 2)]


# -- fragments


def test_a_large_value_is_cut_and_put_together() -> None:
    link = new_link()
    stream = opened(link)
    stream.push([b"a" * 120, b"", b"b" * 80, b"c" * 30], 3, 326)
    frames = sent(link)[1:]
    assert [frame.size for frame in frames if isinstance(frame, Data)] == [100, 100, 30]
    assert [(f.count, f.weight, f.more, f.joined) for f in frames if isinstance(f, Data)] == [
        (0, 0, True, False),
        (0, 0, True, True),
        (3, 326, False, True),
    ]
    peer, _ = receiving()
    for frame in frames[:-1]:
        peer.receive(frame, 0.0)
        assert peer.events() == []
    peer.receive(frames[-1], 0.0)
    (arrived,) = peer.events()
    assert isinstance(arrived, Arrived)
    assert arrived.parts == [b"a" * 120, b"", b"b" * 80, b"c" * 30]
    assert (arrived.count, arrived.weight) == (3, 326)
    assert not memoryview(arrived.parts[0]).readonly


# -- CLOSE, undelivered values, BYE


def test_close_comes_in_its_place_and_belongs_to_the_sender_before_the_next_open() -> None:
    link, stream = receiving()
    frames = [value(1, 2), Close(1, 3), Open(1, 4, "n", "str", "json"), value(1, 5), Close(1, 6)]
    for frame in frames:
        link.receive(frame, 2.0)
    kinds = [type(event) for event in link.events()]
    assert kinds == [Arrived, Closed, Opened, Arrived, Closed]
    assert stream.received == 6


def test_values_count_as_undelivered_until_the_last_of_them_is_received() -> None:
    link = new_link()
    stream = opened(link)
    stream.push([b"v" * 250], 7, 250)  # three fragments
    push(stream)
    assert link.undelivered == {"n": 8}
    sent(link)
    for received, left in ((1, 8), (3, 8), (4, 1), (5, 0)):
        link.receive(Credit(1, received, WINDOW, gap=False), 0.0)
        assert link.undelivered == {"n": left}
    assert link.delivered
    stream.close()
    assert not link.delivered
    assert link.undelivered == {"n": 0}


def test_bye_follows_everything_and_names_the_last_record_of_each_stream() -> None:
    link = new_link()
    first, _ = opened(link, "a"), link.outbound("never opened")
    link.leave("exit")
    push(first)
    frames = sent(link)
    assert frames[-1] == Bye("exit", ((1, 2), (2, 0)))
    link.route_up(1.0)
    assert sent(link)[0] == HELLO
    link.receive(Credit(1, 2, WINDOW, gap=False), 1.0)
    link.route_up(2.0)
    frames = sent(link)
    assert frames == [HELLO, Probe(1, 2), Bye("exit", ((1, 2), (2, 0)))]


def test_the_peer_has_left_when_everything_before_its_bye_has_arrived() -> None:
    link, _ = receiving()
    bye = Bye("exit", ((1, 3), (2, 1), (3, 0)))
    link.receive(bye, 2.0)
    assert sent(link) == [Credit(2, 0, WINDOW, gap=True), Credit(1, 1, WINDOW, gap=True)]
    link.receive(value(1, 2), 2.0)
    link.receive(value(1, 3), 2.0)
    assert Left("exit") not in link.events()
    link.receive(Open(2, 1, "m", "int", "pickle"), 2.0)
    assert [type(event) for event in link.events()] == [Opened, Left]
    link.receive(bye, 3.0)
    assert link.events() == []


def test_a_peer_that_sent_nothing_has_left_at_once() -> None:
    link = new_link()
    link.receive(Bye("exit"), 0.0)
    assert link.events() == [Left("exit")]


def test_a_bye_of_stream_0_is_refused() -> None:
    link = new_link()
    with pytest.raises(WireError):
        link.receive(Bye("exit", ((0, 1),)), 0.0)
    assert link.events() == []
    assert not link.pending
