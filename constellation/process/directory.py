"""The directory of a program's sockets.

It is removed by the bridge, or by the zygote if the bridge was killed. Where both were killed at
once nobody is left, so each bridge removes what it finds of such programs when its own has ended.
Whether a program is dead tells the lock on its directory: bridge and zygote hold it through one
open file, and the kernel lets go of it with the last of them. Unlike the number of a process that
holds also where several containers share the directory that all of it is in.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile

from constellation.process.system import LINUX

__all__ = ["SOCKET_PATH_LIMIT", "RuntimeDirectory", "nameless_file", "sweep"]

SOCKET_PATH_LIMIT = 107 if LINUX else 103
"""Bytes of the longest path of a Unix socket, without the zero byte that ends it."""

_KEY_DIGITS = 32
_PREFIX = "cst-"
_NEW = ".new"
_KINDS = stat.S_IFSOCK, stat.S_IFREG
"""What there may be in it: sockets, and files that somebody was killed while he took their name."""

_NAME = re.compile(re.escape(_PREFIX) + r"\w{8}")


class RuntimeDirectory:
    """A directory that only this user can reach, and the lock on it.

    Attributes:
        path: Where it is. Short enough for sockets named by the keys of Pids.
    """

    __slots__ = ("_descriptor", "path")

    def __init__(self) -> None:
        """Make one."""
        path = tempfile.mkdtemp(prefix=_PREFIX, suffix=_NEW)
        length = len(os.fsencode(path)) - len(_NEW) + 1 + _KEY_DIGITS
        # A Pid holds the path as printable text.
        if length > SOCKET_PATH_LIMIT or not path.isprintable():
            os.rmdir(path)
            path = tempfile.mkdtemp(prefix=_PREFIX, suffix=_NEW, dir="/tmp")
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # A file system without locks keeps what it has: `sweep` can lock nothing there either.
        with contextlib.suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It gets the name by which others find it when it is locked already.
        self.path = path.removesuffix(_NEW)
        os.rename(path, self.path)

    @classmethod
    def inherited(cls, path: str, descriptor: int) -> RuntimeDirectory:
        """That of the process that started this one."""
        directory = cls.__new__(cls)
        directory.path = path
        directory._descriptor = descriptor
        return directory

    def fileno(self) -> int:
        """The descriptor that the lock belongs to, and to its copies in forks."""
        return self._descriptor

    def close(self) -> None:
        """Leave the lock to others that have it."""
        os.close(self._descriptor)

    def remove(self) -> None:
        """Remove it and what is in it. Whoever comes second finds nothing to do."""
        with contextlib.suppress(FileNotFoundError):
            _remove(self.path)


def nameless_file(directory: str, name: str) -> int:
    """The descriptor of a new file that goes with its last descriptor.

    Args:
        directory: A runtime directory.
        name: What it is called until it has no name.

    Raises:
        OSError: There is no descriptor, or no room.
    """
    path = os.path.join(directory, f"{name}-{os.getpid()}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
    file = os.open(path, flags, 0o600)
    os.unlink(path)
    return file


def sweep(parent: str) -> None:
    """Remove the runtime directories of dead programs of this user.

    Args:
        parent: The directory that they are in.
    """
    try:
        names = os.listdir(parent)
    except OSError:
        return  # it may be used, but not read
    for name in names:
        if _NAME.fullmatch(name):
            # It is in use, or another user's, or has what no program of ours puts there.
            with contextlib.suppress(OSError):
                _remove_abandoned(os.path.join(parent, name))


def _remove_abandoned(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    for entry in os.scandir(path):
        if stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode) in _KINDS:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.path)
    os.rmdir(path)
