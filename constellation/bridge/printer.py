"""The printer: what is to be printed is written by threads, so that the bridge's loop never waits.

A terminal may be stopped and a pipe not be read. Then what was put queues up here, `room` says no,
and the loop gives the monitors no room for more output: so the queue is bounded by what these may
still send. Whoever was told that there is no room, or that something is queued, is woken when that
has changed.

Both descriptors have one thread where they are the same file, so that what goes to a terminal stays
in order, and one each where they are not, so that a pipe that nobody reads does not hold up what
goes to the terminal.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
from collections import deque
from collections.abc import Mapping

LIMIT = 1 << 18
"""Bytes that may be queued before there is no room for more."""
_BATCH = 1 << 16  # small pieces are written together, up to about this


def same_file(first: int, second: int) -> bool:
    """Whether two descriptors are of the same terminal, pipe or file."""
    try:
        return os.path.sameopenfile(first, second)
    except OSError:
        return False  # one of them is closed


class NoThread(Exception):
    """The system has no more threads."""


class Printer:
    """Writes to the standard output and error.

    Its threads are started here, and take over the mask of signals. They are no reason for the
    interpreter to stay.

    Args:
        descriptors: The true descriptors for 1 and 2. They stay the caller's.
        limit: See :data:`LIMIT`.
    """

    def __init__(self, descriptors: Mapping[int, int] | None = None, *, limit: int = LIMIT) -> None:
        self._descriptors = {1: 1, 2: 2} if descriptors is None else dict(descriptors)
        self._limit = limit
        # All below is guarded by this lock.
        self._lock = threading.Lock()
        self._queued = 0
        self._room_wanted = False  # someone was told that there is none
        self._end_wanted = False  # someone was told that not all is written
        self._failed: set[int] = set()
        self._failures: list[int] = []  # those not taken yet
        self._lost = False
        self._closed = False
        self._woken = False
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        first = _Lane(self._lock)
        together = same_file(self._descriptors[1], self._descriptors[2])
        self._lanes = {1: first, 2: first if together else _Lane(self._lock)}
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name="cst-printer", daemon=True)
            for lane in set(self._lanes.values())
        ]
        for thread in self._threads:
            try:
                thread.start()
            except RuntimeError as error:
                raise NoThread from error

    # -- the loop's side

    def put(self, fd: int, data: bytes) -> None:
        """Have something written, without waiting. What cannot be written is dropped."""
        with self._lock:
            self._put(fd, data)

    @property
    def room(self) -> bool:
        """Whether more may be put. If not, :meth:`fileno` tells when."""
        with self._lock:
            room = self._queued < self._limit
            # Someone else may have been told no before, and is still to be woken.
            self._room_wanted |= not room
            return room

    @property
    def queued(self) -> int:
        """How many bytes are not written yet. If any, :meth:`fileno` tells when there are none."""
        with self._lock:
            self._end_wanted |= self._queued > 0
            return self._queued

    @property
    def lost(self) -> bool:
        """Whether something was dropped for another reason than that nobody reads it."""
        with self._lock:
            return self._lost

    def fileno(self) -> int:
        """A descriptor that is readable when something has changed, until :meth:`take_failures`."""
        return self._read

    def take_failures(self) -> list[int]:
        """The descriptors that turned out since the last time to take nothing any more."""
        with self._lock:
            if self._woken:
                self._woken = False
                os.read(self._read, 1)
            failures, self._failures = self._failures, []
            return failures

    def close(self) -> None:
        """Wait until everything is written, and let go of what is the printer's own."""
        with self._lock:
            self._closed = True
            for lane in self._lanes.values():
                lane.changed.notify()
        for thread in self._threads:
            thread.join()
        os.close(self._read)
        os.close(self._write)

    # -- the threads' side

    def _run(self, lane: _Lane) -> None:
        while (batch := self._next(lane)) is not None:
            fd, data = batch
            error = _write_all(self._descriptors[fd], data)
            with self._lock:
                self._settle(len(data))
                if error is not None:
                    self._fail(lane, fd, error)

    def _next(self, lane: _Lane) -> tuple[int, bytes] | None:
        with self._lock:
            while not lane.queue:
                if self._closed:
                    return None
                lane.changed.wait()
            fd, data = lane.queue.popleft()
            pieces, size = [data], len(data)
            while lane.queue and lane.queue[0][0] == fd and size < _BATCH:
                pieces.append(lane.queue.popleft()[1])
                size += len(pieces[-1])
        return fd, b"".join(pieces)

    def _fail(self, lane: _Lane, fd: int, error: OSError) -> None:
        """A descriptor takes nothing any more. The lock is held."""
        dropped = sum(len(data) for each, data in lane.queue if each == fd)
        lane.queue = deque(piece for piece in lane.queue if piece[0] != fd)
        self._failed.add(fd)
        self._failures.append(fd)
        if error.errno != errno.EPIPE:
            self._lost = True
            if fd == 1:
                reason = f"constellation: the standard output cannot be written: {error.strerror}\n"
                self._put(2, reason.encode())
        self._wake()
        self._settle(dropped)

    def _put(self, fd: int, data: bytes) -> None:
        if data and fd not in self._failed:
            lane = self._lanes[fd]
            lane.queue.append((fd, data))
            self._queued += len(data)
            lane.changed.notify()

    def _settle(self, size: int) -> None:
        self._queued -= size
        # Not for every line that fits again: the monitors are given room in large pieces.
        if self._room_wanted and self._queued <= self._limit // 2:
            self._room_wanted = False
            self._wake()
        if self._end_wanted and self._queued == 0:
            self._end_wanted = False
            self._wake()

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            os.write(self._write, b"x")  # never waits: it is the only byte


class _Lane:
    """What is to be written by one thread, in order. Guarded by the printer's lock."""

    def __init__(self, lock: threading.Lock) -> None:
        self.queue: deque[tuple[int, bytes]] = deque()
        self.changed = threading.Condition(lock)


def _write_all(descriptor: int, data: bytes) -> OSError | None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view[:_BATCH]) :]
        except BlockingIOError:
            # Someone who shares it has made it non-blocking.
            with contextlib.suppress(ValueError):  # an unusual number: then it is tried again
                select.select([], [descriptor], [])
        except OSError as error:
            return error
    return None
