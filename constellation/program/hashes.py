"""The digests of files that were packed before, so that an unchanged file is not read again.

A digest is that of a file as long as its size, its inode and its times are what they were. A file
that is written twice within the resolution of its times looks the same, so nothing is remembered of
one that had changed less than :data:`RACY` before it was read; git calls such files racy. What was
changed with the times put back is seen by the time of that change, which cannot be put back.

There is one file for each program's directory, in the user's cache directory. It holds nothing that
cannot be found out again: one that is damaged or cannot be written costs time and no more.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from typing import NamedTuple

import msgspec

from constellation.user_places import cache_directory

__all__ = ["RACY", "Hashes", "Stamp"]

RACY = 2_000_000_000
"""Nanoseconds. File systems with the coarsest times tell two seconds apart."""

_KEPT = 90 * 24 * 3600  # seconds after which what is known of a directory is forgotten
_SUFFIX = ".hashes"

log = logging.getLogger(__name__)


class Stamp(NamedTuple):
    """By what a file is known to be unchanged."""

    size: int
    mtime: int  # nanoseconds, as is
    ctime: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """That of a file with this status."""
        return cls(
            status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev
        )


_Known = dict[bytes, tuple[Stamp, bytes]]
_decoder = msgspec.msgpack.Decoder(_Known)


class Hashes:
    """The digests of the files of one directory.

    Args:
        directory: The directory, in full.
        cache: Where they are kept; None: in the user's cache directory, if there is one.
    """

    def __init__(self, directory: str, cache: str | None = None) -> None:
        if cache is None:
            own = cache_directory()
            cache = None if own is None else os.path.join(own, "hashes")
        name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:32]
        self._path = None if cache is None else os.path.join(cache, name + _SUFFIX)
        self._known = self._read()
        self._now: _Known = {}

    def get(self, path: bytes, stamp: Stamp) -> bytes | None:
        """The digest of a file that has been packed before and is unchanged since.

        Args:
            path: Where it is in the directory.
            stamp: That of the file as it is now.
        """
        known = self._known.get(path)
        if known is None or known[0] != stamp:
            return None
        self._now[path] = known
        return known[1]

    def put(self, path: bytes, stamp: Stamp, sha256: bytes, now: int) -> None:
        """Remember the digest of a file.

        Args:
            path: Where it is in the directory.
            stamp: That of the file when it was read.
            sha256: Its digest.
            now: When it was begun to be read: the wall clock in nanoseconds, since the times of
                files are of that clock.
        """
        if now - max(stamp.mtime, stamp.ctime) >= RACY:
            self._now[path] = (stamp, sha256)

    def save(self) -> None:
        """Keep what was asked for or put in, and forget the rest."""
        if self._now == self._known or self._path is None:
            return
        cache = os.path.dirname(self._path)
        try:
            os.makedirs(cache, mode=0o700, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=cache, suffix=_SUFFIX)
            try:
                with open(descriptor, "wb") as file:
                    file.write(msgspec.msgpack.encode(self._now))
                os.replace(temporary, self._path)
            except BaseException:  # also an interrupt: the file is nobody's yet
                os.unlink(temporary)
                raise
            _forget(cache)
        except OSError as error:
            log.info("digests are not kept for the next time: %s", error)

    def _read(self) -> _Known:
        if self._path is None:
            return {}
        try:
            with open(self._path, "rb") as file:
                return _decoder.decode(file.read())
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            log.info("digests that were kept cannot be read: %s", error)
            return {}


def _forget(cache: str) -> None:
    """Remove what has not been of use for long, and what killed processes have left."""
    oldest = time.time() - _KEPT
    for entry in os.scandir(cache):
        if entry.name.endswith(_SUFFIX) and entry.stat().st_mtime < oldest:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)
