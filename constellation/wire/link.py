"""One peer: all streams to and from it, over whichever route there is.

The verbs, in the order of their use: `receive` a frame, take its `events`; push to the `outbound`
streams and say what was `consumed` of the inbound ones; take each `next_frame` until there is none;
`tick` when `deadline` has come. `route_up` tells that a route is new: what was under way on another
may be lost, and everything not received goes again. An error changes nothing.

| waiting for | asked again by |
| --- | --- |
| receipt of what was sent | PROBE after an idle time, and less and less often after that |
| room in the window | the same |
| a CREDIT that was lost | the answer to PROBE, or any later CREDIT |
| a HELLO that was lost | each PROBE, until a CREDIT comes |
| a BYE that was lost | `route_up` |
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from constellation.wire.codec import PLAIN, PLAIN_SIZE, unpack_plain
from constellation.wire.errors import WireError
from constellation.wire.events import Arrived, Event, Greeted, Left, Received, Room
from constellation.wire.frames import (
    VERSION,
    Bye,
    Close,
    Credit,
    Data,
    Frame,
    Hello,
    Open,
    Probe,
)
from constellation.wire.reserve import Reserve
from constellation.wire.stream import Inbound, Outbound

__all__ = ["ACK_DELAY", "FRAGMENT", "PROBE_AFTER", "WINDOW", "Link"]

WINDOW = 4 << 20
"""Bytes that a stream may be ahead of its reader."""
FRAGMENT = (1 << 20) + (64 << 10)
"""Bytes of a frame: a larger value is cut, so that it does not hold up other streams. A MiB of
numbers, with what belongs to them, goes in one."""
ACK_DELAY = 0.025
"""Seconds within which a receipt is acknowledged."""
PROBE_AFTER = 0.5
"""Seconds without an answer after which the peer is asked."""
_PROBE_AT_MOST = 8.0
ALONE_AFTER = 1.0
"""Seconds for which no other stream was sent on until one has its link for itself."""


class Link:
    """The protocol with one peer.

    Args:
        key: This process's key.
        endpoint: Where this process can be reached.
        window: Bytes that a stream may be ahead of its reader; the same at both ends.
        fragment: The most bytes of a frame.
        ack_delay: Seconds within which a receipt is acknowledged.
        probe_after: Seconds without an answer after which the peer is asked.
        reserve: Which streams may be further ahead of their readers; None: none may.

    Attributes:
        latest: The stream that was last sent on.
        shared: Whether it was another one before, since that was last looked at.
        acks: The streams whose CREDIT is to be sent in time.
        happened: What is to be told.
    """

    def __init__(
        self,
        key: bytes,
        endpoint: str,
        *,
        window: int = WINDOW,
        fragment: int = FRAGMENT,
        ack_delay: float = ACK_DELAY,
        probe_after: float = PROBE_AFTER,
        reserve: Reserve | None = None,
    ) -> None:
        self._hello = Hello(VERSION, key, endpoint)
        self._window = window
        self._fragment = fragment
        self._ack_delay = ack_delay
        self._probe_after = probe_after
        self._outbound: dict[str, Outbound] = {}
        self._by_number: dict[int, Outbound] = {}
        self._inbound: dict[int, Inbound] = {}
        self._inbound_names: set[str] = set()
        self._control: deque[Frame] = deque()  # HELLO, PROBE: lost with their route
        self._known = False  # the peer has answered on this route, so it got HELLO
        self._credits: dict[Inbound, None] = {}  # those whose CREDIT is to be sent now
        self.acks: dict[Inbound, None] = {}  # those whose CREDIT is to be sent at `_ack_at`
        self._ack_at: float | None = None
        self._probe_at: float | None = None
        self._probe_wait = probe_after
        self._ready: deque[Outbound] = deque()
        self._asking = False  # a receipt is wanted
        self._reason: str | None = None  # why this process leaves
        self._bye_due = False
        self._bye: Bye | None = None  # the peer's, while something is missing of what it sent
        self._left = False
        self.happened: deque[Event] = deque()
        self._now = 0.0
        self.reserve = reserve
        self.latest: Outbound | None = None
        self.shared = False
        self._shared_at = -ALONE_AFTER  # when that was seen last

    # -- for the application

    def outbound(self, name: str) -> Outbound:
        """The stream to the peer of this name, made on first use."""
        stream = self._outbound.get(name)
        if stream is None:
            number = len(self._outbound) + 1
            stream = Outbound(self, name, number, window=self._window, fragment=self._fragment)
            self._outbound[name] = self._by_number[number] = stream
        return stream

    @property
    def delivered(self) -> bool:
        """Whether the peer has received everything that was pushed."""
        return all(stream.delivered for stream in self._outbound.values())

    @property
    def streams(self) -> Collection[Outbound]:
        """All streams to the peer."""
        return self._outbound.values()

    @property
    def undelivered(self) -> dict[str, int]:
        """How many values of each stream the peer is not known to have received."""
        return {name: stream.undelivered for name, stream in self._outbound.items()}

    def request_receipt(self) -> None:
        """Ask the peer how far the streams got, as soon as all of them are sent."""
        self._asking = True

    def leave(self, reason: str) -> None:
        """Say that this process leaves. Nothing can be pushed after it."""
        self._reason = reason
        self._bye_due = True

    # -- input

    def receive(self, frame: Frame, now: float) -> None:
        """Take a frame.

        Raises:
            WireError: No peer may send this; it changed nothing.
        """
        self._now = now
        if type(frame) is Data:
            self._receive_record(frame)
            return
        match frame:
            case Open() | Close():
                self._receive_record(frame)
            case Credit():
                self._receive_credit(frame)
            case Probe():
                inbound = self._inbound.get(frame.stream)
                if inbound is not None:
                    inbound.probed(frame.last)
                elif frame.stream > 0 and frame.last > 0:
                    self._unknown(frame.stream)
            case Hello():
                self.happened.append(Greeted(frame.version, frame.key, frame.endpoint))
            case Bye():
                self._receive_bye(frame)

    def arrive(self, header: bytes, now: float) -> Arrived | None:
        """Take a message as most are: in one part, and whole values in order in it.

        As `decode` and `receive`, where these would tell this event and nothing else. Else this
        does nothing, and gives None.
        """
        if len(header) < PLAIN_SIZE:
            return None
        kind, number, sequence, count, weight, parts = unpack_plain(header)
        stream = self._inbound.get(number)
        if (
            kind != PLAIN
            or parts != 1
            or stream is None
            or not stream.plain
            or sequence != stream.received + 1
            or self.happened
            or self._bye is not None
        ):
            return None
        self._now = now
        return stream.arrive(
            sequence, [header[PLAIN_SIZE:]], count, weight, len(header) - PLAIN_SIZE
        )

    def _receive_record(self, frame: Open | Data | Close) -> None:
        stream = self._inbound.get(frame.stream)
        if stream is None:
            if frame.stream == 0:
                raise WireError(f"{frame}, but streams are numbered from 1")
            if frame.sequence != 1:
                self._unknown(frame.stream)
                return
            if type(frame) is Open and frame.name in self._inbound_names:
                raise WireError(f"{frame}, but another stream has the name")
            stream = self._inbound[frame.stream] = Inbound(self, frame.stream, window=self._window)
            try:
                stream.receive(frame)
            except WireError:
                del self._inbound[frame.stream]
                raise
            self._inbound_names.add(stream.name)
        else:
            stream.receive(frame)
        if self._bye is not None:
            self._check_left(self._bye)

    def _receive_bye(self, frame: Bye) -> None:
        if any(stream == 0 for stream, _ in frame.last):
            raise WireError(f"{frame}, but streams are numbered from 1")
        if self._left:
            return
        for number, last in frame.last:
            inbound = self._inbound.get(number)
            if inbound is None:
                if last > 0:
                    self._unknown(number)
            elif inbound.received < last:
                inbound.probed(last)
        self._check_left(frame)

    def _check_left(self, bye: Bye) -> None:
        received = {number: stream.received for number, stream in self._inbound.items()}
        self._left = all(received.get(number, 0) >= last for number, last in bye.last)
        self._bye = None if self._left else bye
        if self._left:
            self.happened.append(Left(bye.reason))

    def _unknown(self, number: int) -> None:
        """Something of a stream whose beginning is lost."""
        credit = Credit(number, 0, self._window, gap=True)
        if credit not in self._control:
            self._control.append(credit)

    def _receive_credit(self, frame: Credit) -> None:
        stream = self._by_number.get(frame.stream)
        if stream is None:
            raise WireError(f"{frame}, but there is no such stream")
        progressed, grown = stream.credit(frame)
        self._known = True
        if progressed or grown:
            self._probe_wait = self._probe_after
            self._probe_at = self._now + self._probe_wait
        if progressed:
            self.happened.append(Received(stream))
        if grown:
            self.happened.append(Room(stream))
        if stream.sendable:
            self.queue(stream)

    def events(self) -> list[Event]:
        """What has happened since the last call."""
        events = list(self.happened)
        self.happened.clear()
        return events

    def route_up(self, now: float) -> None:
        """There is a new route. What is not received yet goes again, from its beginning."""
        self._now = now
        self._control.clear()
        self._control.append(self._hello)
        self._known = False
        self._bye_due = self._reason is not None
        self._probe_wait = self._probe_after
        self._probe_at = now + self._probe_wait
        for inbound in self._inbound.values():
            inbound.new_route()
        for stream in self._outbound.values():
            stream.rewind()
            if stream.sendable:
                self.queue(stream)
            elif stream.narrow:
                # A CREDIT may have been lost. Nobody else would ask for it before the next record.
                self._probe(stream)

    # -- output

    @property
    def pending(self) -> bool:
        """Whether there is a frame to send."""
        return bool(self._ready or self._credits or self._control or self._asking or self._bye_due)

    def idle(self) -> bool:
        """Whether there is nothing to send, and the next record sets no timer: one is set."""
        return not (
            self._ready
            or self._credits
            or self._control
            or self._asking
            or self._bye_due
            or self._probe_at is None
        )

    def next_frame(self, now: float) -> Frame | None:
        """The next frame to send; None if there is none now."""
        if self._control:
            return self._control.popleft()
        if self._credits:
            stream, _ = self._credits.popitem()
            self.acks.pop(stream, None)
            return stream.credit()
        while self._ready:
            outbound = self._ready[0]
            frame = outbound.next_frame()
            if outbound.more:
                # Streams take turns, so that a large value holds up none of the others.
                self._ready.rotate(-1)
            else:
                outbound.queued = False
                self._ready.popleft()
            if frame is not None:
                if self._probe_at is None:
                    self._probe_at = now + self._probe_wait
                return frame
        if self._asking:
            self._asking = False
            for each in self._outbound.values():
                if not each.delivered:
                    self._probe(each)
            if self._control:
                return self._control.popleft()
        if self._bye_due:
            self._bye_due = False
            assert self._reason is not None
            ends = ((stream.number, stream.last) for stream in self._outbound.values())
            return Bye(self._reason, tuple(ends))
        return None

    # -- time

    def deadline(self) -> float | None:
        """When `tick` is to be called."""
        ack = self._ack_at if self.acks else None
        if ack is None or (self._probe_at is not None and self._probe_at < ack):
            return self._probe_at
        return ack

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._now = now
        if self._ack_at is not None and now >= self._ack_at:
            self._ack_at = None
            self._credits.update(self.acks)
            self.acks.clear()
        if self._probe_at is not None and now >= self._probe_at:
            asking = [stream for stream in self._outbound.values() if stream.asks]
            if asking and not self._known:
                # Without it the peer takes nothing.
                self._control.append(self._hello)
            for stream in asking:
                self._probe(stream)
            # A stopped peer answers none of them, and gets all of them when it goes on.
            longer = min(self._probe_wait * 2, _PROBE_AT_MOST)
            self._probe_wait = longer if asking else self._probe_after
            self._probe_at = now + self._probe_wait if asking else None

    def _probe(self, stream: Outbound) -> None:
        # What is still unsent is not asked for: control frames go before it.
        self._control.append(Probe(stream.number, stream.sent))

    # -- for the streams

    def queue(self, stream: Outbound) -> None:
        """The stream has something to send."""
        if not stream.queued:
            stream.queued = True
            self._ready.append(stream)

    def acknowledge(self, stream: Inbound, *, soon: bool) -> None:
        """The stream has something to tell the peer: now, or within the delay."""
        if soon:
            self._credits[stream] = None
        elif stream not in self.acks:
            if not self.acks:
                self._ack_at = self._now + self._ack_delay
            self.acks[stream] = None

    def widens(self, stream: Outbound) -> bool:
        """Whether a stream may be further ahead: it has the link for itself, and a place.

        What is under way holds up what other streams send next, on the same route.
        """
        if self.reserve is None:
            return False
        if self.shared:
            self.shared = False
            self._shared_at = self._now
        return self._now - self._shared_at >= ALONE_AFTER and self.reserve.take(stream)

    def narrows(self, stream: Outbound) -> None:
        """A stream is not further ahead any more."""
        if self.reserve is not None:
            self.reserve.give_back(stream)

    def end(self) -> None:
        """The peer is gone: nothing is ahead of anybody any more."""
        if self.reserve is not None:
            for stream in (*self._outbound.values(), *self._inbound.values()):
                self.reserve.give_back(stream)

    def await_room(self, stream: Outbound) -> None:
        """Somebody waits for room in the stream: ask for it if it takes long."""
        stream.waiting = stream.wanting = True
        if self._probe_at is None:
            self._probe_at = self._now + self._probe_wait

    def ask_room(self, stream: Outbound) -> None:
        """Ask the peer now how much room there is. The stream is `wanting` until it has said."""
        stream.wanting = True
        self._probe(stream)

    @property
    def quiet(self) -> bool:
        """Whether the peer was told all that there is to tell it."""
        return not (self.pending or self.acks or self.happened)

    @property
    def records(self) -> int:
        """How many records have been sent and received: it changes with each."""
        sent = sum(stream.last for stream in self._outbound.values())
        return sent + sum(stream.received for stream in self._inbound.values())

    def validate(self) -> None:
        """Check what must always hold."""
        for stream in self._outbound.values():
            stream.validate()
            assert not stream.sendable or stream.queued, "what can be sent is queued"
