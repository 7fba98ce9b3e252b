"""The TCP ports that a node's processes listen at."""

from __future__ import annotations

import errno
import socket

__all__ = ["Ports"]

_BACKLOG = 4096  # the kernel lowers it to its own limit


class Ports:
    """Binds a socket for each process.

    Args:
        host: The IPv4 or IPv6 address to listen at.
        advertised: The host by which others reach this one.
        first: The lowest port to use; 0: any that is free.
        last: The highest.
    """

    def __init__(self, host: str, advertised: str, first: int = 0, last: int = 0) -> None:
        self._host = host
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._prefix = f"tcp://[{advertised}]" if ":" in advertised else f"tcp://{advertised}"
        self._first = first
        self._count = last - first + 1
        self._next = 0

    def listen(self) -> tuple[str, socket.socket]:
        """A bound and listening socket, and the endpoint that it has for others.

        Raises:
            OSError: There is no port, no descriptor, or no such address on this machine.
        """
        for _ in range(self._count):
            port = self._first + self._next
            self._next = (self._next + 1) % self._count
            try:
                listener = self._bind(port)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and self._first:
                    continue
                raise
            return f"{self._prefix}:{listener.getsockname()[1]}", listener
        last = self._first + self._count - 1
        text = f"all ports from {self._first} to {last} are in use; port_range may be wider"
        raise OSError(errno.EADDRINUSE, text)

    def _bind(self, port: int) -> socket.socket:
        listener = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            # A port of the range may be taken again while what its last user sent is on its way.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._family == socket.AF_INET6:
                # All addresses are those of IPv4 too.
                only = int(self._host != "::")
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            listener.bind((self._host, port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener
