"""What is done in short for most messages is what the general way does.

Two links live through the same. One goes the short ways where they are open, the other never does.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from links import snapshot

from constellation.wire.codec import INLINE_LIMIT, decode, encode
from constellation.wire.errors import WireError
from constellation.wire.events import Arrived
from constellation.wire.frames import Bye, Close, Credit, Data, Hello, Open, Probe
from constellation.wire.link import Link

WINDOW = 1000
FRAGMENT = 100

sizes = st.sampled_from([0, 1, 30, FRAGMENT, FRAGMENT + 1, 3 * FRAGMENT])
steps = st.one_of(
    st.tuples(st.just("push"), st.sampled_from("ab"), sizes, st.integers(1, 3)),
    st.tuples(st.just("push"), st.sampled_from("ab"), sizes, st.integers(1, 3)),
    st.tuples(st.just("credit"), st.integers(1, 2), st.integers(0, 6), st.booleans()),
    st.tuples(st.just("next")),
    st.tuples(st.just("later")),
    st.tuples(st.just("route")),
    st.tuples(st.just("ask")),
    st.tuples(st.just("leave")),
    st.tuples(st.just("came")),
)


def new_link() -> Link:
    link = Link(b"k" * 16, "ipc:///k", window=WINDOW, fragment=FRAGMENT)
    for name in "ab":
        link.outbound(name).open("", "raw")
    link.receive(Open(1, 1, "n", "", "raw"), 0.0)
    link.events()
    return link


def do(link: Link, step: tuple[Any, ...], now: float) -> object:
    """What both do in the same way."""
    match step:
        case ("credit", number, received, gap):
            granted = WINDOW + 10 * received
            try:
                link.receive(Credit(number, received, granted, gap), now)
            except WireError as error:
                return str(error)
        case ("next",):
            return link.next_frame(now)
        case ("later",):
            link.tick(now)
        case ("route",):
            link.route_up(now)
        case ("ask",):
            link.request_receipt()
        case ("leave",):
            link.leave("exit")
        case ("came",):
            link.receive(Data(1, 2, 1, 1, False, False, [b"v"]), now)
            link.events()
    return None


@given(st.lists(steps, max_size=40))
def test_what_is_dispatched_is_what_would_be_pushed_and_sent(taken: list[tuple[Any, ...]]) -> None:
    short, general = new_link(), new_link()
    now = 0.0
    for step in taken:
        now += 0.2
        if step[0] != "push":
            assert do(short, step, now) == do(general, step, now)
        else:
            _, name, size, count = step
            stream, other = short.outbound(name), general.outbound(name)
            part = b"v" * size
            assert stream.fits(size) == other.fits(size)
            if not stream.fits(size):
                continue
            before = known(short)
            message = stream.dispatch(part, count, size)
            other.push([part], count, size)
            if message is None:
                assert known(short) == before
                stream.push([part], count, size)
            else:
                frame = general.next_frame(now)
                assert frame is not None
                assert [message] == encode(frame)
                assert general.next_frame(now) is None
        short.validate()
        assert known(short) == known(general)
        assert short.deadline() == general.deadline()


def test_what_comes_alone_is_dispatched() -> None:
    link = Link(b"k" * 16, "ipc:///k")
    stream = link.outbound("n")
    stream.open("", "raw")
    link.route_up(0.0)
    assert stream.dispatch(b"v", 1, 33) is None, "the stream is not told of yet"
    while link.next_frame(0.0) is not None:
        pass
    for size in (1, INLINE_LIMIT):
        message = stream.dispatch(b"v" * size, 1, size)
        assert message is not None
        assert decode([message]) == Data(1, stream.last, 1, size, False, False, [b"v" * size])
    assert stream.dispatch(bytes(INLINE_LIMIT + 1), 1, 33) is None
    link.tick(1.0)
    assert stream.dispatch(b"v", 1, 33) is None, "PROBE goes before it"


numbers = st.integers(0, 6)
parts = st.lists(st.binary(max_size=40), max_size=3)
frames = st.one_of(
    st.builds(
        Data, st.integers(0, 2), numbers, st.integers(0, 3), numbers, *[st.booleans()] * 2, parts
    ),
    st.builds(Open, st.integers(1, 2), numbers, st.sampled_from("nm"), st.just(""), st.just("raw")),
    st.builds(Close, st.integers(1, 2), numbers),
    st.builds(Probe, st.integers(0, 2), numbers),
    st.builds(Credit, st.integers(1, 2), numbers, numbers, st.booleans()),
    st.builds(Bye, st.just("exit"), st.just(((1, 3),))),
    st.builds(Hello, st.just(1), st.just(b"k" * 16), st.just("ipc:///k")),
)
plain = st.builds(
    Data,
    st.just(1),
    numbers,
    st.integers(1, 3),
    numbers,
    st.just(False),
    st.just(False),
    st.lists(st.binary(max_size=40), min_size=1, max_size=1),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[list[Any], bool]]:
    """Messages, most of them whose turn it is, and whether events are taken after each."""
    following = 2
    messages = []
    for frame in draw(st.lists(st.one_of(frames, plain, plain), max_size=30)):
        if isinstance(frame, Data) and frame.stream == 1 and draw(st.integers(0, 3)):
            frame.sequence = following
            following += 1
        message = encode(frame)
        if draw(st.integers(0, 9)) == 0:
            message[0] = message[0][: draw(st.integers(0, len(message[0])))]
        messages.append((message, draw(st.integers(0, 5)) > 0))
    return messages


@given(conversations())
def test_what_arrives_the_short_way_arrives_as_by_the_general_one(
    messages: list[tuple[list[Any], bool]],
) -> None:
    short, general = new_link(), new_link()
    now = 0.0
    for message, told in messages:
        now += 0.01
        before = known(short)
        event = short.arrive(message[0], now) if len(message) == 1 else None
        if event is None:
            assert known(short) == before
        errors = []
        for link in [general] if event is not None else [short, general]:
            try:
                link.receive(decode(copy.copy(message)), now)
            except WireError as error:
                errors.append(str(error))
        if event is not None:
            assert not errors
            told_too = general.happened[-1]
            assert isinstance(told_too, Arrived)
            assert fields(event) == fields(told_too)
            assert event is short.happened[-1]
        else:
            assert len(errors) in (0, 2)
        if told:
            short.events()
            general.events()
        assert known(short) == known(general)
        assert short.deadline() == general.deadline()


def fields(event: Arrived) -> tuple[Any, ...]:
    return event.stream.number, event.parts, event.count, event.weight, event.record


def known(link: Link) -> str:
    """All that a link knows, as text: each has streams of its own."""
    return re.sub(r"<memory at \w+>", "<memory>", repr(snapshot(link)))


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_values_whose_turn_it_is_arrive_the_short_way(size: int) -> None:
    link = new_link()
    data = Data(1, 2, 1, 5, False, False, [b"v" * size])
    (message,) = encode(data)
    assert isinstance(message, bytes)
    event = link.arrive(message, 0.1)
    assert event is not None
    assert (event.parts, event.count, event.weight, event.record) == ([b"v" * size], 1, 5, 2)
    assert link.arrive(message, 0.1) is None, "it has come already"
    assert link.events() == [event]
