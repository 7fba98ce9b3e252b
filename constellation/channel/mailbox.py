"""What came from one peer under one name, until a Receiver takes it.

A mailbox outlives the handles: what one Receiver leaves, the next one finds. It holds what arrived
in order: that a Sender was opened, messages, that it was closed. A message is unpickled by the
thread that receives its first value, and stays at the head until its last value is taken, so an
interrupt in between loses none.

Guarded by the transport's lock, but for the values of a message that is being read: those belong to
the holder of `guard`, and to whoever takes them with the atomic `popleft`.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from constellation.channel.decoder import undecodable
from constellation.channel.layout import references
from constellation.errors import SerializationError
from constellation.transport.lock import Lock
from constellation.transport.memory import Gone

if TYPE_CHECKING:
    from constellation.operation import Waiter
    from constellation.transport.peer import Peer
    from constellation.wire import events
    from constellation.wire.frames import Buffer
    from constellation.wire.stream import Inbound

__all__ = ["Closed", "Mailbox", "Message", "Opened"]


class Opened:
    """A Sender was opened."""

    __slots__ = ("codec", "type")

    def __init__(self, type_name: str, codec: str) -> None:
        self.type = type_name
        self.codec = codec


class Closed:
    """The Sender was closed."""

    __slots__ = ()


class Message:
    """Values that came together."""

    __slots__ = ("count", "inbound", "parts", "taken", "values", "weight")

    @classmethod
    def again(cls, value: object) -> Message:
        """A value that was taken before, and put back."""
        message = cls(None, [], 1, 0)
        message.values = deque([value])
        return message

    def __init__(
        self, inbound: Inbound | None, parts: list[Buffer], count: int, weight: int
    ) -> None:
        self.inbound = inbound
        self.parts = parts
        self.count = count
        self.weight = weight
        self.taken = inbound is None  # the sender was told that there is room again
        self.values: deque[object] | None = None  # unpickled, and not taken yet


class Mailbox:
    """What came from a peer under a name.

    Attributes:
        items: What arrived and was not taken.
        type: The type that the Sender of the next message names.
        codec: How the next message is encoded.
        reader: The handle that last read something of what the current Sender sent.
        owner: The handle that is open.
        over: Whether nothing more can come.
    """

    __slots__ = (
        "_cut",
        "_last",
        "_pickles",
        "codec",
        "guard",
        "items",
        "name",
        "over",
        "owner",
        "peer",
        "reader",
        "type",
        "waiters",
    )

    def __init__(self, peer: Peer, name: str) -> None:
        self.peer = peer
        self.name = name
        self.items: deque[Opened | Closed | Message] = deque()
        self.type = ""
        self.codec = ""
        self.reader: object | None = None
        self.owner: object | None = None
        self.over = peer.ended
        self._pickles = False  # what arrives now is of codec `pickle`
        self._cut = False  # something was lost: what comes after it is dropped
        self._last: object = None  # the event that was put in last
        self.guard: Any = Lock()
        self.waiters: list[Waiter] = []

    def put_back(self, value: object) -> None:
        """The value that was taken last was not wanted. Guard and the transport's lock are held."""
        head = self.items[0] if self.items else None
        if isinstance(head, Message) and head.values is not None:
            head.values.appendleft(value)
        else:
            self.items.appendleft(Message.again(value))
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
        for item in self.items:
            if isinstance(item, Message):
                if item.values is None or item.values:
                    return True
            elif isinstance(item, Opened):
                reader = None
            elif reader is None:
                return True
        return False

    def opened(self, event: events.Opened) -> None:
        """A Sender was made at the other end."""
        if event is not self._last:
            opened = Opened(event.type, event.codec)
            self._pickles = event.codec == "pickle"
            self._last = event
            self.items.append(opened)

    def arrived(self, event: events.Arrived) -> None:
        """Values have come."""
        parts = event.parts
        failure = self._borrow(parts) if len(parts) > 1 and self._pickles else ""
        if self._cut:
            return
        if event is not self._last:
            message = Message(event.stream, parts, event.count, event.weight)
            if failure:
                error = SerializationError("", failure)
                message.values = deque(undecodable(parts, event.count, error))
            self._last = event
            self.items.append(message)
            event.parts = []  # the message has them; the event is only remembered
        for waiter in self.waiters:
            waiter.notify()

    def _borrow(self, parts: list[Buffer]) -> str:
        """Put the buffers in the place of what only refers to them. Tells what is in the way."""
        ledger = self.peer.ledger
        failure = ""
        for index in references(parts):
            reference = parts[index]
            if type(reference) is not bytes:
                continue  # it is done
            if ledger is None:
                return "a reference to memory of which nothing was ever said"
            try:
                parts[index] = ledger.borrow(reference)
                ledger.keep(reference)
            except Gone:
                # It was killed, and this is lost with it. Nothing is in order after it.
                self._cut = True
                return ""
            except (OSError, struct.error) as error:
                failure = f"cannot map what process {self.peer.pid} lends: {error}"
                ledger.decline(reference)
        return failure

    def closed(self, event: events.Closed) -> None:
        """The Sender was closed."""
        if not self._cut and event is not self._last:
            closed = Closed()
            self._last = event
            self.items.append(closed)
        self.wake()

    def ended(self) -> None:
        """The peer is gone: nothing more comes."""
        self.over = True
        self.wake()

    def forked(self, lock: Any) -> None:
        """This is a fork of the process: what came is its, and receiving is refused by the lock."""
        self.guard = lock
        self.over = True
        for item in self.items:
            if isinstance(item, Message) and item.values:
                item.values.clear()

    def wake(self) -> None:
        """Have everybody who waits look again."""
        for waiter in self.waiters:
            waiter.notify()
