"""Which descriptors a process of ours has: made, handed on and closed in one place.

Python makes every descriptor close-on-exec, so programs that a user starts get none of ours. A fork
gets all, so each role closes by list what is not its own.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Collection

from constellation.process.system import LINUX

_BACKLOG = 4096  # the kernel lowers it to its own limit


def replace_with_null(*descriptors: int) -> None:
    """Make these descriptors /dev/null, so that this process holds up no pipe or terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def close_all_but(keep: Collection[int]) -> None:
    """Close every descriptor that is not in ``keep``.

    For the roles of ours that came out of a fork of the user's program and must not hold open what
    that had open.
    """
    try:
        # The listing's own descriptor is in it, and closed by the time we come to it.
        opened = list(map(int, os.listdir("/proc/self/fd" if LINUX else "/dev/fd")))
    except FileNotFoundError:
        opened = list(range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    for descriptor in opened:
        if descriptor not in keep:
            try:
                os.close(descriptor)
            except OSError:  # of the listing itself
                continue


def adopt_socket(descriptor: int) -> socket.SocketType:
    """The socket object of a Unix stream socket, whose kind is known and need not be asked for.

    It is of the class in C, whose methods a fork need not have pages of Python code for.
    """
    return socket.SocketType(socket.AF_UNIX, socket.SOCK_STREAM, 0, descriptor)


def listen(path: str) -> socket.socket:
    """Bind a socket that processes can connect to from now on.

    Raises:
        OSError: There are no descriptors left, or the directory is gone.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
