"""Files and directories of ours on disk, and the errors of using them.

Some files are there as long as the process that made them, and no longer: the process locks them
with ``flock``, and whoever finds one that is not locked removes it. A lock belongs to an open file
and its copies in forks, so a process that forks without exec hands its files on to the fork.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator

from constellation.program.errors import StoreError

__all__ = ["create_locked", "explained", "in_use", "own_directory", "write_all"]


@contextlib.contextmanager
def explained(path: str) -> Iterator[None]:
    """Errors of the system as those of a store.

    Args:
        path: What they are about, where they do not say it.
    """
    try:
        yield
    except OSError as error:
        raise StoreError.of(os.fsdecode(error.filename or path), error) from error


def own_directory(path: str) -> None:
    """Make a directory that only this user can reach, where there is none.

    Raises:
        StoreError: There is one of another user.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    status = os.stat(path)
    if status.st_uid != os.geteuid():
        raise StoreError(path, "it belongs to another user; choose another directory")
    if stat.S_IMODE(status.st_mode) & 0o077:
        os.chmod(path, 0o700)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``, which one call of the system may not do."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def create_locked(directory: str) -> tuple[int, str]:
    """Make a file with a name of its own, for this user only, and lock it.

    Returns:
        Its descriptor, which the lock belongs to, and its path.
    """
    while True:
        path = os.path.join(directory, secrets.token_hex(16))
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Who swept in between took it for that of a dead process.
            if os.fstat(descriptor).st_nlink:
                return descriptor, path
        except BaseException:  # also an interrupt: the file is nobody's yet
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.close(descriptor)
            raise
        os.close(descriptor)


def in_use(path: str) -> bool:
    """Whether the process that made a file is alive. If not, the file is removed.

    One that is gone is not in use either.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        # Under the lock: its owner finds it removed, or has not begun to use it.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return False
    finally:
        os.close(descriptor)
