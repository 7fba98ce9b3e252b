"""A TCP proxy that does what networks do: it delays, throttles, cuts and resets connections."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from types import TracebackType
from typing import final

_CHUNK = 1 << 16
_MOST_HELD = 1 << 22  # bytes that it holds of a direction, as the buffers of a network would


class _Pipe:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.held: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.ended = False


@final
class TcpProxy:
    """Listens on loopback, and passes on to a port there.

    Args:
        port: Where to pass on to.
        host: The address of that.
        listen: Where to listen.
        delay: Seconds that each byte takes.
        rate: Bytes a second for each direction of each connection; None: as fast as it goes.
    """

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        listen: tuple[str, int] = ("127.0.0.1", 0),
        delay: float = 0.0,
        rate: float | None = None,
    ) -> None:
        self.delay = delay
        self.rate = rate
        self.passed = 0  # bytes, in both directions
        self.accepted = 0
        self._target = port
        self._host = host
        self._lock = threading.Lock()
        self._frozen = False
        self._pipes: list[_Pipe] = []
        self._listener = socket.create_server(listen)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="tcp-proxy")
        self._thread.start()

    # -- what networks do

    def cut(self) -> None:
        """Close all connections in both directions, wherever they are in a message."""
        self._end_all(reset=False)

    def reset(self) -> None:
        """The same, with RST."""
        self._end_all(reset=True)

    def retarget(self, port: int) -> None:
        """Pass what connects from now on to another port."""
        self._target = port

    def freeze(self) -> None:
        """Pass nothing on, as an unplugged cable, and accept nobody."""
        with self._lock:
            self._frozen = True

    def thaw(self) -> None:
        """Go on, with what was held."""
        with self._lock:
            self._frozen = False
        self._wake.send(b"x")

    def close(self) -> None:
        """End everything."""
        self._stopping = True
        self._wake.send(b"x")
        self._thread.join()
        self._end_all(reset=False)
        for each in (self._listener, self._wake, self._woken):
            each.close()

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- inside

    def _end_all(self, *, reset: bool) -> None:
        with self._lock:
            for pipe in self._pipes:
                self._end(pipe, reset=reset)
            self._pipes.clear()
        with contextlib.suppress(OSError):
            self._wake.send(b"x")

    def _end(self, pipe: _Pipe, *, reset: bool) -> None:
        for each in (pipe.source, pipe.target):
            with contextlib.suppress(OSError):
                if reset:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.close()

    def _run(self) -> None:
        while not self._stopping:
            with self._lock:
                timeout = self._turn()
                readers = self._readers()
            with selectors.DefaultSelector() as selector:
                for each in readers:
                    with contextlib.suppress(ValueError, KeyError):  # cut meanwhile
                        selector.register(each, selectors.EVENT_READ)
                selector.select(timeout)
            with contextlib.suppress(BlockingIOError):
                self._woken.setblocking(False)
                self._woken.recv(100)

    def _readers(self) -> list[socket.socket]:
        if self._frozen:
            return [self._woken]
        open_ones = [p.source for p in self._pipes if not p.ended and p.size < _MOST_HELD]
        return [self._woken, self._listener, *open_ones]

    def _turn(self) -> float:
        """Move what can be moved. Gives when to look again. The lock is held."""
        if self._frozen:
            return 1.0
        self._accept()
        now = time.monotonic()
        nearest = 1.0
        for pipe in list(self._pipes):
            try:
                self._read(pipe, now)
                nearest = min(nearest, self._write(pipe, now))
            except OSError:
                self._drop(pipe)
        return nearest

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            near, _ = self._listener.accept()
            self.accepted += 1
            try:
                far = socket.create_connection((self._host, self._target))
            except OSError:
                near.close()
                return
            for each in (near, far):
                each.setblocking(False)
            self._pipes += [_Pipe(near, far), _Pipe(far, near)]

    def _read(self, pipe: _Pipe, now: float) -> None:
        while not pipe.ended and pipe.size < _MOST_HELD:
            try:
                data = pipe.source.recv(_CHUNK)
            except BlockingIOError:
                return
            if not data:
                pipe.ended = True
                return
            due = now + self.delay
            if self.rate is not None:
                start = max(due, pipe.held[-1][0] if pipe.held else 0.0)
                due = start + len(data) / self.rate
            pipe.held.append((due, data))
            pipe.size += len(data)

    def _write(self, pipe: _Pipe, now: float) -> float:
        while pipe.held:
            due, data = pipe.held[0]
            if due > now:
                return due - now
            try:
                sent = pipe.target.send(data)
            except BlockingIOError:
                return 0.005
            self.passed += sent
            pipe.size -= sent
            if sent < len(data):
                pipe.held[0] = (due, data[sent:])
                return 0.005
            pipe.held.popleft()
        if pipe.ended:
            self._drop(pipe)
        return 1.0

    def _drop(self, pipe: _Pipe) -> None:
        for each in [p for p in self._pipes if p.source in (pipe.source, pipe.target)]:
            self._pipes.remove(each)
        self._end(pipe, reset=False)
