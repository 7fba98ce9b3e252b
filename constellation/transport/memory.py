"""Large buffers that cross memory once, between two processes of one machine.

The sender copies a buffer into a block of its pool and sends a *reference*; the receiver maps the
block and gives the mapping to whoever unpickles, an array say, which is at home there until it is
dropped. Then the block goes back to the sender's pool (see `constellation.transport.pool`).

- *Whether.* A process that has something large for a peer *offers* to lend it memory. The peer
  tries to open the offered ledger, which tells whether it can (it may run elsewhere, or under
  another user), and answers (`constellation.transport.negotiation`). Until then, and wherever
  anything is short, buffers go in messages.
- *Not after all.* A peer that cannot open a block (it has become another user, or has no descriptor
  left) *wants* its content, and gets that in a message. Until it has it, it does not acknowledge
  what the block belongs to, so the lender stays and keeps it; what is behind it waits. From then on
  the lender lends nothing, until it has offered again.
- *Values stay values.* The sender does not touch a block until it is given back. Where the receiver
  forks, what it holds becomes private to it and to the fork.
- *Nothing is lost.* A block is opened, or its content has come, before its message is acknowledged,
  and a process leaves only when what it sent was acknowledged. Of one that was killed, what had not
  arrived is lost with it, and the stream ends before it.
- *Nothing is left.* The kernel frees a block with its last user.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import struct
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from constellation.transport import negotiation
from constellation.transport.mapping import Mapping
from constellation.transport.negotiation import STREAM, Kind, Negotiation, Place, Reference
from constellation.transport.pool import (
    DISCARDED,
    KEEP,
    LEDGER_SIZE,
    PAUSE,
    RETURNED,
    SUPPORTED,
    Block,
    Pool,
    entry_of,
    read_offer,
)

if TYPE_CHECKING:
    from constellation.transport.peer import Peer
    from constellation.transport.transport import Transport
    from constellation.wire.frames import Buffer

__all__ = ["STREAM", "Ledger", "Lent", "Memory", "Negotiation", "Place"]

logger = logging.getLogger(__name__)

_MAPPED_MOST = 64
"""Blocks that a process has mapped at most, each with a descriptor; of more it takes a copy."""

_OFFER_AGAIN = 10.0
"""Seconds after which a peer that could not map what was lent is asked whether it can now."""


class Lent(bytes):
    """The part of a message that stands for a buffer in a block.

    Attributes:
        block: Where the buffer is.
        size: Its bytes.
        sent: The stream has it: it is the borrower's to give back.
    """

    block: Block
    size: int
    sent = True
    _pool: Pool

    @classmethod
    def of(cls, block: Block, size: int, pool: Pool) -> Lent:
        """The part for a buffer of `size` bytes at the start of a block."""
        part = cls(Reference(block.fd, block.index, size, block.inode).pack())
        part._pool = pool
        part.block = block
        part.size = size
        part.sent = False  # from now on it is given back
        return part

    def __del__(self) -> None:
        if not self.sent:
            self._pool.unsent.append(self.block)


class Ledger:
    """What a peer lends to this process.

    Args:
        offer: What the peer has offered.
        memory: This process's.

    Raises:
        OSError: It cannot be opened here.
        ValueError: It is something else than what was offered.
        struct.error: It is no offer.
    """

    __slots__ = ("_map", "_memory", "_pid")

    def __init__(self, offer: bytes, memory: Memory) -> None:
        pid, number, inode, nonce = read_offer(offer)
        fd = os.open(f"/proc/{pid}/fd/{number}", os.O_RDWR | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_ino != inode:
                raise ValueError("another file has the number of the ledger")
            self._map = mmap.mmap(fd, LEDGER_SIZE)
        finally:
            os.close(fd)
        if self._map[: len(nonce)] != nonce:
            raise ValueError("another file has the number of the ledger")
        self._pid = pid
        self._memory = memory

    def borrow(self, reference: Reference) -> memoryview:
        """The buffer that a part of a message stands for. It can be written to.

        It is given back only if `keep` was called for it: who is interrupted before it has put the
        buffer where it belongs borrows it again.

        Raises:
            OSError: It cannot be had here, or the peer is gone, and the block with it.
        """
        number, index, size, inode = reference
        mapping = self._memory.mapped.get(inode)
        if mapping is None:
            fd, whole = self._open(number, size, inode)
            if not self._memory.make_room():
                return _read(fd, size)
            mapping = self._memory.mapped[inode] = Mapping(fd, whole)
        mapping.kept = False
        # All that it needs is at hand: at the end of the interpreter no global is left.
        marks, entry, clock = self._map, entry_of(index), monotonic
        states, getpid, own = (RETURNED, DISCARDED), os.getpid, os.getpid()

        def released() -> None:
            # Called by a finalizer. In this order: the peer may lend it again at once.
            mapping.used = clock()
            mapping.held = False
            # In a fork nothing is told: this process still has it, and gives it back.
            if mapping.kept and getpid() == own:
                marks[entry] = states[mapping.private]

        return mapping.hold(released)[:size]

    def keep(self, reference: Reference) -> None:
        """What the part stands for has come to where it belongs."""
        mapping = self._memory.mapped.get(reference.inode)
        if mapping is not None and mapping.held:
            mapping.kept = True
        else:
            self.give_back(reference)  # it was copied

    def give_back(self, reference: Reference) -> None:
        """The peer may lend the block again."""
        self._map[entry_of(reference.block)] = RETURNED

    def _open(self, number: int, size: int, inode: int) -> tuple[int, int]:
        """The file of a block, and its size."""
        fd = os.open(f"/proc/{self._pid}/fd/{number}", os.O_RDWR | os.O_CLOEXEC)
        status = os.fstat(fd)
        if status.st_ino != inode or status.st_size < size:
            os.close(fd)
            # The number of the process is another one's by now.
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return fd, status.st_size


def _read(fd: int, size: int) -> memoryview:
    view = memoryview(bytearray(size))
    try:
        done = 0
        while done < size:
            done += os.preadv(fd, [view[done:]], done)
    finally:
        os.close(fd)
    return view


class Memory:
    """What this process lends and borrows. Guarded by the transport's lock.

    Attributes:
        pool: What it lends.
        mapped: What it has mapped of others, by inode. It is kept for a while, since a mapping
            costs more than what is done with it.
        due: When `trim` is to be called.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.pool = Pool()
        self.mapped: dict[int, Mapping] = {}
        self._wanted: dict[tuple[Peer, Place], tuple[Ledger, Reference, Callable[..., None]]] = {}
        self.due: float | None = None
        self._trim_at: float | None = None  # what is mapped
        self._leaving: list[Mapping] = []

    def trim(self, now: float) -> None:
        """Give up what was not used for a while."""
        if self.pool.due is not None and self.pool.due <= now:
            self.pool.trim(now)
        if self._trim_at is not None and self._trim_at <= now:
            self._trim_mapped(now)
        self._set_due()

    def _trim_mapped(self, now: float) -> None:
        leaving = self._leaving
        for inode, mapping in list(self.mapped.items()):
            if not mapping.held and (mapping.private or mapping.used + KEEP <= now):
                leaving.append(self.mapped.pop(inode))
        while leaving and leaving[-1].shrink():
            leaving.pop().close()
        if leaving:
            self._trim_at = now + PAUSE  # what is large goes a little at a time
        else:
            self._trim_at = now + KEEP if self.mapped else None

    def lend(self, peer: Peer, data: memoryview) -> Lent | None:
        """Copy a buffer to where the peer can map it; None if it cannot. Takes the lock."""
        if self._transport.lock.held():
            return None  # a handler or a finalizer sends
        with self._transport.lock:
            now = monotonic()
            if not peer.lends or peer.ended:
                if now >= peer.offer_at:
                    self._offer(peer, now)
                return None
            block = self.pool.take(data.nbytes, peer.pid.key, now)
            if block is None:
                return None
            self._set_due()
        # Made before the copy: whatever interrupts that, the block is given back.
        part = Lent.of(block, data.nbytes, self.pool)
        try:
            block.fill(data)
        except ValueError:
            if block.closed:
                return None  # the peer has ended meanwhile
            raise
        return part

    def make_room(self) -> bool:
        """Whether one more block may be mapped."""
        if self._trim_at is None:
            self._trim_at = monotonic() + KEEP
            self._set_due()
        if len(self.mapped) < _MAPPED_MOST:
            return True
        for inode, mapping in self.mapped.items():
            if not mapping.held:
                self._unmap(inode)
                return True
        return False

    def forking(self) -> None:
        """This process is about to be forked: neither shall see what the other writes."""
        for mapping in list(self.mapped.values()):
            if mapping.held:
                mapping.isolate()

    # -- what the peer says, and is told

    def post(self, peer: Peer, *parts: Buffer, weight: int = 0) -> None:
        """Send the peer something about memory."""
        stream = peer.link.outbound(STREAM)
        if not stream.last:
            stream.open("", "raw")
        stream.push(list(parts), 1, weight)
        self._transport.later(peer)

    def offered(self, peer: Peer, offer: bytes) -> None:
        """The peer would lend."""
        try:
            peer.ledger = Ledger(offer, self)
        except (OSError, ValueError, struct.error) as error:
            logger.info("cannot share memory with process %s: %s", peer.pid, error)
            self.post(peer, bytes([Kind.REFUSED]), weight=1)
        else:
            self.post(peer, bytes([Kind.ACCEPTED]), weight=1)

    def want(
        self, peer: Peer, place: Place, reference: Reference, use: Callable[[Place, Buffer], None]
    ) -> None:
        """Ask the peer for the content of a block, and have `use` called with it.

        Whatever the block belongs to is held until then. May be called twice.
        """
        if (peer, place) not in self._wanted:
            ledger = peer.ledger
            assert ledger is not None
            self._wanted[peer, place] = ledger, reference, use
            message = negotiation.wanted(place, reference)
            self.post(peer, message, weight=len(message))

    def wants(self, peer: Peer, place: Place) -> bool:
        """Whether that was asked for."""
        return (peer, place) in self._wanted

    def asked(self, peer: Peer, place: Place, reference: Reference) -> None:
        """The peer cannot have what was lent."""
        logger.info("process %s cannot map the memory that it is lent", peer.pid)
        peer.lends = False
        peer.offer_at = monotonic() + _OFFER_AGAIN
        data = self.pool.content(reference.block, reference.inode, reference.size, peer.pid.key)
        # It weighs nothing here, since it does so in the stream that it belongs to.
        self.post(peer, negotiation.content(place), data)

    def came(self, peer: Peer, place: Place, data: Buffer) -> None:
        """The content of a block that could not be had."""
        known = self._wanted.get((peer, place))
        if known is not None:  # else it comes a second time
            ledger, reference, use = known
            use(place, data)
            # In this order: who is interrupted gives nothing back twice.
            del self._wanted[peer, place]
            ledger.give_back(reference)

    def forget(self, peer: Peer) -> None:
        """The peer has ended."""
        self.pool.forget(peer.pid.key)
        for wanted in [wanted for wanted in self._wanted if wanted[0] is peer]:
            del self._wanted[wanted]

    def close(self) -> None:
        """Give up what was lent. What was borrowed may be in use to the last."""
        self.pool.close()
        self.due = self._trim_at = None

    def _set_due(self) -> None:
        self.due = min(filter(None, (self.pool.due, self._trim_at)), default=None)
        if self.due is not None:
            self._transport.reactor.set_timer(self.due)

    def _offer(self, peer: Peer, now: float) -> None:
        peer.lends = False
        peer.offer_at = now + _OFFER_AGAIN
        if SUPPORTED and self._transport.near(peer):
            try:
                offer = self.pool.offer()
            except OSError as error:
                logger.warning("no memory to share with process %s: %s", peer.pid, error)
            else:
                self.post(peer, bytes([Kind.OFFER]) + offer, weight=len(offer))

    def _unmap(self, inode: int) -> None:
        self.mapped.pop(inode).close()
