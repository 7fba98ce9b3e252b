"""What goes to one peer under one name: values become batches, and batches go into the stream.

A value is pickled at the call. It leaves at once while the stream is idle; while values come faster
than frames can go they share a frame, which leaves when it is big enough, when its thread is about
to block, or after a moment.

Two locks, taken in this order: the guard for the batch (`constellation.channel.guard`), and the
transport's for the stream. Whoever holds the transport's only tries the guard: the transport, and
what interrupts a thread in there. Who interrupts a thread that has the guard, as a handler or
finalizer may, does not take it again.

=========  ================================================================================
clear      a handle is open, nobody waits for room, the peer lives: `put` takes the value
not clear  `admit`: whoever waits is served in the order of their coming
=========  ================================================================================
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeVar

from constellation.channel.guard import ANYBODY, NOBODY, Guard
from constellation.channel.payload import Encoder
from constellation.errors import ChannelError, ProcessExited
from constellation.transport.descriptors import explained
from constellation.transport.lock import refuse, stay_at_exit
from constellation.transport.memory import Lent

if TYPE_CHECKING:
    from constellation.channel.context import Context
    from constellation.operation import Examination, Waiter
    from constellation.transport.peer import Peer
    from constellation.wire.fragments import Part

__all__ = ["VALUE_WEIGHT", "Outlet", "Packed", "Waiting"]

T = TypeVar("T")

VALUE_WEIGHT = 32
"""Bytes of the window that a value takes besides its own: what it costs in memory."""

_BATCH = 64 << 10
"""Bytes of a batch that leaves at once."""

_MANY = 16
_GAP = 12.5e-6
"""When values are taken to come fast: so many were in the last batch, or they came so many seconds
after one another. On a slow machine there are never many in the first of the intervals below."""

_IDLE = 50e-6
_BUSY = 800e-6
"""Seconds since the last batch after which a value leaves at once; more, up to the second, while
batches are full."""

Packed = tuple["list[Part]", int]
"""The parts of one value, and its weight."""

_ELSEWHERE: Packed = [], 0
"""Says that a value does not go into the batch."""

_UNUSED = Encoder("raw", None)
"""Of an outlet without a handle. Nothing is ever added to it.

The outlet stays, as its stream does, and a pickler is many times as large as both together.
"""

_get_ident = threading.get_ident


class Waiting(Protocol):
    """A send that waits for room."""

    packed: Packed | None
    queued: bool

    def wake(self) -> None:
        """It may be its turn. The transport's lock is held."""


