"""Large memory, copied and given back a little at a time: other threads shall have their turn.

Both take long for gigabytes, and Python lets no other thread run meanwhile.
"""

from __future__ import annotations

import ctypes
import io
import mmap
import sys
from pickle import PickleBuffer

from constellation.transport.mapping import LONG
from constellation.wire.fragments import Part, Pieces
from constellation.wire.frames import Buffer

__all__ = ["LONG", "STEP", "copied", "give_back", "part_of", "pieces_of"]

STEP = 1 << 20
"""Bytes that are copied at a time: some tenths of a millisecond."""

_libc = ctypes.CDLL(None)
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def copied(buffer: Buffer) -> bytes:
    """What is in a buffer, as `bytes` of its own."""
    view = memoryview(buffer)
    size = view.nbytes
    if size <= STEP or not view.c_contiguous:
        return bytes(view)
    # Made at its size, of pages that are there once they are written to. The file is the only one
    # to have it, and so gives it away without a copy.
    whole = io.BytesIO(bytes(size))
    with PickleBuffer(view).raw() as flat:
        for at in range(0, size, STEP):
            whole.write(flat[at : at + STEP])
    return whole.getvalue()


def pieces_of(buffer: Buffer) -> list[bytes]:
    """What is in a buffer, in several `bytes` where it is large."""
    view = memoryview(buffer)
    if view.nbytes <= LONG or not view.c_contiguous:
        return [copied(view)]
    with PickleBuffer(view).raw() as flat:
        return [copied(flat[at : at + LONG]) for at in range(0, len(flat), LONG)]


def part_of(buffer: Buffer) -> Part:
    """What is in a buffer, as the part of a message."""
    pieces = pieces_of(buffer)
    return Pieces(pieces) if len(pieces) > 1 else pieces[0]


def give_back(buffers: list[Buffer]) -> None:
    """Empty a list of buffers, and give the memory of those back that nothing else refers to.

    It goes back in any case with the last reference. But that takes long where a buffer is large,
    and is done while Python lets no other thread run.
    """
    while buffers:
        buffer = buffers.pop()
        if (
            type(buffer) is bytearray
            and len(buffer) >= LONG
            and sys.getrefcount(buffer) <= 2  # this variable, and the argument
            and sys.platform == "linux"  # elsewhere the advice means something else
        ):
            first = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
            last = (first + len(buffer)) // mmap.PAGESIZE * mmap.PAGESIZE
            start = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE
            for at in range(start, last, LONG):
                # In C, while other threads run. Where it fails the memory goes with the buffer.
                _libc.madvise(at, min(LONG, last - at), mmap.MADV_DONTNEED)
