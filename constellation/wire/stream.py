"""One stream: at the end that sends, and at the end that receives.

The sender may be `window` bytes ahead of what the receiving application has taken. Credit is handed
back a quarter of the window at a time, or after the delay of an acknowledgement: a grant for every
value would double the traffic, and one for the whole window would stop the sender each time.
A record larger than the window passes when nothing else is outstanding.

Twice the window is granted for large values to a reader that keeps up with them, and made use of by
a stream that has its link for itself, where both processes have a place for that left
(`constellation.wire.reserve`). Without one the sender goes on as with the window.

What is sent is kept until the receiver says that it has it. The receiver takes records in the order
of their numbers only: an old one is dropped, and after a gap it asks for all that follows (go back
N), which suits routes that keep their order and lose everything at once or nothing.

What the next record may be, at the end that receives:

| state | OPEN | DATA | DATA, more follows | DATA, joined | CLOSE |
| --- | --- | --- | --- | --- | --- |
| closed | open | - | - | - | - |
| open | - | open | fragments | - | closed |
| fragments | - | open | fragments | as without | - |

Where there is a dash no peer may send it. An error changes nothing.

A signal handler of the application may raise between any two calls in here. So what changes the
state is a run of plain assignments with one call of the interpreter's own at its end, which nothing
can come between; whatever is interrupted before that has not happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from constellation.wire.codec import INLINE_LIMIT, PLAIN, pack_plain
from constellation.wire.errors import WireError
from constellation.wire.events import Arrived, Closed, Event, Opened
from constellation.wire.fragments import Part, growing, split
from constellation.wire.frames import Buffer, Close, Credit, Data, Open, Sequenced

if TYPE_CHECKING:
    from constellation.wire.link import Link

__all__ = ["Inbound", "Outbound"]

_MAX_NAME = 0xFFFF  # bytes of a name or type, in UTF-8
_MAX_CODEC = 0xFF
_HEADER_SIZE = 32  # what a frame counts in flight beside its parts
_LARGE = 16  # a message that has so little of the window at least is large


class Outbound:
    """A stream to the peer.

    Attributes:
        name: The channel's name.
        number: The stream's number.
        pushed: The weight of everything pushed.
        granted: The weight that may be pushed, counted from the beginning.
        last: The number of the last record pushed.
        received: The number up to which the peer has received.
        more: Whether another frame could be sent after the last one.
        queued: Whether the link knows that there is something to send.
        waiting: Whether somebody waits for room: then the peer is asked for it now and then.
        wanting: Whether somebody found no room since the last CREDIT: then the peer is asked for it
            once at least, also if nobody waits any more.
    """

    __slots__ = (
        "_fragment",
        "_frames",
        "_limit",
        "_link",
        "_narrow",
        "_offered",
        "_rewound",
        "_sent",
        "_settled",
        "_short",
        "_window",
        "flight",
        "granted",
        "last",
        "more",
        "name",
        "number",
        "pushed",
        "queued",
        "received",
        "waiting",
        "wanting",
    )

    def __init__(self, link: Link, name: str, number: int, *, window: int, fragment: int) -> None:
        self._link = link
        self._window = window
        self._fragment = fragment
        self._short = min(fragment, INLINE_LIMIT)
        self._limit = self._narrow = max(window, fragment)  # of what is under way
        self._frames: deque[Sequenced] = deque()  # all that are not received
        self._sent = 0  # so many of them were sent on this route
        self._rewound = 0  # the last record that was sent before the last rewind
        self._settled = 0  # the weight of what is received
        self._offered = window  # what the peer allows
        self.name = name
        self.number = number
        self.pushed = 0
        self.granted = window
        self.last = 0
        self.received = 0
        self.flight = 0
        self.more = False
        self.queued = False
        self.waiting = False
        self.wanting = False

    def __repr__(self) -> str:
        text = f"<Outbound {self.number} {self.name!r} pushed {self.pushed} of {self.granted}, "
        return text + f"last #{self.last}, received #{self.received}>"

    def fits(self, weight: int) -> bool:
        """Whether a record of this weight may be pushed now."""
        pushed = self.pushed + weight
        # The second: all that was pushed before has been taken.
        return pushed <= self.granted or self.granted - self._window >= self.pushed

    @property
    def delivered(self) -> bool:
        """Whether the peer has received everything."""
        return self.received == self.last

    @property
    def undelivered(self) -> int:
        """How many values the peer is not known to have received."""
        return sum(frame.count for frame in self._frames if type(frame) is Data)

    def open(self, type_name: str, codec: str) -> None:
        """Begin what one Sender sends.

        Raises:
            ValueError: OPEN has no room for one of the texts, or it is no Unicode text.
        """
        limits = (self.name, _MAX_NAME), (type_name, _MAX_NAME), (codec, _MAX_CODEC)
        for text, limit in limits:
            if (size := len(text.encode())) > limit:
                raise ValueError(f"{text[:40]!r}... has {size} bytes; {limit} are allowed")
        self._push(Open(self.number, self.last + 1, self.name, type_name, codec))

    def close(self) -> None:
        """End what one Sender sends."""
        self._push(Close(self.number, self.last + 1))

    def push(self, parts: Sequence[Part], count: int, weight: int) -> None:
        """Send values that `fits` allows. The parts belong to the stream from now on."""
        if sum(map(len, parts)) > self._fragment:
            self._push_fragments(parts, count, weight)
            return
        whole = cast("list[Buffer]", parts)  # pieces are larger than that
        frame = Data(self.number, self.last + 1, count, weight, False, False, whole)
        link = self._link
        if not self.queued:
            link.queue(self)
        link.shared, link.latest = link.shared or link.latest is not self, self
        self.pushed += weight
        self.last += 1
        self._frames.append(frame)

    def dispatch(self, part: bytes, count: int, weight: int) -> bytes | None:
        """Push values in one part that `fits` allows, and give the one part of the message to send.

        As `push`, the link's `next_frame` and `encode`, where these would give that message and do
        no more. Else this does nothing, and gives None.
        """
        frames = self._frames
        size = len(part)
        flight = self.flight
        link = self._link
        if (
            self._sent != len(frames)
            or flight >= self._limit
            or size > self._short
            or not link.idle()
        ):
            return None
        last = self.last + 1
        number = self.number
        frame = Data(number, last, count, weight, False, False, [part])
        message = pack_plain(PLAIN, number, last, count, weight, 1) + part
        link.shared, link.latest = link.shared or link.latest is not self, self
        self.pushed += weight
        self.last = last
        self.flight = flight + size + _HEADER_SIZE
        self._sent += 1
        frames.append(frame)
        return message

    def _push_fragments(self, parts: Sequence[Part], count: int, weight: int) -> None:
        fragments = list(split(parts, self._fragment))
        final = len(fragments) - 1
        frames = [
            Data(
                self.number,
                self.last + 1 + index,
                count if index == final else 0,
                weight if index == final else 0,
                index < final,
                goes_on,
                pieces,
            )
            for index, (goes_on, pieces) in enumerate(fragments)
        ]
        link = self._link
        if not self.queued:
            link.queue(self)
        last = self.last + len(frames)
        link.shared, link.latest = link.shared or link.latest is not self, self
        self.pushed += weight
        self.last = last
        self._frames.extend(frames)

    def _push(self, frame: Open | Close) -> None:
        if not self.queued:
            self._link.queue(self)
        self.last += 1
        self._frames.append(frame)

    # -- for the link

    @property
    def sendable(self) -> bool:
        """Whether there is a frame to send, and what is under way allows it."""
        return self._sent < len(self._frames) and self.flight < self._limit

    def next_frame(self) -> Sequenced | None:
        """The next frame, which counts as sent; None if none can be. `more` says how it goes on."""
        frames, index = self._frames, self._sent
        count = len(frames)
        if index >= count or self.flight >= self._limit:
            self.more = False
            return None
        frame = frames[index]
        self.flight += frame.size + _HEADER_SIZE
        self._sent = index + 1
        self.more = index + 1 < count and self.flight < self._limit
        return frame

    @property
    def sent(self) -> int:
        """The number of the last frame that was sent."""
        return self._frames[self._sent - 1].sequence if self._sent else self.received

    @property
    def asks(self) -> bool:
        """Whether something is awaited from the peer."""
        return self._sent > 0 or self.waiting or self.wanting

    @property
    def narrow(self) -> bool:
        """Whether the window is not known to be as wide as it can be."""
        return self.granted < self.pushed + self._window

    def rewind(self) -> None:
        """Send everything again that was not received."""
        self._rewound = max(self._rewound, self.sent)
        self._sent = 0
        self.flight = 0

    def credit(self, frame: Credit) -> tuple[bool, bool]:
        """Take a CREDIT. Says whether more was received, and whether there is more room."""
        if frame.received > max(self.sent, self._rewound):
            raise WireError(f"{frame}, but no more than #{max(self.sent, self._rewound)} was sent")
        self.wanting = False
        progressed = frame.received > self.received
        if progressed:
            self.received = frame.received
        frames = self._frames
        while frames and frames[0].sequence <= self.received:
            first = frames[0]
            weight = first.weight if type(first) is Data else 0
            size = first.size + _HEADER_SIZE
            if self._sent:
                self.flight -= size
                self._sent -= 1
            self._settled += weight
            frames.popleft()
        granted = self._allowed(max(self._offered, frame.granted))
        grown = granted > self.granted
        if grown:
            self.granted = granted
        if frame.gap and frame.received == self.received:
            self.rewind()
        return progressed, grown

    def _allowed(self, offered: int) -> int:
        """What may be pushed in all, where the peer allows so much."""
        self._offered = offered
        most = self._settled + self._window
        link = self._link
        if offered > most and self._frames and link.widens(self):
            self._limit = self._narrow + self._window
            return offered
        if self._limit > self._narrow:
            self._limit = self._narrow
            link.narrows(self)
        return min(offered, most)

    def validate(self) -> None:
        """Check what must always hold."""
        frames = list(self._frames)
        kept = sum(frame.weight for frame in frames if type(frame) is Data)
        assert self._settled + kept == self.pushed
        assert [frame.sequence for frame in frames] == list(range(self.received + 1, self.last + 1))
        assert self.flight == sum(frame.size + _HEADER_SIZE for frame in frames[: self._sent])


class Inbound:
    """A stream from the peer.

    Attributes:
        name: The channel's name.
        number: The stream's number, as the peer counts.
        received: The number up to which records were received in order.
        plain: Whether a value may begin: it is open, and not between fragments.
        taken: The weight of everything that the application has taken.
    """

    __slots__ = (
        "_arrived",
        "_asks",
        "_credited",
        "_gap",
        "_granted",
        "_held",
        "_large",
        "_link",
        "_open",
        "_parts",
        "_quarter",
        "_weighed",
        "_window",
        "name",
        "number",
        "plain",
        "received",
        "taken",
    )

    def __init__(self, link: Link, number: int, *, window: int) -> None:
        self._link = link
        self._window = window
        self._quarter = window // 4  # the peer is told of so much without delay
        self._open = False
        self._parts: list[Buffer] = []  # those of a value that goes on
        self._arrived = 0  # bytes since the last CREDIT
        self._asks = False  # the next CREDIT asks for what is lost
        self._credited = 0  # what was taken at the last CREDIT
        self._granted = window  # what was granted with it
        self._weighed = 0  # the weight of all values that arrived
        self._large = False  # the last that arrived were large
        self._gap = False  # something is missing, and was asked for
        self._held: list[int] = []  # records that are not acknowledged yet, in their order
        self.name = ""
        self.number = number
        self.plain = False
        self.received = 0
        self.taken = 0

    def __repr__(self) -> str:
        return f"<Inbound {self.number} {self.name!r} received #{self.received}>"

    def consumed(self, weight: int) -> bool:
        """The application has taken values of this weight: the peer may send as much again.

        Returns:
            Whether there is something to tell the peer, or to tell it soon, that there was not.
        """
        self.taken += weight
        soon = self.taken - self._credited >= self._quarter
        link = self._link
        if self in link.acks and not soon:
            return False
        link.acknowledge(self, soon=soon)
        return True

    @property
    def acknowledged(self) -> int:
        """The number up to which the peer is told that records were received."""
        return self._held[0] - 1 if self._held else self.received

    def hold(self, record: int) -> None:
        """Acknowledge neither this record nor those after it, which go on to arrive.

        To be called before the link is asked for its next frame after that which brought the
        record: what was acknowledged once stays so.
        """
        if record not in self._held:
            self._held = sorted([*self._held, record])

    def release(self, record: int) -> None:
        """What was missing of a held record has come: acknowledge it."""
        self._held = [held for held in self._held if held != record]
        self._link.acknowledge(self, soon=True)

    # -- for the link

    def receive(self, frame: Sequenced) -> None:
        """Take a record, and tell the link what it means.

        Raises:
            WireError: No peer may send it.
        """
        sequence = frame.sequence
        if sequence != self.received + 1:
            self._out_of_order(sequence > self.received)
            return
        if type(frame) is not Data:
            event = self._told(frame)
            link = self._link
            self.plain = self._open = type(event) is Opened
            self._gap = self._asks = False
            self._arrived += _HEADER_SIZE
            self.received = sequence
            link.happened.append(event)
            link.acknowledge(self, soon=self._arrived >= self._quarter)
        elif self.plain and not (frame.more or frame.joined):
            self.arrive(sequence, frame.parts, frame.count, frame.weight, frame.size)
        else:
            self._fragment(frame)

    def arrive(
        self, sequence: int, parts: list[Buffer], count: int, weight: int, size: int
    ) -> Arrived:
        """Take whole values, whose turn it is, where `plain` says that there may be some."""
        link = self._link
        event = Arrived(self, parts, count, weight, sequence)
        arrived = self._arrived + size + _HEADER_SIZE
        if self._gap:
            self._gap = self._asks = False
        self._arrived = arrived
        self._weighed += weight
        self._large = size * _LARGE >= self._window
        self.received = sequence
        link.happened.append(event)
        if arrived >= self._quarter or self not in link.acks:
            link.acknowledge(self, soon=arrived >= self._quarter)
        return event

    def _told(self, frame: Open | Close) -> Event:
        """What the beginning or the end of what a Sender sends tells."""
        if self._open and not self.plain:
            raise WireError(f"{frame} between the fragments of a value")
        if type(frame) is Open:
            if self._open:
                raise WireError(f"{frame}, but the stream is open")
            if self.received and frame.name != self.name:
                raise WireError(f"{frame}, but the stream's name is {self.name!r}")
            self.name = frame.name
            return Opened(self, frame.type, frame.codec)
        if not self._open:
            raise WireError(f"{frame}, but the stream is not open")
        return Closed(self)

    def _fragment(self, frame: Data) -> None:
        """Put a fragment to those before it."""
        if not self._open:
            raise WireError(f"{frame}, but the stream is not open")
        parts, pieces = self._parts, frame.parts
        if frame.joined and not (parts and pieces):
            raise WireError(f"{frame} goes on with nothing")
        if frame.more and (frame.count or frame.weight):
            raise WireError(f"{frame}, but values end with their last fragment")
        last = growing(parts) if frame.joined else bytearray()
        first: Buffer = pieces[0] if frame.joined else b""
        rest = pieces[1:] if frame.joined else pieces
        event = Arrived(self, parts, frame.count, frame.weight, frame.sequence)
        fresh: list[Buffer] = []
        size = frame.size + _HEADER_SIZE
        soon = self._arrived + size >= self._quarter
        # From here to the last line nothing is called.
        last += first
        parts += rest
        self._gap = self._asks = False
        self.plain = not frame.more
        self._arrived += size
        self._weighed += frame.weight
        self._large = True
        self.received = frame.sequence
        if not frame.more:
            self._parts = fresh
            self._link.happened.append(event)
        self._link.acknowledge(self, soon=soon)

    def _out_of_order(self, ahead: bool) -> None:
        if not ahead:
            # The peer did not get the CREDIT for it.
            self._link.acknowledge(self, soon=False)
        elif not self._gap:
            self._gap = self._asks = True
            self._link.acknowledge(self, soon=True)

    def probed(self, last: int) -> None:
        """The peer asks how far this got; on this route it has sent up to `last`."""
        if last > self.received:
            self._gap = self._asks = True
        self._link.acknowledge(self, soon=True)

    def new_route(self) -> None:
        """What was asked for on another route may be lost."""
        self._gap = self._asks = False
        self._link.acknowledge(self, soon=True)

    def credit(self) -> Credit:
        """The CREDIT to send now."""
        granted = max(self._granted, self.taken + self._room())
        asks, self._asks = self._asks, False
        self._arrived = 0
        self._credited = self.taken
        self._granted = granted
        return Credit(self.number, self.acknowledged, granted, asks)

    def _room(self) -> int:
        """How far the peer may be ahead of the reader."""
        window, link = self._window, self._link
        keeps_up = self._weighed - self.taken <= window // 2
        if self._large and keeps_up and link.reserve is not None and link.reserve.take(self):
            self._quarter = window // 2
            return 2 * window
        self._quarter = window // 4
        if link.reserve is not None and self._granted <= self.taken + window:
            link.reserve.give_back(self)  # the peer is not as far ahead any more
        return window