class Outlet:
    """What goes to a peer under a name.

    Attributes:
        codec: How the values of the handle that is open, or was last, become bytes.
        owner: The handle that is open.
        receipts: Those who wait for the peer to receive what was sent.
    """

    __slots__ = (
        "_batched",
        "_calm",
        "_clear",
        "_context",
        "_encoder",
        "_flushed_at",
        "_guard",
        "_interval",
        "_last",
        "_limit",
        "_pace",
        "_peer",
        "_transport",
        "_waiting",
        "codec",
        "outbound",
        "owner",
        "receipts",
    )

    def __init__(self, context: Context, peer: Peer, name: str) -> None:
        self._context = context
        self._transport = context.transport
        self._peer = peer
        self._guard = Guard()
        self._clear: object | None = None  # the handle whose values `put` takes
        self._waiting: deque[Waiting] = deque()
        self.codec = "pickle"
        self._encoder = _UNUSED
        self._batched = 0  # the weight of the batch
        self._limit = 0  # what the batch may weigh
        self._calm = 0  # up to what weight nothing needs to be considered
        self._pace = 0  # so many values may come until the clock is looked at again
        self._last = -1  # while the batch is handed over, the last record before it
        self._flushed_at = 0.0
        self._interval = _IDLE
        self.outbound = peer.link.outbound(name)
        self.owner: object | None = None
        self.receipts: list[Waiter] = []

    # -- for the handle

    def open(self, owner: object, type_name: str, codec: str) -> None:
        """A handle was made. The transport's lock is held; the guard is free."""
        self.codec = codec
        self._guard.lease = ANYBODY
        self._encoder = self._encoder_of(codec)
        self.outbound.open(type_name, codec)  # raises if the name or the type cannot be told
        self.owner = owner
        self._refresh()

    def put(self, value: object, owner: object) -> Packed | None:
        """Send a value, or give it back as what is to be admitted.

        Raises:
            ChannelError: The handle was closed, or the peer cannot be connected to.
            SerializationError: It cannot be encoded.
            RuntimeError: The calling thread was interrupted where it must not be added.
        """
        guard = self._guard
        ident = _get_ident()
        if guard.lease == ident and not guard.inside:
            # As `_put`, without a lock and in short: this is done for each value.
            try:
                guard.inside = ident
                if not guard.shut and self._clear is owner:
                    batched = self._batched + self._encoder.add(value) + VALUE_WEIGHT
                    if batched <= self._calm:
                        self._batched = batched
                        return None
                    return self._consider(batched)
            finally:
                guard.inside = 0
                if guard.gate is not None:
                    guard.let_in()
        if guard.held():
            refuse()
        put = guard.admit(partial(self._put, value, owner), self._transport.lock.held)
        if put is not _ELSEWHERE:
            return put
        if self.owner is not owner:
            if self._transport.leaving:
                stay_at_exit()
            raise ChannelError(f"send() to {self._peer.pid}: the Sender is closed")
        encoder = self._encoder_of(self.codec)
        size = encoder.add(value)
        return encoder.take()[0], size + VALUE_WEIGHT

    def admit(self, waiting: Waiting) -> bool:
        """Send what `put` gave back, if it is its turn and there is room.

        Raises:
            ChannelError: The handle was closed, or the peer cannot be connected to.
            ProcessExited: The peer is gone.
        """
        return self._alone(partial(self._admit, waiting))

    def may_admit(self, waiting: Waiting) -> bool:
        """Whether `admit` would do more than let wait what waits. The transport's lock is held."""
        if self.owner is None or self._peer.exit_known:
            return True  # it raises
        packed = waiting.packed
        return self._waiting[0] is waiting and (packed is None or self.outbound.fits(packed[1]))

    def withdraw(self, waiting: Waiting) -> None:
        """A send gives up waiting."""
        self._alone(partial(self._withdraw, waiting))

    def flush_all(self) -> int:
        """Send the batch and ask for a receipt. Gives the number of the last record."""
        return self._alone(self._flush_all)

    def delivered(self, number: int) -> bool:
        """Whether the peer has received up to this record.

        Raises:
            ProcessExited: It is gone, and has not.
        """
        with self._transport.lock:
            if self.outbound.received >= number:
                return True
            if self._peer.exit_known:
                raise ProcessExited(self._peer.pid, self._peer.status)
            return False

    def close(self, owner: object, *, by_file: bool = False) -> None:
        """The handle is closed, by its user or by the file that was made of it."""
        if self._transport.closed:
            return  # with the process
        if self._interrupted():
            self._transport.defer(partial(self.close_deferred, owner, dropped=by_file))
        else:
            # A file is closed by its finalizer too.
            tell = not (by_file and self._transport.failed)
            self._alone(partial(self._close, owner, tell=tell))

    def close_deferred(self, owner: object, *, dropped: bool = True) -> bool:
        """The handle was dropped, or was closed where that had to be put off.

        The transport's lock is held. Says whether it could be done.
        """
        tell = not (dropped and self._transport.failed)
        return self._guard.attempt(partial(self._close, owner, tell=tell))

    # -- for the transport, which holds its lock

    @property
    def in_use(self) -> bool:
        """Whether a handle is open."""
        return self.owner is not None

    def flush(self) -> bool:
        """Hand the batch to the stream; False if a thread is writing to it right now."""
        return self._guard.attempt(self._push)

    def room(self) -> None:
        """The window has grown."""
        if self._waiting:
            self._waiting[0].wake()

    def is_full(self, examination: Examination) -> bool:
        """Whether whoever waits here is certain to wait until the peer takes something."""
        first = self._waiting[0] if self._waiting else None
        if first is None or first.packed is None or self._peer.exit_known or self._peer.left:
            return False
        fits = self.outbound.fits(first.packed[1])
        return not fits and examination.is_full(self._peer, self.outbound)

    def received(self) -> None:
        """The peer has received more."""
        for waiter in self.receipts:
            waiter.notify()

    def ended(self) -> None:
        """The peer is gone."""
        self._clear = None
        for waiting in self._waiting:
            waiting.wake()
        self.received()

    def shut(self) -> None:
        """This process leaves. Other threads have ended, but for daemons."""
        if self.owner is not None and not self.close_deferred(self.owner):
            if not self._transport.failed:
                self.outbound.close()
            self.owner = self._clear = None

    def forked(self) -> None:
        """This is a fork of the process: sends go the way where they are refused."""
        self._guard = Guard(NOBODY)
        self._clear = None

    # -- who may come in

    def _alone(self, action: Callable[[], T]) -> T:
        """Do something with both locks.

        Raises:
            RuntimeError: The calling thread was interrupted in the middle of something.
        """
        if self._interrupted():
            refuse()  # before the guard: who has that may wait for the lock
        return self._guard.run(partial(self._locked, action))

    def _locked(self, action: Callable[[], T]) -> T:
        with self._transport.lock.raw:
            return action()

    def _interrupted(self) -> bool:
        """Whether the calling thread was interrupted in the middle of something."""
        return self._transport.lock.held() or self._guard.held()

    # -- guard and transport's lock held

    def _admit(self, waiting: Waiting) -> bool:
        try:
            self._check()
        except ChannelError:
            self._leave(waiting)
            raise
        queue = self._waiting
        first = not queue or queue[0] is waiting
        assert waiting.packed is not None
        parts, weight = waiting.packed
        self._push()
        if first and self.outbound.fits(weight):
            self._mark_sent(parts)
            self.outbound.push(parts, 1, weight)
            self._leave(waiting)
            self._refresh()
            self._transport.transmit(self._peer)
            return True
        if not waiting.queued:
            waiting.queued = True
            queue.append(waiting)
        self._clear = None
        self._peer.link.await_room(self.outbound)
        self._transport.transmit(self._peer)
        return False

    def _withdraw(self, waiting: Waiting) -> None:
        self._leave(waiting)
        self._refresh()

    def _flush_all(self) -> int:
        self._push()
        self._peer.link.request_receipt()
        self._transport.transmit(self._peer)
        return self.outbound.last

    def _send_batch(self) -> None:
        self._push()
        self._transport.flushed(self)
        self._transport.transmit(self._peer)

    def _check(self) -> None:
        if self.owner is None:
            raise ChannelError(f"send() on a closed Sender to pid {self._peer.pid}")
        if self._peer.exit_known:
            raise ProcessExited(self._peer.pid, self._peer.status)
        self._prepare()

    def _prepare(self) -> None:
        """See that the peer can be connected to.

        Raises:
            ChannelError: This process may not have so many open files.
        """
        try:
            self._transport.prepare(self._peer)
        except OSError as error:
            raise ChannelError(
                f"process {self._peer.pid} cannot be connected to: {explained(error)}"
            ) from None

    def _refresh(self) -> None:
        self._limit = self.outbound.granted - self.outbound.pushed
        self._calm = min(self._calm, self._limit)
        clear = self.owner is not None and not self._waiting and not self._peer.exit_known
        self._clear = self.owner if clear else None

    def _push(self, now: float | None = None) -> bool:
        """Hand the batch to the stream. With a time, which is now, send it if it is its turn.

        An interrupt may come at any time in here. The batch stays until the stream has it, and
        `_last` tells whether it has; until all is done no value is put into the batch.

        Returns:
            Whether the batch was sent.
        """
        outbound, encoder, peer = self.outbound, self._encoder, self._peer
        if self._last >= 0:
            self._mend()
        count = encoder.count
        if not count:
            return False
        clear = self._clear
        self._clear = None
        self._last = outbound.last
        message = None
        parts = encoder.message()
        if len(parts) > 1:
            self._mark_sent(parts)
        elif now is not None and clear is not None and peer.route is not None:
            message = outbound.dispatch(parts[0], count, self._batched)
        if message is None:
            outbound.push(parts, count, self._batched)
        else:
            # At once: the peer may be waiting for it.
            self._transport.send(peer, message)
        encoder.clear()
        self._last = -1
        self._batched = self._calm = 0
        self._limit = outbound.granted - outbound.pushed
        self._flushed_at = monotonic()  # when it was done: to send it may take as long as that
        self._clear = clear
        if count >= _MANY or count * _GAP >= self._interval:
            self._interval = min(self._interval * 2, _BUSY)
            self._pace = count // 8
        elif self._pace:
            self._interval = _IDLE
            self._pace = 0
        return message is not None

    def _mend(self) -> None:
        """An interrupt came while the batch was handed over."""
        if self.outbound.last > self._last:
            self._encoder.clear()
            self._batched = 0
        self._last = -1
        self._calm = 0
        self._refresh()

    def _mark_sent(self, parts: list[Part]) -> None:
        """The stream has what was lent: it is the peer's to give back."""
        for part in parts:
            if type(part) is Lent:
                part.sent = True
        if self._peer.ended:
            # It ended while the value was copied, and gives nothing back any more.
            self._transport.memory.pool.forget(self._peer.pid.key)

    def _leave(self, waiting: Waiting) -> None:
        if waiting.queued:
            waiting.queued = False
            self._waiting.remove(waiting)
        if self._waiting:
            self._waiting[0].wake()
        else:
            self.outbound.waiting = False

    def _close(self, owner: object, *, tell: bool) -> None:
        if self.owner is not owner:
            return
        self._push()
        if tell:
            self.outbound.close()
        self.owner = self._clear = None
        self._encoder = _UNUSED
        for waiting in self._waiting:
            waiting.wake()
        self._transport.flushed(self)
        self._transport.transmit(self._peer)
        self._transport.released(self._peer)

    def _encoder_of(self, codec: str) -> Encoder:
        lend = partial(self._transport.memory.lend, self._peer)
        return Encoder(codec, self._context.image, lend=lend)

    # -- guard held

    def _put(self, value: object, owner: object) -> Packed | None:
        if self._clear is not owner:
            return _ELSEWHERE
        batched = self._batched + self._encoder.add(value) + VALUE_WEIGHT
        if batched <= self._calm:
            self._batched = batched
            return None
        return self._consider(batched)

    def _consider(self, batched: int) -> Packed | None:
        """A value was added, and the batch weighs so much now: does it fit, and is it to leave?"""
        if batched > self._limit:
            return self._overflow()
        before = self._batched
        first = not before
        self._batched = batched
        now = monotonic()
        leaves = batched >= _BATCH or now - self._flushed_at > self._interval
        if leaves or first:
            transport = self._transport
            lock = transport.lock
            if lock.held():
                # It cannot leave in the middle of what this thread was interrupted at.
                transport.defer(partial(self._guard.attempt, self._send_batch))
            else:
                with lock.raw:
                    if self._peer.route is None:
                        self._prepare_or_cut(before)
                    if not leaves:
                        transport.flush_later(self, self._peer)
                    else:
                        sent = self._push(now)
                        if not first:
                            transport.flushed(self)
                        if not sent:
                            transport.transmit(self._peer)
            if leaves:
                return None
        # Where values come fast, the clock is not looked at for each of them.
        ahead = batched + self._pace * (batched // self._encoder.count)
        self._calm = min(ahead, self._limit, _BATCH - 1)
        return None

    def _prepare_or_cut(self, before: int) -> None:
        """As `_prepare`. If that raises, the value added last is taken back: so much was before."""
        try:
            self._prepare()
        except ChannelError:
            self._encoder.cut()
            self._batched = before
            raise

    def _overflow(self) -> Packed | None:
        """The value added last finds no room, as far as is known here."""
        parts, size = self._encoder.cut()
        weight = size + VALUE_WEIGHT
        with self._transport.lock:
            self._prepare()
            self._push()
            if self.outbound.fits(weight):
                self._mark_sent(parts)
                self.outbound.push(parts, 1, weight)
                self._refresh()
                self._transport.transmit(self._peer)
                return None
            self._clear = None
            self._transport.transmit(self._peer)
        return parts, weight
