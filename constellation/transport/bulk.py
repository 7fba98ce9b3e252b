"""Large memory, copied and given back while other threads run.

Python holds its lock while it copies memory, and while memory that it frees goes back to the
system. For gigabytes either takes tenths of a second or seconds.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from pickle import PickleBuffer

from constellation.wire.fragments import Part, Pieces
from constellation.wire.frames import Buffer

__all__ = ["LONG", "STEP", "copied", "copy", "give_back", "make_pages", "part_of", "pieces_of"]

STEP = 1 << 20
"""Bytes that are copied under Python's lock: some tenths of a millisecond."""

LONG = 32 << 20
"""Bytes that the system makes, copies or takes back within some milliseconds."""

_MADV_POPULATE_WRITE = 23  # Linux 5.14

_libc = ctypes.CDLL(None)  # its functions are called without Python's lock
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def copy(target: int, source: memoryview) -> None:
    """Copy a flat buffer to an address."""
    size = source.nbytes
    if source.readonly:
        # ctypes gives no address of it.
        place = (ctypes.c_char * size).from_address(target)
        with memoryview(place).cast("B") as view:
            for at in range(0, size, STEP):
                view[at : at + STEP] = source[at : at + STEP]
        return
    held = ctypes.c_char.from_buffer(source)  # nobody moves it meanwhile
    address = ctypes.addressof(held)
    for at in range(0, size, LONG):
        ctypes.memmove(target + at, address + at, min(LONG, size - at))


def copied(buffer: Buffer) -> bytes:
    """What is in a buffer, as `bytes` of its own."""
    view = memoryview(buffer)
    size = view.nbytes
    if size <= STEP or not view.c_contiguous:
        return bytes(view)
    # Its pages are there once they are written to. Nobody else has it yet.
    whole = bytes(size)
    address = ctypes.cast(ctypes.c_char_p(whole), ctypes.c_void_p).value
    assert address is not None
    with PickleBuffer(view).raw() as flat:
        copy(address, flat)
    return whole


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


def make_pages(address: int, size: int) -> None:
    """Have the system make whole pages that are not there yet, at once.

    That takes half as long as a fault for each. Where the system cannot do it, faults it is.
    """
    _libc.madvise(address, size, _MADV_POPULATE_WRITE)


def give_back(buffers: list[Buffer]) -> None:
    """Empty a list of buffers, and give the memory of those back that nothing else refers to.

    It goes back in any case with the last reference, but then under Python's lock.
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
                # Where it fails the memory goes with the buffer.
                _libc.madvise(at, min(LONG, last - at), mmap.MADV_DONTNEED)
