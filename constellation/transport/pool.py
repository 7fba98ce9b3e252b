"""Blocks of memory that other processes of this machine can map, and which of them are free.

A block is an anonymous file (`memfd_create`), so it vanishes with its last user, however that ends.
A fresh one costs a page fault for each page; so blocks are used again, and closed only when nothing
was sent through them for a while.

Who borrows a block says in the *ledger* that it is done with it: one byte for each block, in a file
of the same kind that every borrower maps. No message is needed, and nobody is woken.

=========  ========================================================================================
LENT       0: the block is the borrower's
RETURNED   1: it may be filled again
DISCARDED  2: it may not, since a fork of the borrower may still read it
=========  ========================================================================================
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from constellation.transport.bulk import LONG, STEP, copy, make_pages

__all__ = [
    "DISCARDED",
    "KEEP",
    "LEDGER_SIZE",
    "LENT",
    "PAUSE",
    "RETURNED",
    "Block",
    "Pool",
    "entry_of",
]

LENT, RETURNED, DISCARDED = 0, 1, 2

SUPPORTED = hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd")

LEDGER_SIZE = 4096
_FIRST_ENTRY = 64
_NONCE = 16

_MOST = 64
"""Blocks of a process at most: each takes two descriptors."""

_SMALLEST = 64 << 10
_ROOMY = 8
"""A free block is too large for what is that much smaller: it would keep much memory for little."""

KEEP = 1.0
_LOOK = 64.0
"""Seconds: how long a free block is kept; and how seldom is looked for those that came back."""

PAUSE = 0.03
"""Seconds from one piece of a large block that is given back to the next."""

_offer = struct.Struct("<QIQ16s")


def entry_of(index: int) -> int:
    """Where in the ledger a block is spoken of."""
    return _FIRST_ENTRY + index


@dataclass(slots=True, eq=False)
class Block:
    """A piece of memory that can be lent.

    Attributes:
        index: Its place in the ledger.
        fd: Its descriptor in this process.
        inode: What tells it from other files, should the number mean another file one day.
        view: Its bytes.
        size: How many those are.
        fresh: Nothing was written to it.
        borrower: The key of the process that has it.
        free_since: Since when nobody has it.
        closed: It is given up.
    """

    index: int
    fd: int
    inode: int
    memory: mmap.mmap
    view: memoryview
    size: int
    fresh: bool = True
    borrower: bytes = b""
    free_since: float | None = None
    closed: bool = False

    def fill(self, data: memoryview) -> None:
        """Write to it. Other threads run meanwhile, and may close it.

        Raises:
            ValueError: It is closed.
        """
        fresh, self.fresh = self.fresh, False
        size = len(data)
        if size <= STEP and not fresh:
            self.view[:size] = data
            return
        # It stays mapped as long as there is this, also if it is closed meanwhile.
        held = ctypes.c_char.from_buffer(self.memory)
        address = ctypes.addressof(held)
        for at in range(0, size, LONG):
            piece = data[at : at + LONG]
            if fresh:
                make_pages(address + at, len(piece))
            copy(address + at, piece)
            if self.closed:
                raise ValueError("the block was closed")

    def shrink(self) -> bool:
        """Give some of its memory back to the system; says whether what is left is soon closed.

        Nothing may be in it that anybody reads. It is closed to its user from now on.
        """
        if self.size > LONG:
            self.closed = True
            self.view.release()
            self.size -= LONG
            os.truncate(self.fd, self.size)
        return self.size <= LONG

    def close(self) -> None:
        """Give it up. Who has mapped it keeps it."""
        self.closed = True
        self.view.release()
        with suppress(BufferError):  # it is being filled, and unmapped after that
            self.memory.close()
        os.close(self.fd)


def _anonymous(size: int) -> tuple[int, int, mmap.mmap]:
    """A new anonymous file: its descriptor, its inode and its memory."""
    fd = os.memfd_create("constellation", os.MFD_CLOEXEC)
    try:
        os.truncate(fd, size)
        return fd, os.fstat(fd).st_ino, mmap.mmap(fd, size)
    except BaseException:  # also an interrupt: the descriptor is nobody's yet
        os.close(fd)
        raise


@dataclass(slots=True)
class Pool:
    """The blocks of this process.

    Not safe for several threads at once, but for `unsent`.

    Attributes:
        unsent: Blocks that were filled and not sent after all. Finalizers append to it.
        due: When `trim` is to be called.
    """

    unsent: deque[Block] = field(default_factory=deque)
    due: float | None = None
    _blocks: dict[int, Block] = field(default_factory=dict)
    _leaving: list[Block] = field(default_factory=list)
    _ledger: mmap.mmap | None = None
    _ledger_fd: int = -1
    _ledger_inode: int = 0
    _look: float = KEEP

    def offer(self) -> bytes:
        """What another process needs to find the ledger.

        Raises:
            OSError: There is no memory to lend.
        """
        if self._ledger is None:
            self._ledger_fd, self._ledger_inode, self._ledger = _anonymous(LEDGER_SIZE)
            self._ledger[:_NONCE] = os.urandom(_NONCE)
        return _offer.pack(os.getpid(), self._ledger_fd, self._ledger_inode, self._ledger[:_NONCE])

    def take(self, size: int, borrower: bytes, now: float) -> Block | None:
        """A block of at least `size` bytes, for a borrower; None if there can be none."""
        assert self._ledger is not None
        self._reclaim(now)
        block = self._fitting(size) or self._made(size)
        if block is None:
            return None
        block.borrower = borrower
        block.free_since = None
        self._ledger[entry_of(block.index)] = LENT
        self._look = KEEP
        if self.due is None or self.due > now + 2 * KEEP:
            self.due = now + KEEP
        return block

    def content(self, index: int, inode: int, size: int, borrower: bytes) -> bytes:
        """A copy of what is in a block that the borrower has.

        Raises:
            ValueError: It has no such block.
        """
        block = self._blocks.get(index)
        if block is None or block.inode != inode or block.free_since is not None:
            raise ValueError(f"no block {index} is lent")
        if block.borrower != borrower or size > block.size:
            raise ValueError(f"block {index} is another one's")
        return bytes(block.view[:size])

    def trim(self, now: float) -> None:
        """Close what was free for long, what is large a little at a time: it is soon due again."""
        leaving = self._leaving
        if not leaving:
            self._reclaim(now)
            for block in list(self._blocks.values()):
                if block.free_since is not None and block.free_since + KEEP <= now:
                    del self._blocks[block.index]
                    leaving.append(block)
            self._look = min(2 * self._look, _LOOK)
        while leaving and leaving[-1].shrink():
            leaving.pop().close()
        if leaving:
            self.due = now + PAUSE
        else:
            self.due = now + self._look if self._blocks else None

    def forget(self, borrower: bytes) -> None:
        """A borrower is gone: what it had is not used again, since a fork of it may have it."""
        for block in list(self._blocks.values()):
            if block.borrower == borrower and block.free_since is None:
                self._drop(block)

    def close(self) -> None:
        """Give everything up."""
        for block in list(self._blocks.values()):
            self._drop(block)
        while self._leaving:
            self._leaving.pop().close()
        if self._ledger is not None:
            self._ledger.close()
            os.close(self._ledger_fd)
            self._ledger = None
        self.due = None

    def _reclaim(self, now: float) -> None:
        assert self._ledger is not None
        while self.unsent:
            block = self.unsent.popleft()
            if not block.closed:
                block.free_since = now
        for block in list(self._blocks.values()):
            if block.free_since is None:
                state = self._ledger[entry_of(block.index)]
                if state == RETURNED:
                    block.free_since = now
                elif state == DISCARDED:
                    self._drop(block)

    def _fitting(self, size: int) -> Block | None:
        fitting = [
            block
            for block in self._blocks.values()
            if block.free_since is not None and size <= block.size <= _ROOMY * size
        ]
        return min(fitting, key=lambda block: block.size, default=None)

    def _made(self, size: int) -> Block | None:
        if len(self._blocks) == _MOST:
            unused = next((b for b in self._blocks.values() if b.free_since is not None), None)
            if unused is None:
                return None
            self._drop(unused)
        rounded = max(_SMALLEST, 1 << (size - 1).bit_length())
        try:
            fd, inode, memory = _anonymous(rounded)
        except OSError:
            return None  # no descriptor or no memory; the buffer travels through the socket then
        index = next(index for index in range(_MOST) if index not in self._blocks)
        block = self._blocks[index] = Block(index, fd, inode, memory, memoryview(memory), rounded)
        return block

    def _drop(self, block: Block) -> None:
        del self._blocks[block.index]
        block.close()


def read_offer(data: bytes) -> tuple[int, int, int, bytes]:
    """The process, the descriptor, the inode and the nonce of an offer.

    Raises:
        struct.error: It is none.
    """
    pid, fd, inode, nonce = _offer.unpack(data)
    return pid, fd, inode, nonce
