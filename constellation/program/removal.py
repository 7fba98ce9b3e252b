"""Removing a directory with all that is in it, whatever a program has made of it.

No link is followed, and no path is longer than two names, however deep the directories go: those
that are inside another are moved to the top before they are emptied. So it takes one descriptor and
no recursion. Directories that their owner may not read or write are made so first.

One that is removed only in part, since its process was killed, still has its name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat

__all__ = ["open_directory", "remove_tree"]

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 100  # at directories that a program goes on writing to


def remove_tree(path: str) -> None:
    """Remove a directory, if there is one.

    Raises:
        OSError: Something in it cannot be removed, or somebody goes on filling it.
    """
    for _ in range(_ATTEMPTS):
        try:
            root = open_directory(path)
        except FileNotFoundError:
            return
        try:
            _empty(root)
        finally:
            os.close(root)
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        else:
            return
    raise OSError(errno.ENOTEMPTY, "somebody goes on writing to it", path)


def open_directory(name: str, parent: int | None = None) -> int:
    """Open a directory that is to be emptied, which may then be read and written.

    Args:
        name: Its path.
        parent: The descriptor of the directory that the path begins in.

    Raises:
        OSError: It is no directory, or not of this user.
    """
    try:
        descriptor = os.open(name, _FLAGS, dir_fd=parent)
    except PermissionError:
        _allow(name, parent)
        descriptor = os.open(name, _FLAGS, dir_fd=parent)
    try:
        if ~os.fstat(descriptor).st_mode & stat.S_IRWXU:
            os.fchmod(descriptor, stat.S_IRWXU)
    except BaseException:  # also an interrupt: the descriptor is nobody's yet
        os.close(descriptor)
        raise
    return descriptor


def _allow(name: str, parent: int | None) -> None:
    """Make a directory readable that cannot be opened, and nothing that a link leads to."""
    if not hasattr(os, "O_PATH"):
        os.chmod(name, stat.S_IRWXU, dir_fd=parent, follow_symlinks=False)
        return
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{descriptor}", stat.S_IRWXU)
    finally:
        os.close(descriptor)


def _empty(root: int) -> None:
    ahead = _unlink_files(root)
    while ahead:
        name = ahead.pop()
        with contextlib.suppress(FileNotFoundError):
            ahead += _empty_one(root, name)
            with contextlib.suppress(OSError):  # not empty again: `remove_tree` comes back
                os.rmdir(name, dir_fd=root)


def _empty_one(root: int, name: str) -> list[str]:
    """Empty a directory in the root. Gives the names under which what was in it is there now."""
    moved = []
    directory = open_directory(name, root)
    try:
        for inner in _unlink_files(directory):
            # To move a directory is to write to it: it names its parent.
            os.close(open_directory(inner, directory))
            new = secrets.token_hex(16)
            os.rename(inner, new, src_dir_fd=directory, dst_dir_fd=root)
            moved.append(new)
    finally:
        os.close(directory)
    return moved


def _unlink_files(directory: int) -> list[str]:
    """Remove all that is not a directory. Gives the names of the directories."""
    directories = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                directories.append(entry.name)
            else:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.name, dir_fd=directory)
    return directories
