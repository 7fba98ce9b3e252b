"""The directory that a program runs in: a fresh copy of its files, for one deployment on one node.

A copy is the program's own, to write to and to leave things in. It is never a hard link into the
store, where a program that writes to its files would change them for all. Where the file system can
share blocks until they are written to (a *reflink*, on btrfs, XFS and others) nothing is copied.
Elsewhere each file is read and written once, and hashed in between: the digest is verified here, so
whatever copied it without showing it, such as ``copy_file_range``, would have it read twice.

Nothing is written outside of the directory. The manifest names nothing there; each directory is
opened from the one above it, without following a link; a file is made only where there is nothing;
and links are made last.

The directory is locked, with ``flock``, by the process that made it. Those of dead processes are
removed by :func:`sweep`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
from types import TracebackType
from typing import TYPE_CHECKING

from constellation.program.disk import explained, write_all
from constellation.program.errors import BlobsMissing, StoreError
from constellation.program.manifest import Directory, Entry, File, Link, Manifest, shown
from constellation.program.removal import open_directory, remove_tree
from constellation.program.store import Store

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Tree", "fill", "lay_out", "sweep"]

_NAME = re.compile(r"tree-[0-9a-f]{16}")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FICLONE = 0x40049409
_AT_ONCE = 1 << 20


class Tree:
    """A directory with a program's files.

    Args:
        parent: The directory that it is made in.

    Attributes:
        path: Where it is. Only this user can reach it.
    """

    def __init__(self, parent: str) -> None:
        while True:
            self.path = os.path.join(os.path.abspath(parent), f"tree-{secrets.token_hex(8)}")
            os.mkdir(self.path, 0o700)
            try:
                self._descriptor = os.open(self.path, _DIRECTORY)
            except FileNotFoundError:
                continue  # swept as that of a dead process, as below
            # On a file system without locks `sweep` can lock nothing either, and removes nothing.
            with contextlib.suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            # Who swept in between took it for that of a dead process.
            if os.fstat(self._descriptor).st_nlink:
                return
            os.close(self._descriptor)

    def fileno(self) -> int:
        """Its descriptor, which the lock belongs to, and to its copies in forks."""
        return self._descriptor

    def remove(self) -> None:
        """Remove it with all that is in it. A second time there is nothing to do.

        Raises:
            StoreError: Something in it cannot be removed.
        """
        if self._descriptor < 0:
            return
        with explained(self.path):
            remove_tree(self.path)
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


def lay_out(manifest: Manifest, store: Store, parent: str) -> Tree:
    """Make a directory with the files of a program.

    Args:
        manifest: The program. It is pinned in the store.
        store: Where its blobs are.
        parent: The directory that it is made in.

    Raises:
        BlobsMissing: Some are not in the store, or were damaged: they are to be fetched, and this
            done again. There is no directory.
        StoreError: It cannot be written, as where the disk is full. There is no directory.
    """
    with explained(parent):
        tree = Tree(parent)
    try:
        fill(tree.fileno(), tree.path, manifest, store)
    except BaseException:  # also an interrupt: nobody else will remove it
        tree.remove()
        raise
    return tree


def sweep(parent: str) -> None:
    """Remove the directories of programs whose process is dead.

    Args:
        parent: The directory that they were made in; there may be none.

    Raises:
        StoreError: Something of them cannot be removed.
    """
    with explained(parent):
        try:
            names = os.listdir(parent)
        except FileNotFoundError:
            return
    failed: StoreError | None = None
    for name in names:
        path = os.path.join(parent, name)
        try:
            with explained(path):
                if _NAME.fullmatch(name):
                    _remove_abandoned(path)
        except StoreError as error:
            failed = failed or error  # the others are removed all the same
    if failed is not None:
        raise failed


def _remove_abandoned(path: str) -> None:
    try:
        if os.lstat(path).st_uid != os.geteuid():
            return
        descriptor = open_directory(path)
    except (FileNotFoundError, NotADirectoryError):
        return  # another one was faster, or it is not ours
    except OSError as error:
        if error.errno == errno.ELOOP:
            return
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # it is in use, or there are no locks here
    else:
        remove_tree(path)
    finally:
        os.close(descriptor)


# -- filling --------------------------------------------------------------------------------------


def fill(root: int, path: str, manifest: Manifest, store: Store) -> None:
    """Write the files of a program to a directory.

    Args:
        root: Its descriptor.
        path: Where it is, for errors.
        manifest: The program.
        store: Where its blobs are.

    Raises:
        BlobsMissing: Some are not in the store. All others were written.
        StoreError: Something cannot be written, or is there already.
    """
    missing: list[bytes] = []
    with _Filling(root, store) as filling:
        links = [entry for entry in manifest.entries if type(entry) is Link]
        for entry in [*(entry for entry in manifest.entries if type(entry) is not Link), *links]:
            try:
                filling.add(entry)
            except BlobsMissing as error:
                missing += error.digests
            except OSError as error:
                raise StoreError.of(os.path.join(path, shown(entry.path)), error) from error
    if missing:
        raise BlobsMissing(missing)


class _Filling:
    """Directories that are open on the way to where something is added."""

    def __init__(self, root: int, store: Store) -> None:
        self._root = root
        self._store = store
        self._clones = hasattr(fcntl, "ioctl") and os.uname().sysname == "Linux"
        self._names: list[bytes] = []
        self._descriptors: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave(0)

    def add(self, entry: Entry) -> None:
        parent, _, name = entry.path.rpartition(b"/")
        if type(entry) is Directory:
            self._enter(entry.path)
        elif type(entry) is Link:
            os.symlink(entry.target, name, dir_fd=self._enter(parent))
        elif type(entry) is File:
            self._write(self._enter(parent), name, entry)

    def _enter(self, path: bytes) -> int:
        """Open a directory in the root, which is made if it is not there."""
        names = path.split(b"/") if path else []
        common = 0
        for ours, theirs in zip(self._names, names, strict=False):
            if ours != theirs:
                break
            common += 1
        self._leave(common)
        for name in names[common:]:
            above = self._descriptors[-1] if self._descriptors else self._root
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=above)
            self._descriptors.append(os.open(name, _DIRECTORY, dir_fd=above))
            self._names.append(name)
        return self._descriptors[-1] if self._descriptors else self._root

    def _leave(self, depth: int) -> None:
        while len(self._descriptors) > depth:
            os.close(self._descriptors.pop())
            self._names.pop()

    def _write(self, parent: int, name: bytes, file: File) -> None:
        source = self._store.open(file)
        try:
            # As with any file that a program makes, the umask decides who else may read it.
            mode = 0o777 if file.executable else 0o666
            target = os.open(name, _NEW, mode, dir_fd=parent)
            try:
                sha256 = self._copy(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)
        if sha256 != file.sha256:
            os.unlink(name, dir_fd=parent)
            self._store.discard(file.sha256)
            raise BlobsMissing([file.sha256])

    def _copy(self, source: int, target: int) -> bytes:
        """Copy a file. Gives the SHA-256 of the copy."""
        cloned = self._clones and _clone(source, target)
        # The first one tells: all blobs are in one place, and all copies in another.
        self._clones = cloned
        sha256 = hashlib.sha256()
        while data := os.read(target if cloned else source, _AT_ONCE):
            sha256.update(data)
            if not cloned:
                write_all(target, data)
        return sha256.digest()


def _clone(source: int, target: int) -> bool:
    """Let a file share the blocks of another, if the file system can."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        # It cannot, it is another one, or such calls are filtered. A full disk is an error.
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
            raise
        return False
    return True
