"""Two links on a network where everything goes wrong that can: what must hold all the same.

The model of a stream is a list of what was pushed: OPEN, values, CLOSE. What arrives is at every
moment a beginning of that list, and all of it when the network has settled.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from constellation.testing import End, ManualClock, Route, SimulatedNetwork
from constellation.wire.events import Arrived, Closed, Greeted, Left, Opened, Received, Room
from constellation.wire.frames import Frame
from constellation.wire.link import Link
from constellation.wire.reserve import Reserve
from constellation.wire.stream import Inbound, Outbound

WINDOW = 2000
FRAGMENT = 256
COST = 32
NAMES = ["", "a"]
# Many small ones; some that are cut; some that are larger than the window.
SIZES = st.one_of(st.integers(0, 60), st.sampled_from([FRAGMENT, FRAGMENT + 1, 700, 1900, 5000]))

Item = tuple[Any, ...]


@dataclass
class Channel:
    """What is known of one stream without looking into the links."""

    pushed: list[Item] = field(default_factory=list)
    arrived: list[Item] = field(default_factory=list)
    unread: list[tuple[Inbound, int]] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)  # of the records pushed and not taken
    open: bool = False


class HoldingLink(Link):
    """A link whose application cannot have some of what arrives, for a while.

    Attributes:
        chance: How much of it that is.
        held: What it holds.
    """

    chance = 0.0
    random = random.Random()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.held: list[tuple[Inbound, int]] = []

    def receive(self, frame: Frame, now: float) -> None:
        told = len(self.happened)
        super().receive(frame, now)
        for event in list(self.happened)[told:]:
            if type(event) is Arrived and self.random.random() < self.chance:
                event.stream.hold(event.record)
                event.stream.hold(event.record)  # once is enough
                self.held.append((event.stream, event.record))

    def release(self, index: int) -> None:
        inbound, record = self.held.pop(index)
        inbound.release(record)


def new_link(key: bytes, reserve: Reserve | None = None) -> HoldingLink:
    endpoint = f"ipc:///{key.decode()}"
    return HoldingLink(key * 16, endpoint, window=WINDOW, fragment=FRAGMENT, reserve=reserve)


class TwoLinks(RuleBasedStateMachine):
    widest = WINDOW  # what may be granted ahead

    @initialize(
        seed=st.integers(0, 2**16),
        at_once=st.booleans(),
        holding=st.sampled_from([0.0, 0.3, 1.0]),
    )
    def begin(self, seed: int, at_once: bool, holding: float) -> None:
        links = [new_link(key, self.reserve()) for key in (b"a", b"b")]
        self.network = SimulatedNetwork(ManualClock(), *links, seed=seed)
        # From this end to the other.
        self.channels = {end: {name: Channel() for name in NAMES} for end in self.network.ends}
        self.leaving: set[End] = set()
        self.counter = 0
        for index in range(2):
            link = self.link(index)
            link.chance, link.random = holding, random.Random(seed + index)
        if at_once:
            # Both dial, and each sends on the route that the other does not send on.
            self.push(0, "", [1], "send")
            self.push(1, "", [1], "send")

    def reserve(self) -> Reserve | None:
        return None

    # -- what applications do

    def stream(self, index: int, name: str) -> tuple[End, Channel, Outbound]:
        end = self.network.ends[index]
        return end, self.channels[end][name], end.link.outbound(name)

    @rule(
        index=st.integers(0, 1),
        name=st.sampled_from(NAMES),
        sizes=st.lists(SIZES, min_size=1, max_size=5),
        fate=st.sampled_from(["wait", "send", "lose the first", "lose all"]),
    )
    def push(self, index: int, name: str, sizes: list[int], fate: str) -> None:
        end, channel, stream = self.stream(index, name)
        if not end.alive or end in self.leaving:
            return
        if not channel.open:
            self.counter += 1
            stream.open(f"type {self.counter}", "raw")
            channel.pushed.append(("open", name, f"type {self.counter}", "raw"))
            channel.open = True
        values = [self.value(size) for size in sizes]
        weight = sum(map(len, values)) + COST * len(values)
        if stream.fits(weight):
            stream.push(list(values), len(values), weight)
            channel.pushed.append(("values", tuple(values), len(values), weight))
            channel.weights.append(weight)
            stream.waiting = False
        else:
            end.link.await_room(stream)
        match fate:
            case "send":
                self.network.send(end)
            case "lose the first":
                self.network.lose(end)
                self.network.send(end)
            case "lose all":
                self.network.lose(end, 100)
                self.network.send(end)
                end.losing = 0

    def value(self, size: int) -> bytes:
        self.counter += 1
        return (self.counter.to_bytes(4, "big") * (size // 4 + 1))[:size]

    @rule(index=st.integers(0, 1), name=st.sampled_from(NAMES))
    def close(self, index: int, name: str) -> None:
        _, channel, stream = self.stream(index, name)
        if channel.open:
            stream.close()
            channel.pushed.append(("close",))
            channel.open = False

    @rule(index=st.integers(0, 1), name=st.sampled_from(NAMES))
    def give_up_waiting(self, index: int, name: str) -> None:
        self.stream(index, name)[2].waiting = False

    @rule(index=st.integers(0, 1), name=st.sampled_from(NAMES), records=st.integers(1, 20))
    def take(self, index: int, name: str, records: int) -> None:
        _, channel, _ = self.stream(index, name)
        for inbound, weight in channel.unread[:records]:
            inbound.consumed(weight)
            assert channel.weights.pop(0) == weight
        del channel.unread[:records]

    @rule(index=st.integers(0, 1), data=st.data())
    def release(self, index: int, data: st.DataObject) -> None:
        link = self.link(index)
        if link.held:
            link.release(data.draw(st.integers(0, len(link.held) - 1)))

    def link(self, index: int) -> HoldingLink:
        link = self.network.ends[index].link
        assert isinstance(link, HoldingLink)
        return link

    @rule(index=st.integers(0, 1))
    def ask_for_receipts(self, index: int) -> None:
        self.network.ends[index].link.request_receipt()

    # -- what networks do

    @rule(index=st.integers(0, 1))
    def send(self, index: int) -> None:
        self.network.send(self.network.ends[index])

    @rule(messages=st.integers(1, 8))
    def deliver(self, messages: int) -> None:
        for _ in range(messages):
            self.network.deliver()
        self.look()

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.03, 0.6, 9.0]))
    def advance(self, seconds: float) -> None:
        self.network.advance(seconds)

    @rule(index=st.integers(0, 1), frames=st.integers(1, 3), now=st.booleans())
    def lose(self, index: int, frames: int, now: bool) -> None:
        self.network.lose(self.network.ends[index], frames)
        if now:
            self.network.send(self.network.ends[index])

    def routes(self, *, up: bool) -> list[Route]:
        return [route for route in self.network.routes if route.up is up]

    @precondition(lambda self: self.routes(up=True))
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        self.network.cut(data.draw(st.sampled_from(self.routes(up=True))))
        self.look()

    @precondition(lambda self: self.routes(up=False))
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        self.network.restore(data.draw(st.sampled_from(self.routes(up=False))))

    # -- what arrived

    def look(self) -> None:
        for end in self.network.ends:
            channels = self.channels[self.network.other(end)]
            for event in end.events:
                match event:
                    case Opened(inbound, type_name, codec):
                        item = ("open", inbound.name, type_name, codec)
                        channels[inbound.name].arrived.append(item)
                    case Arrived(inbound, parts, count, weight, _):
                        values = tuple(bytes(part) for part in parts)
                        channels[inbound.name].arrived.append(("values", values, count, weight))
                        channels[inbound.name].unread.append((inbound, weight))
                    case Closed(inbound):
                        channels[inbound.name].arrived.append(("close",))
                    case Greeted(version, key, endpoint):
                        assert (version, key) == (1, endpoint[-1:].encode() * 16)
                    case Received(stream):
                        assert stream.received <= stream.last
                    case Room(stream):
                        assert stream.granted <= stream.pushed + self.widest
                    case Left():
                        self.left(end)
            end.events.clear()

    def left(self, end: End) -> None:
        raise AssertionError(f"the peer of {end} has not left")

    # -- what holds

    @invariant()
    def nothing_is_lost_repeated_or_reordered(self) -> None:
        for channels in self.channels.values():
            for channel in channels.values():
                assert channel.arrived == channel.pushed[: len(channel.arrived)]

    @invariant()
    def the_window_is_never_exceeded(self) -> None:
        for channels in self.channels.values():
            for channel in channels.values():
                within = sum(channel.weights) <= self.widest
                assert within or sum(channel.weights[:-1]) <= self.widest - WINDOW

    @invariant()
    def what_is_held_is_not_acknowledged(self) -> None:
        for index, end in enumerate(self.network.ends):
            other = self.network.other(end).link
            for inbound, record in self.link(index).held:
                assert other.outbound(inbound.name).received < record

    @invariant()
    def the_links_are_consistent(self) -> None:
        for end in self.network.ends:
            end.link.validate()

    @rule(really=st.sampled_from([False, False, False, True]))
    def settle(self, really: bool = True) -> None:
        """It always comes to an end, and no timer goes on after it."""
        if not really:
            return
        if not all(end.alive for end in self.network.ends):
            return
        for end in self.network.ends:
            for name in NAMES:
                end.link.outbound(name).waiting = False
        self.release_all()
        self.network.settle()
        self.look()
        for end in self.network.ends:
            assert end.link.delivered
            assert not any(end.link.undelivered.values())
            assert end.link.deadline() is None
            for channel in self.channels[end].values():
                assert channel.arrived == channel.pushed
                assert len(channel.unread) == len(channel.weights)
        for index, end in enumerate(self.network.ends):
            for name, channel in self.channels[end].items():
                self.take(index, name, len(channel.unread))

    def release_all(self) -> None:
        """What is held stays so, however often it is asked for, and is released in any order."""
        for seconds in (0.0, 0.03, 0.6):
            self.network.advance(seconds)
            self.network.exchange()
            self.look()
            self.what_is_held_is_not_acknowledged()
        for index in range(2):
            link = self.link(index)
            link.chance = 0.0
            while link.held:
                link.release(link.random.randrange(len(link.held)))
                self.network.exchange()
                self.what_is_held_is_not_acknowledged()

    def teardown(self) -> None:
        if hasattr(self, "network") and all(end.alive for end in self.network.ends):
            self.settle()
            self.everybody_gets_room()

    def everybody_gets_room(self) -> None:
        """All was taken: who asks finds the whole window, whatever was lost."""
        for end in self.network.ends:
            for name in NAMES:
                stream = end.link.outbound(name)
                if stream.granted < stream.pushed + WINDOW:
                    end.link.await_room(stream)
                    stream.waiting = False  # it gives up, and is told all the same
        self.network.settle()
        for end in self.network.ends:
            for name in NAMES:
                stream = end.link.outbound(name)
                assert WINDOW <= stream.granted - stream.pushed <= self.widest
                assert stream.fits(10 * WINDOW)


class TwoWideLinks(TwoLinks):
    """The same, where one stream at a time of each process may be ahead by another window."""

    widest = 2 * WINDOW

    def reserve(self) -> Reserve | None:
        return Reserve(1)


class TwoLinksThatEnd(TwoLinks):
    """The same, and they leave or die."""

    @initialize(
        seed=st.integers(0, 2**16),
        at_once=st.booleans(),
        holding=st.sampled_from([0.0, 0.3, 1.0]),
    )
    def begin(self, seed: int, at_once: bool, holding: float) -> None:
        super().begin(seed, at_once, holding)
        self.told: set[End] = set()

    @precondition(
        lambda self: any(c.pushed for each in self.channels.values() for c in each.values())
    )
    @rule(index=st.integers(0, 1))
    def leave(self, index: int) -> None:
        end = self.network.ends[index]
        for name in NAMES:
            self.close(index, name)
        end.link.leave("exit")
        self.leaving.add(end)

    @rule(index=st.integers(0, 1), really=st.sampled_from([False, False, False, True]))
    def kill(self, index: int, really: bool) -> None:
        if really:
            self.network.kill(self.network.ends[index])
            self.look()

    def left(self, end: End) -> None:
        other = self.network.other(end)
        assert other in self.leaving
        assert end not in self.told, "it is told once"
        self.told.add(end)
        for channel in self.channels[other].values():
            assert channel.arrived == channel.pushed, "it has left when all of it is here"


bounds = settings(max_examples=100, stateful_step_count=60)
TestTwoLinks = TwoLinks.TestCase
TestTwoLinks.settings = bounds
TestTwoLinksThatEnd = TwoLinksThatEnd.TestCase
TestTwoLinksThatEnd.settings = bounds
TestTwoWideLinks = TwoWideLinks.TestCase
TestTwoWideLinks.settings = bounds
