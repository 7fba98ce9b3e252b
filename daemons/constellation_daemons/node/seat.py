"""Where the node of a master is found: a lock that there is one, and the sockets it listens at.

A master and its own node are two processes, and either may be there without the other. So there is
a file for each address at which a master listens, which its node has locked for as long as it
lives, and the system says who has (`F_GETLK`). Beside it are two Unix sockets: at one the node
takes its master's session, as other nodes do at their `fabric_addr`, and at the other its
lifeline, which ends with the process at the other end.

What an address means depends on the machine, and so does who may be found there: homes may be
shared by machines, and by containers on one. So all that is named by both.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import struct
from pathlib import Path

from constellation.address import Address
from constellation.process import descriptors
from constellation.process.directory import SOCKET_PATH_LIMIT
from constellation.process.system import LINUX

__all__ = ["Seat", "here"]

_LOCK, _NODE, _LIFE = ".lock", ".node", ".life"
_DIGITS = 16
_HELD = (errno.EACCES, errno.EAGAIN)
# `struct flock`, whose members have an order of their own on each system.
_FLOCK = struct.Struct("hhqqi0q" if LINUX else "qqihh")


class Seat:
    """The place of the node of a master.

    Args:
        directory: Where such places are. It is for this user only.
        address: Where the master listens.
    """

    def __init__(self, directory: str, address: Address) -> None:
        name = hashlib.sha256(f"{here()} {address}".encode()).hexdigest()[:_DIGITS]
        self._directory = directory
        self._path = os.path.join(directory, name)
        self._lock: int | None = None
        self._short = -1  # the directory, where its path is too long for sockets
        if LINUX and len(os.fsencode(self._path + _NODE)) > SOCKET_PATH_LIMIT:
            self._short = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    # -- for masters

    def holder(self) -> int | None:
        """The process that has the place; None: nobody.

        It is 0 where that is in a container which this process does not see.

        Raises:
            OSError: It cannot be found out.
        """
        try:
            descriptor = os.open(self._path + _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            found = fcntl.fcntl(descriptor, fcntl.F_GETLK, _asked())
        finally:
            os.close(descriptor)
        kind, process = _answer(found)
        return None if kind == fcntl.F_UNLCK else process

    @property
    def endpoint(self) -> str:
        """Where the node takes its master's session, as ZeroMQ writes it."""
        return f"ipc://{self._socket(_NODE)}"

    def connect(self) -> socket.socket:
        """A lifeline to the node.

        Raises:
            OSError: It takes none: it is not ready for that yet, or any more.
        """
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            found.setblocking(False)
            found.connect(self._socket(_LIFE))
        except OSError:
            found.close()
            raise
        return found

    # -- for the node

    def take(self) -> bool:
        """Have the place, until this process ends. Gives whether it has it: another one may.

        Raises:
            OSError: There can be no lock.
        """
        self._lock = _locked(self._path + _LOCK)
        if self._lock is None:
            return False
        self._remove_sockets()  # of one that was killed
        self._sweep()
        return True

    def listen(self) -> tuple[socket.socket, socket.socket]:
        """Listen: for the session, and for lifelines.

        Raises:
            OSError: That cannot be.
        """
        session = descriptors.listen(self._socket(_NODE))
        try:
            return session, descriptors.listen(self._socket(_LIFE))
        except OSError:
            session.close()
            raise

    def leave(self) -> None:
        """Remove what is in the place. The lock goes with this process, which is about to end."""
        self._remove_sockets()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path + _LOCK)

    def _sweep(self) -> None:
        """Remove what killed nodes of other addresses have left."""
        for lock in Path(self._directory).glob(f"*{_LOCK}"):
            if str(lock) == self._path + _LOCK:
                continue
            with contextlib.suppress(OSError):
                descriptor = _locked(str(lock))
                if descriptor is not None:
                    for kind in (_NODE, _LIFE, _LOCK):
                        lock.with_suffix(kind).unlink(missing_ok=True)
                    os.close(descriptor)

    def _remove_sockets(self) -> None:
        for kind in (_NODE, _LIFE):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path + kind)

    def _socket(self, kind: str) -> str:
        """The path of a socket, which is never a long one on Linux."""
        if self._short < 0:
            return self._path + kind
        return f"/proc/self/fd/{self._short}/{os.path.basename(self._path)}{kind}"

    def close(self) -> None:
        """Let go of what was opened for it, and of the lock."""
        for descriptor in (self._short, -1 if self._lock is None else self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._short, self._lock = -1, None


def here() -> str:
    """What tells the network that addresses are of from those of others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/net').st_ino}"
    except OSError:  # this is not Linux
        return socket.gethostname()


def _locked(path: str) -> int | None:
    """The descriptor of a file that this process has locked; None: another one has."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # One that belongs to the process: no fork has it, and who has it can be asked.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            if error.errno in _HELD:
                return None
            raise
        os.close(descriptor)  # who had it before has removed it


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _asked() -> bytes:
    """Whether anybody keeps this process from locking all of a file."""
    if LINUX:
        return _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    return _FLOCK.pack(0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)


def _answer(found: bytes) -> tuple[int, int]:
    """The kind of the lock, and whose it is."""
    fields = _FLOCK.unpack(found)
    return (fields[0], fields[4]) if LINUX else (fields[3], fields[2])
