"""Large buffers that cross memory once, between two processes of one machine.

The sender copies a buffer into a block of its pool and sends a *reference*; the receiver maps the
block and gives the mapping to whoever unpickles, an array say, which is at home there until it is
dropped. Then the block goes back to the sender's pool (see `constellation.transport.pool`).

- *Whether.* A process that has something large for a peer *offers* to lend it memory. The peer
  tries to open the offered ledger, which tells whether it can (it may run elsewhere, or under
  another user), and answers. Until then, and wherever anything is short, buffers go in messages.
- *Values stay values.* The sender does not touch a block until it is given back. Where the receiver
  forks, what it holds becomes private to it and to the fork.
- *Nothing is lost.* A block is opened when its message arrives, before that is acknowledged, and a
  process leaves only when what it sent was acknowledged. Of one that was killed, what had not
  arrived is lost with it, and the stream ends before it.
- *Nothing is left.* The kernel frees a block with its last user.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import struct
from time import monotonic
from typing import TYPE_CHECKING, Any

from constellation.transport.mapping import Mapping
from constellation.transport.pool import (
    DISCARDED,
    KEEP,
    LEDGER_SIZE,
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
    from constellation.wire.events import Arrived, Closed, Opened
    from constellation.wire.frames import Buffer

__all__ = ["STREAM", "Gone", "Ledger", "Lent", "Memory", "Negotiation"]

logger = logging.getLogger(__name__)

STREAM = "\0memory"
"""The name of the streams that offers and answers travel on."""

_ACCEPTED = b"\1"
_REFUSED = b"\0"

_reference = struct.Struct("<IIQQ")

_MAPPED_MOST = 64
"""Blocks that a process has mapped at most, each with a descriptor; of more it takes a copy."""


class Gone(Exception):
    """The process that lent a block is gone, and the block with it."""


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
        part = cls(_reference.pack(block.fd, block.index, size, block.inode))
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

    def borrow(self, reference: Buffer) -> Buffer:
        """The buffer that a part of a message stands for. It can be written to.

        It is given back only if `keep` was called for it: who is interrupted before it has put the
        buffer where it belongs borrows it again.

        Raises:
            Gone: The peer is, and the block with it.
            OSError: It cannot be had here.
            struct.error: The part is no reference.
        """
        number, index, size, inode = _reference.unpack(reference)
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

    def decline(self, reference: Buffer) -> None:
        """What the part stands for cannot be had here: the peer may lend the block again."""
        if len(reference) == _reference.size:
            _, index, _, _ = _reference.unpack(reference)
            self._map[entry_of(index)] = RETURNED

    def keep(self, reference: Buffer) -> None:
        """What the part stands for has come to where it belongs."""
        _, index, _, inode = _reference.unpack(reference)
        mapping = self._memory.mapped.get(inode)
        if mapping is not None and mapping.held:
            mapping.kept = True
        else:
            self._map[entry_of(index)] = RETURNED  # it was copied

    def _open(self, number: int, size: int, inode: int) -> tuple[int, int]:
        """The file of a block, and its size."""
        try:
            fd = os.open(f"/proc/{self._pid}/fd/{number}", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ESRCH):
                raise Gone from None
            raise
        status = os.fstat(fd)
        if status.st_ino != inode or status.st_size < size:
            os.close(fd)
            raise Gone  # the number of the process is another one's by now
        return fd, status.st_size


def _read(fd: int, size: int) -> bytearray:
    whole = bytearray(size)
    try:
        with memoryview(whole) as view:
            done = 0
            while done < size:
                done += os.preadv(fd, [view[done:]], done)
    finally:
        os.close(fd)
    return whole


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
        self.due: float | None = None
        self._trim_at: float | None = None  # what is mapped

    def trim(self, now: float) -> None:
        """Give up what was not used for a while."""
        if self.pool.due is not None and self.pool.due <= now:
            self.pool.trim(now)
        if self._trim_at is not None and self._trim_at <= now:
            for inode, mapping in list(self.mapped.items()):
                if not mapping.held and (mapping.private or mapping.used + KEEP <= now):
                    self._unmap(inode)
            self._trim_at = now + KEEP if self.mapped else None
        self._set_due()

    def lend(self, peer: Peer, data: memoryview) -> Lent | None:
        """Copy a buffer to where the peer can map it; None if it cannot. Takes the lock."""
        if self._transport.lock.held():
            return None  # a handler or a finalizer sends
        with self._transport.lock:
            if not peer.lends or peer.ended:
                if peer.lends is None:
                    self._offer(peer)
                return None
            block = self.pool.take(data.nbytes, peer.pid.key, monotonic())
            if block is None:
                return None
            self._set_due()
        # Made before the copy: whatever interrupts that, the block is given back.
        part = Lent.of(block, data.nbytes, self.pool)
        try:
            block.view[: data.nbytes] = data
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

    def post(self, peer: Peer, message: bytes) -> None:
        """Send the peer something about memory."""
        stream = peer.link.outbound(STREAM)
        if not stream.last:
            stream.open("", "raw")
        stream.push([message], 1, len(message))
        self._transport.later(peer)

    def close(self) -> None:
        """Give up what was lent. What was borrowed may be in use to the last."""
        self.pool.close()
        self.due = self._trim_at = None

    def _set_due(self) -> None:
        self.due = min(filter(None, (self.pool.due, self._trim_at)), default=None)
        if self.due is not None:
            self._transport.reactor.set_timer(self.due)

    def _offer(self, peer: Peer) -> None:
        peer.lends = False
        if SUPPORTED and peer.pid.endpoint.startswith("ipc:"):
            try:
                offer = self.pool.offer()
            except OSError as error:
                logger.warning("no memory to share with process %s: %s", peer.pid, error)
            else:
                self.post(peer, offer)

    def _unmap(self, inode: int) -> None:
        self.mapped.pop(inode).close()


class Negotiation:
    """Where offers and answers of a peer go; an `Inlet` of the transport."""

    in_use = False
    unread = False

    def __init__(self, memory: Memory, peer: Peer) -> None:
        self._memory = memory
        self._peer = peer

    def arrived(self, event: Arrived) -> None:
        """An offer or an answer."""
        event.stream.consumed(event.weight)
        message = bytes(event.parts[0])
        if message in (_ACCEPTED, _REFUSED):
            self._peer.lends = message == _ACCEPTED
            return
        try:
            self._peer.ledger = Ledger(message, self._memory)
        except (OSError, ValueError, struct.error) as error:
            logger.info("cannot share memory with process %s: %s", self._peer.pid, error)
            self._memory.post(self._peer, _REFUSED)
        else:
            self._memory.post(self._peer, _ACCEPTED)

    def opened(self, event: Opened) -> None:
        """Nothing to do: the stream says it all."""

    def closed(self, event: Closed) -> None:
        """Nothing to do: it stays open."""

    def forked(self, lock: Any) -> None:
        """This is a fork of the process."""

    def ended(self) -> None:
        """The peer is gone."""
