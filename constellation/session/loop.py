"""The one loop of a service: descriptors, ZeroMQ sockets and times, in one thread.

The descriptor of a ZeroMQ socket shows edges, and any use of the socket may take one. So what a
socket has is asked of the socket itself, each time before the loop waits, and its descriptor only
ends the wait.
"""

from __future__ import annotations

import heapq
import selectors
from collections.abc import Callable
from time import monotonic
from typing import Any

import zmq

_LONGEST = 3600.0  # seconds of one wait: systems refuse larger ones


class Timer:
    """Something to be done at a time, once."""

    __slots__ = ("action", "when")

    def __init__(self, when: float, action: Callable[[], None]) -> None:
        self.when = when
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """It is not to be done any more. Again, or after it was done, this does nothing."""
        self.action = None


class Loop:
    """Waits, and calls whoever it concerns. For one thread.

    Attributes:
        selector: For descriptors: their data is called with the events.
    """

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._sockets: dict[int, tuple[Callable[[], object], Callable[[], None]]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0

    def watch(self, fd: int, pending: Callable[[], object], ready: Callable[[], None]) -> None:
        """Have `ready` called while a ZeroMQ socket has input; it takes some or all of that.

        Args:
            fd: The descriptor that the socket gives.
            pending: Whether the socket has input.
            ready: Takes it.
        """
        self._sockets[fd] = pending, ready
        self.selector.register(fd, selectors.EVENT_READ, _nothing)

    def watch_socket(self, socket: zmq.Socket[Any], ready: Callable[[], None]) -> None:
        """The same, for a socket that is used as it is."""

        def pending() -> bool:
            return bool(int(socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

        self.watch(int(socket.getsockopt(zmq.FD)), pending, ready)

    def unwatch(self, fd: int) -> None:
        """The socket is about to be closed."""
        del self._sockets[fd]
        self.selector.unregister(fd)

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Have something done at a time (monotonic seconds), or soon after it."""
        timer = Timer(when, action)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Have something done in so many seconds."""
        return self.at(monotonic() + seconds, action)

    def run(self, done: Callable[[], bool], limit: float | None = None) -> bool:
        """Serve until `done`, or for so many seconds. Says whether it is done."""
        end = None if limit is None else monotonic() + limit
        while not done():
            if end is not None and monotonic() >= end:
                return False
            busy = self._serve_sockets()
            if done():
                return True
            self._serve_descriptors(0 if busy else self._timeout(end))
            self._run_timers()
        return True

    def close(self) -> None:
        """Let go of what the loop itself opened."""
        self.selector.close()

    def _serve_sockets(self) -> bool:
        busy = False
        for fd, (pending, ready) in list(self._sockets.items()):
            if fd in self._sockets and pending():
                busy = True
                ready()
        return busy

    def _serve_descriptors(self, timeout: float) -> None:
        registered = self.selector.get_map()
        for key, events in self.selector.select(timeout):
            # Who was called before may have let go of it, and its number may be another's by now.
            current = registered.get(key.fd)
            if current is not None and current.data == key.data:
                key.data(events)

    def _timeout(self, end: float | None) -> float:
        self._drop_cancelled()
        when = self._timers[0][0] if self._timers else None
        if end is not None:
            when = end if when is None else min(when, end)
        return _LONGEST if when is None else min(max(0.0, when - monotonic()), _LONGEST)

    def _run_timers(self) -> None:
        now = monotonic()
        while True:
            self._drop_cancelled()
            if not self._timers or self._timers[0][0] > now:
                return
            timer = heapq.heappop(self._timers)[2]
            action, timer.action = timer.action, None
            if action is not None:
                action()

    def _drop_cancelled(self) -> None:
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)


def _nothing(events: int) -> None:
    """The socket is asked before the next wait."""
