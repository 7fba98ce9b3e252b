"""Mappings of files that last as long as something refers to their bytes.

Python's own `mmap` cannot say when the last view of it is gone while it stays open, nor turn what
it has mapped into a private copy. What is made here can: a *hold* on a mapping is an object with
the buffer interface, and its finalizer tells that nothing refers to it any more.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
from collections.abc import Callable
from typing import Any

from constellation.transport.bulk import LONG

__all__ = ["Mapping"]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

_FAILED = ctypes.c_void_p(-1).value
_ACCESS = mmap.PROT_READ | mmap.PROT_WRITE
_MAP_FIXED = 0x10  # on Linux and macOS


class Mapping:
    """All of a file, mapped and shared with whoever else maps it.

    Args:
        fd: The file, taken over.
        size: Its bytes.

    Raises:
        OSError: It cannot be mapped; the descriptor is closed.

    Attributes:
        held: Whether something refers to its bytes.
        kept: Whether whoever holds it now has it for good, as its user notes it.
        private: Whether what is written here stays here.
        used: When it was last held, as its user notes it.
    """

    __slots__ = ("_address", "_fd", "_size", "held", "kept", "private", "used")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._size = size
        self.held = False
        self.kept = False
        self.private = False
        self.used = 0.0
        try:
            self._address = self._map(None, mmap.MAP_SHARED)
        except BaseException:  # also an interrupt: the descriptor was taken over
            os.close(fd)
            raise

    def hold(self, released: Callable[[], None]) -> memoryview:
        """Its bytes; nothing else may hold them.

        Args:
            released: Called by a finalizer when nothing refers to the bytes any more.
        """
        hold = _hold_of(self._size).from_address(self._address)
        hold.released = released
        self.held = True
        return memoryview(hold).cast("B")

    def isolate(self) -> None:
        """Have what is written from now on stay in this process, and be copied in its forks."""
        self._map(self._address, mmap.MAP_PRIVATE | _MAP_FIXED)
        self.private = True

    def shrink(self) -> bool:
        """Unmap some of it; says whether what is left is soon closed. Nothing may hold it."""
        assert not self.held
        if self._size > LONG:
            left = (self._size - LONG) // mmap.PAGESIZE * mmap.PAGESIZE
            _libc.munmap(self._address + left, self._size - left)
            self._size = left
        return self._size <= LONG

    def close(self) -> None:
        """Unmap it. Nothing may hold it."""
        assert not self.held
        _libc.munmap(self._address, self._size)
        os.close(self._fd)

    def _map(self, address: int | None, flags: int) -> int:
        found: int = _libc.mmap(address, self._size, _ACCESS, flags, self._fd, 0)
        if found == _FAILED:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return found


@functools.lru_cache(maxsize=64)
def _hold_of(size: int) -> Any:
    """The class of the holds on mappings of a size."""

    def tell(hold: Any) -> None:
        hold.released()

    return type("Hold", (ctypes.c_ubyte * size,), {"__del__": tell})
