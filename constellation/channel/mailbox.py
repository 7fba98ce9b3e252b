"""What came from one peer under one name, until a Receiver takes it.

A mailbox outlives the handles: what one Receiver leaves, the next one finds. It holds what arrived
in order: that a Sender was opened, messages, that it was closed. A message is unpickled by the
thread that receives its first value, and stays at the head until its last value is taken, so an
interrupt in between loses none.

Guarded by the transport's lock, but for the values of a message that is being read: those belong to
the holder of `guard`, and to whoever takes them with the atomic `popleft`. In the same way the
holder of `guard` takes a message of one value, so whoever goes through `items` goes through a copy.
"""

from __future__ import annotations

import logging
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from constellation.channel.decoder import undecodable
from constellation.channel.layout import references
from constellation.errors import SerializationError
from constellation.transport.lock import Lock
from constellation.transport.negotiation import Place, Reference
from constellation.wire.events import Arrived

if TYPE_CHECKING:
    from constellation.operation import Waiter
    from constellation.transport.memory import Memory
    from constellation.transport.peer import Peer
    from constellation.wire import events
    from constellation.wire.frames import Buffer

__all__ = ["Closed", "Mailbox", "Message", "Opened"]

logger = logging.getLogger(__name__)


class Opened:
    """A Sender was opened."""

    __slots__ = ("codec", "type")

    def __init__(self, type_name: str, codec: str) -> None:
        self.type = type_name
        self.codec = codec


class Closed:
    """The Sender was closed."""

    __slots__ = ()


Message = Arrived
"""Values that came together. What is noted of them here:

`taken`: whether the sender was told that there is room again. `values`: a deque of those that were
unpickled and not taken yet; None before that. `missing`: the set of the parts that have not come
yet, of those that were lent; None if it is all.
"""


class Mailbox:
    """What came from a peer under a name.

    Attributes:
        items: What arrived and was not taken.
        type: The type that the Sender of the next message names.
        codec: How the next message is encoded.
        reader: The handle that last read something of what the current Sender sent.
        owner: The handle that is open.
        over: Whether nothing more can come.
        told: Whether the last Receiver was told that the Sender was closed.
    """

    __slots__ = (
        "_last",
        "_memory",
        "_pickles",
        "codec",
        "guard",
        "items",
        "name",
        "over",
        "owner",
        "peer",
        "reader",
        "told",
        "type",
        "waiters",
    )

    def __init__(self, peer: Peer, name: str, memory: Memory) -> None:
        self.peer = peer
        self._memory = memory
        self.name = name
        self.items: deque[Opened | Closed | Message] = deque()
        self.type = ""
        self.codec = ""
        self.reader: object | None = None
        self.owner: object | None = None
        self.over = peer.ended
        self.told = False
        self._pickles = False  # what arrives now is of codec `pickle`
        self._last: object = None  # the event that was put in last
        self.guard: Any = Lock()
        self.waiters: list[Waiter] = []

    def put_back(self, value: object) -> None:
        """The value that was taken last was not wanted. Guard and the transport's lock are held."""
        head = self.items[0] if self.items else None
        if type(head) is Message and head.values is not None:
            head.values.appendleft(value)
        else:
            of_none: Any = None  # it is taken already, so no stream is told
            again = Message(of_none, [], 1, 0, 0, taken=True, values=deque([value]))
            self.items.appendleft(again)
        self.wake()

    # -- for the transport

    @property
    def in_use(self) -> bool:
        """Whether a handle is open."""
        return self.owner is not None

    @property
    def unread(self) -> bool:
        """Whether there is something that a new handle would find."""
        reader = self.reader
        for item in tuple(self.items):
            if type(item) is Message:
                if item.values is None or item.values:
                    return True
            elif isinstance(item, Opened):
                reader = None
            elif reader is None:
                return True
        return False

    @property
    def overlooked(self) -> int:
        """How many values of another Sender came after the only Receiver was told of an end."""
        if not self.told:
            return 0
        messages = [item for item in tuple(self.items) if type(item) is Message]
        return sum(each.count if each.values is None else len(each.values) for each in messages)

    def opened(self, event: events.Opened) -> None:
        """A Sender was made at the other end."""
        if event is not self._last:
            opened = Opened(event.type, event.codec)
            self._pickles = event.codec == "pickle"
            self._last = event
            self.items.append(opened)

    def arrived(self, event: events.Arrived) -> None:
        """Values have come."""
        if event is not self._last:
            if len(event.parts) > 1 and self._pickles:
                self._borrow(event)
            self._last = event
            self.items.append(event)
        for waiter in self.waiters:
            waiter.notify()

    def _borrow(self, message: Message) -> None:
        """Put the buffers in the place of what only refers to them, or see to it that they come."""
        parts, record, peer = message.parts, message.record, self.peer
        try:
            for index in references(parts):
                if type(parts[index]) is memoryview:
                    continue  # it is done; what is as small as a reference comes as bytes
                reference = Reference.unpack(parts[index])
                if peer.ledger is None:
                    raise ValueError("a reference to memory of which nothing was ever said")
                place = Place(message.stream.number, record, index)
                try:
                    if not self._memory.wants(peer, place):
                        parts[index] = peer.ledger.borrow(reference)
                        peer.ledger.keep(reference)
                        continue
                except OSError as error:
                    logger.info("cannot map what process %s lends: %s", peer.pid, error)
                message.missing = {index, *(message.missing or ())}
                message.stream.hold(record)
                self._memory.want(peer, place, reference, self._came)
        except (ValueError, struct.error) as error:
            failure = SerializationError("", f"cannot take what process {peer.pid} lends: {error}")
            message.values = deque(undecodable(parts, message.count, failure))

    def _came(self, place: Place, data: Buffer) -> None:
        """A buffer has come that could not be borrowed."""
        for message in tuple(self.items):
            if type(message) is Message and message.missing and message.record == place.record:
                message.parts[place.part] = data
                message.missing.discard(place.part)
                if not message.missing:
                    message.stream.release(place.record)
                    self.wake()
                return

    def closed(self, event: events.Closed) -> None:
        """The Sender was closed."""
        if event is not self._last:
            closed = Closed()
            self._last = event
            self.items.append(closed)
        self.wake()

    def ended(self) -> None:
        """The peer is gone: nothing more comes."""
        for item in tuple(self.items):
            if type(item) is Message and item.missing:
                # That is lost with it, and nothing is in order after that.
                while self.items.pop() is not item:
                    pass
                break
        self.over = True
        self.wake()

    def forked(self, lock: Any) -> None:
        """This is a fork of the process: what came is its, and receiving is refused by the lock."""
        self.guard = lock
        self.over = True
        for item in self.items:
            if type(item) is Message and item.values:
                item.values.clear()

    def wake(self) -> None:
        """Have everybody who waits look again."""
        for waiter in self.waiters:
            waiter.notify()
