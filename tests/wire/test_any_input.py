"""Any frames against any state of a link: it does what a simple reading of the rules says.

The reading is `Rules`: what `docs/protocol.md` says of the end that receives, without windows,
timers or fast paths.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from links import snapshot

from constellation.wire.errors import WireError
from constellation.wire.events import Arrived, Closed, Event, Greeted, Left, Opened, Received, Room
from constellation.wire.frames import Bye, Close, Credit, Data, Frame, Hello, Open, Probe
from constellation.wire.link import Link

WINDOW = 1000


@dataclass
class Rules:
    """What a peer has sent on one stream."""

    state: str = "closed"
    name: str | None = None
    received: int = 0
    parts: list[bytes] | None = None

    def allows(self, frame: Open | Data | Close) -> bool:
        """Whether the table has something else than a dash, and the rules below it hold."""
        match frame:
            case Open():
                return self.state == "closed" and self.name in {None, frame.name}
            case Close():
                return self.state == "open"
        if self.state == "closed" or (frame.more and (frame.count or frame.weight)):
            return False
        if frame.joined:
            return self.state == "fragments" and bool(frame.parts) and bool(self.parts)
        return True

    def take(self, frame: Open | Data | Close) -> tuple[Any, ...] | None:
        """What the application hears of it."""
        self.received += 1
        match frame:
            case Open():
                self.state, self.name = "open", frame.name
                return ("opened", frame.stream, frame.type, frame.codec)
            case Close():
                self.state = "closed"
                return ("closed", frame.stream)
        parts = list(self.parts or [])
        for index, part in enumerate(frame.parts):
            if index == 0 and frame.joined:
                parts[-1] += part
            else:
                parts.append(bytes(part))
        self.state = "fragments" if frame.more else "open"
        self.parts = parts if frame.more else None
        if frame.more:
            return None
        return ("arrived", frame.stream, parts, frame.count, frame.weight)


def heard(event: Event) -> tuple[Any, ...] | None:
    match event:
        case Opened(inbound, type_name, codec):
            return ("opened", inbound.number, type_name, codec)
        case Closed(inbound):
            return ("closed", inbound.number)
        case Arrived(inbound, parts, count, weight, _):
            return ("arrived", inbound.number, [bytes(p) for p in parts], count, weight)
        case Left(reason):
            return ("left", reason)
        case Greeted() | Received() | Room():
            return None


streams = st.integers(0, 2)
numbers = st.integers(0, 6)
small = st.sampled_from([0, 0, 1, 7])
names = st.sampled_from(["", "a", "b"])
records = st.one_of(
    st.builds(Open, streams, numbers, names, names, names),
    st.builds(
        Data,
        streams,
        numbers,
        small,
        small,
        st.booleans(),
        st.booleans(),
        st.lists(st.binary(max_size=3), max_size=2),
    ),
    st.builds(Close, streams, numbers),
)
others = st.one_of(
    st.builds(Hello, st.just(1), st.just(b"k" * 16), names),
    st.builds(Credit, streams, numbers, st.sampled_from([0, WINDOW, 2 * WINDOW]), st.booleans()),
    st.builds(Probe, streams, numbers),
    st.builds(Bye, names, st.lists(st.tuples(st.integers(1, 2), numbers), max_size=2).map(tuple)),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[Frame]:
    """Frames of any kind; most records have the number that is their turn, if all are taken."""
    frames: list[Frame] = []
    following = [1, 1, 1]
    for _ in range(draw(st.integers(1, 30))):
        frame = draw(st.one_of(records, records, others))
        if isinstance(frame, (Open, Data, Close)) and draw(st.integers(0, 4)):
            change = msgspec.structs.replace if isinstance(frame, Data) else replace
            frame = change(frame, sequence=following[frame.stream])
            following[frame.stream] += draw(st.sampled_from([1, 1, 1, 0]))
        frames.append(frame)
    return frames


class Reader:
    """A link, the simple reading of the rules, and what both have told."""

    def __init__(self) -> None:
        self.link = Link(b"r" * 16, "ipc:///r", window=WINDOW)
        outbound = self.link.outbound("n")
        outbound.open("", "raw")
        outbound.push([b"x"], 1, 33)
        while self.link.next_frame(0.0) is not None:
            pass
        self.rules: dict[int, Rules] = {}
        self.left: Bye | None = None
        self.told_left = False
        self.told: list[tuple[Any, ...]] = []

    def expected(self, frame: Frame) -> bool:
        """Whether it is to be refused; what it makes known is noted."""
        match frame:
            case Open() | Data() | Close():
                return self._expected_record(frame)
            case Credit():
                return frame.stream != 1 or frame.received > 2
            case Bye() if not self.told_left:
                self.left = frame
                self._note_left()
        return False

    def _expected_record(self, frame: Open | Data | Close) -> bool:
        if frame.stream == 0:
            return True
        rules = self.rules.get(frame.stream, Rules())
        if frame.sequence != rules.received + 1:
            return False
        taken = {each.name for number, each in self.rules.items() if number != frame.stream}
        if not rules.allows(frame) or (isinstance(frame, Open) and frame.name in taken):
            return True
        self.rules[frame.stream] = rules
        told = rules.take(frame)
        if told is not None:
            self.told.append(told)
        self._note_left()
        return False

    def _note_left(self) -> None:
        if self.left is None or self.told_left:
            return
        received = {number: rules.received for number, rules in self.rules.items()}
        if all(received.get(number, 0) >= last for number, last in self.left.last):
            self.told_left = True
            self.told.append(("left", self.left.reason))


@settings(max_examples=150)
@given(conversations())
def test_any_frames_in_any_order_do_what_the_rules_say(frames: list[Frame]) -> None:
    reader = Reader()
    for frame in frames:
        link = reader.link
        known = snapshot(link)
        try:
            link.receive(frame, 0.0)
        except WireError:
            refused = True
            assert snapshot(link) == known
        else:
            refused = False
        assert refused is reader.expected(frame), str(frame)
        link.validate()
        assert [told for event in link.events() if (told := heard(event))] == reader.told
        reader.told.clear()
        link.tick(1.0)
        while (answer := link.next_frame(1.0)) is not None:
            if isinstance(answer, Credit) and answer.stream in reader.rules:
                assert answer.received == reader.rules[answer.stream].received
