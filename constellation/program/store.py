"""Blobs on disk, by their digest: what has arrived once is not sent again.

::

    DIRECTORY/
      lock               held while something is evicted, or pinned
      blobs/ab/cdef...   a blob, named by its SHA-256
      incoming/          what is being written, each file locked by its writer
      pins/              what is in use, each file locked by its user

All processes of a user may use one store at once, on one machine. The locks are ``flock``: the
kernel lets go of them when their process ends, however it does, so what a killed writer or user
left is told from what is in use, and removed by whoever comes by.

*A blob is complete from when it has its name*: it is written under another, measured and hashed
while it arrives, and renamed. Two who write the same one do not disturb each other.

*No fsync.* After a power failure a blob may have its name and not its content. But a blob is not
trusted for its name: its size is looked at when it is asked for, its digest when it is laid out,
and one that is damaged is removed and fetched again. An fsync for each file would cost far more
than to fetch some again after a crash.

*Pins.* A program is pinned before it is asked what is missing of it: from then on none of its blobs
is evicted, neither those that are there nor those that come. A pin also reserves room for what is
to come, so that two who fill the store at once do not exceed its limit together.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping

from constellation.program.disk import explained, in_use, own_directory
from constellation.program.errors import BlobsMissing, StoreError
from constellation.program.manifest import File, Manifest
from constellation.program.pin import Pin, pinned
from constellation.program.writer import Writer
from constellation.units import Mem, MemLike

__all__ = ["Store"]

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_DIGEST = 32  # bytes


class Store:
    """A directory of blobs.

    Args:
        directory: Where it is. It is made, for this user only, where it is not there.
        limit: The most bytes of blobs in it; None: as many as the disk has.

    Raises:
        StoreError: The directory cannot be used.
    """

    def __init__(self, directory: str, limit: MemLike | None = None) -> None:
        self.directory = os.path.abspath(directory)
        self.limit = None if limit is None else int(Mem(limit))
        self._blobs = os.path.join(self.directory, "blobs")
        self._incoming = os.path.join(self.directory, "incoming")
        self._pins = os.path.join(self.directory, "pins")
        self._lock_path = os.path.join(self.directory, "lock")
        with explained(self.directory):
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            for path in (self._blobs, self._incoming, self._pins):
                own_directory(path)
        self.sweep()

    def sweep(self) -> None:
        """Remove what killed processes have left. Also done when a store is opened."""
        with explained(self.directory):
            for directory in (self._incoming, self._pins):
                for name in os.listdir(directory):
                    in_use(os.path.join(directory, name))

    # -- what is there

    def path(self, sha256: bytes) -> str:
        """Where the blob with this digest is, or would be."""
        digits = sha256.hex()
        return os.path.join(self._blobs, digits[:2], digits[2:])

    def has(self, file: File) -> bool:
        """Whether the content of a file is there. One of the wrong size is removed."""
        path = self.path(file.sha256)
        with explained(path):
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                return False
            if stat.S_ISREG(status.st_mode) and status.st_size == file.size:
                return True
        self.discard(file.sha256)
        return False

    def missing(self, manifest: Manifest) -> list[File]:
        """A file for each blob of a program that is not there, in the order of the program."""
        return [file for file in manifest.blobs.values() if not self.has(file)]

    def discard(self, sha256: bytes) -> None:
        """Remove a blob, since it was found to be damaged."""
        path = self.path(sha256)
        with explained(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def open(self, file: File) -> int:
        """Open the content of a file for reading. Gives a descriptor.

        Raises:
            BlobsMissing: It is not there, or had the wrong size and was removed.
        """
        path = self.path(file.sha256)
        with explained(path):
            try:
                descriptor = os.open(path, _FLAGS)
            except FileNotFoundError:
                raise BlobsMissing([file.sha256]) from None
            if os.fstat(descriptor).st_size == file.size:
                return descriptor
            os.close(descriptor)
        self.discard(file.sha256)
        raise BlobsMissing([file.sha256])

    def read(self, file: File, offset: int, size: int) -> bytes:
        """Read from the content of a file.

        Raises:
            BlobsMissing: It is not there, or had the wrong size and was removed.
        """
        descriptor = self.open(file)
        try:
            with explained(self.path(file.sha256)):
                return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    # -- what comes

    def write(self, file: File) -> Writer:
        """Begin to write the content of a file."""
        return Writer(file, self.path(file.sha256), self._incoming)

    # -- what is in use

    def pin(self, manifest: Manifest) -> Pin:
        """Keep what a program needs from being evicted, and make room for what is missing of it.

        Raises:
            StoreError: The program is larger than the limit, or than what other programs that are
                in use leave of it.
        """
        needed = {sha256: file.size for sha256, file in manifest.blobs.items()}
        with explained(self.directory), self._locked():
            self._make_room(needed)
            return Pin(self._pins, needed)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make_room(self, needed: Mapping[bytes, int]) -> None:
        """Evict what was not used for longest, until what is needed has room. Under the lock."""
        kept = {**pinned(self._pins), **needed}
        there = self._there()
        for sha256 in needed.keys() & there.keys():
            with contextlib.suppress(FileNotFoundError):  # it was damaged, as someone just found
                os.utime(self.path(sha256))  # it is used now
        if self.limit is None:
            return
        reserved = sum(kept.values())
        if reserved > self.limit:
            raise StoreError(self.directory, self._too_small(needed, reserved))
        others = [(used, size, sha256) for sha256, (used, size) in there.items()]
        others = sorted(other for other in others if other[2] not in kept)
        excess = reserved + sum(size for _, size, _ in others) - self.limit
        for _, size, sha256 in others:
            if excess <= 0:
                break
            self.discard(sha256)
            excess -= size

    def _too_small(self, needed: Mapping[bytes, int], reserved: int) -> str:
        limit, size = Mem(self.limit or 0).human, sum(needed.values())
        if size > (self.limit or 0):
            return f"the program has {Mem(size).human}, and the store may have {limit} in all"
        return (
            f"the program has {Mem(size).human}, and with the programs in use that comes to "
            f"{Mem(reserved).human}; the store may have {limit} in all"
        )

    def _there(self) -> dict[bytes, tuple[int, int]]:
        """By digest when a blob was last used, in nanoseconds, and its size."""
        there: dict[bytes, tuple[int, int]] = {}
        for first in os.listdir(self._blobs):
            for entry in os.scandir(os.path.join(self._blobs, first)):
                try:
                    sha256 = bytes.fromhex(first + entry.name)
                    status = entry.stat(follow_symlinks=False)
                except (ValueError, FileNotFoundError):
                    continue  # not ours, or just removed
                if len(sha256) == _DIGEST:
                    there[sha256] = (status.st_mtime_ns, status.st_size)
        return there
