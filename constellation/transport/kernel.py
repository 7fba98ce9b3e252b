"""What the system knows of a TCP connection: whether the machine at its other end is there.

A process that is stopped says nothing, but the system that it runs on still acknowledges what is
sent to it. One that has ended has its connections closed by that system. So a machine that is
there, and a connection that is open, are the word of a process that cannot speak for itself.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass

__all__ = ["Connection", "connection", "peer_host", "unanswered", "wait_for_reader"]

_TCP = (socket.AF_INET, socket.AF_INET6)

# Of Linux's `struct tcp_info`: the probes of a closed window that were not answered, the segments
# that were not acknowledged, and the milliseconds since the last acknowledgement.
_INFO = struct.Struct("=3xB20xI28xI")


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection that is another's: who has it may close it at any time.

    The number of its descriptor is another connection's soon after that. So what is asked here, or
    done, is about the one that is meant or about none.

    Attributes:
        fd: The descriptor.
        inode: What the system calls the connection, and no other at the same time or soon after.
    """

    fd: int
    inode: int

    @property
    def open(self) -> bool:
        """Whether the descriptor is still its own."""
        return connection(self.fd) == self


def connection(fd: int) -> Connection | None:
    """What is open there; None: nothing is."""
    try:
        return Connection(fd, os.fstat(fd).st_ino)
    except (OSError, ValueError):
        return None


def peer_host(asked: Connection | None) -> str:
    """The address of the machine at the other end, for people; "" where that is not known."""
    if asked is None:
        return ""
    try:
        with _borrowed(asked.fd) as borrowed:
            if borrowed.family not in _TCP:
                return ""
            # A listener for both versions of IP shows addresses of IPv4 as some of IPv6.
            host = str(borrowed.getpeername()[0]).removeprefix("::ffff:")
    except (OSError, ValueError):
        return ""
    return host if asked.open else ""


def unanswered(asked: Connection | None) -> float | None:
    """The seconds for which the machine at the other end has not answered; 0.0: it has.

    Something has to be sent now and then, or there is nothing to answer.

    Args:
        asked: The connection; any other descriptor is allowed, and not known of.

    Returns:
        None: that is not known, or the connection is closed.
    """
    if sys.platform != "linux" or asked is None:
        return None
    try:
        with _borrowed(asked.fd) as borrowed:
            if borrowed.family not in _TCP:
                return None
            info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except (OSError, ValueError):  # nothing is open there, or it is no number of anything
        return None
    # Looked at afterwards: what is its own now was its own when it was asked.
    if len(info) < _INFO.size or not asked.open:
        return None
    probes, segments, milliseconds = _INFO.unpack(info)
    return milliseconds / 1000 if probes or segments else 0.0


def wait_for_reader(asked: Connection | None) -> None:
    """Let a connection be, however long nobody reads what is sent, while its machine answers.

    Where there is a limit on that, the system closes connections to a process that is stopped.
    Whether the machine answers is then to be asked of :func:`unanswered`.
    """
    if sys.platform != "linux" or asked is None or not asked.open:
        return
    try:
        with _borrowed(asked.fd) as borrowed:
            if borrowed.family in _TCP:
                borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
    except (OSError, ValueError):
        return  # it is closed already, and that is told elsewhere


class _borrowed:  # noqa: N801 - it is used as a function
    """A descriptor as a socket, which stays open afterwards: it is another's."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def __enter__(self) -> socket.socket:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.detach()
