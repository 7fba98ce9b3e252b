"""What this process waits for, when its bridge asks: for the detection of deadlocks.

It answers only if it is certain that it does nothing but wait for room or for other processes. So

- each thread that is no daemon is blocked in an operation without a timeout, or runs a loop of
  asyncio that is idle but for such operations, or has ended and waits for the other ones;
- all that was sent was received, and there is nothing to tell any other process;
- no timer of the system is set, whose handler could run, and no child process is there, which could
  do anything.

Anything else is *busy*, and there is no answer. Threads of the library, daemon threads and threads
that Python does not know of do not count. A handler of a signal that somebody else may send
does not either: that can always be.

Nothing is noted for this while operations run. The I/O thread looks at the waits that are there
when a question comes, and that comes only while spawns wait for room.

**Progress.** Between two answers with the same count nothing has happened: the same waits of the
same threads have gone on, and no record was sent or received.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any

from constellation.awaited import Awaited, any_of, is_small
from constellation.control.messages import Examined
from constellation.process import loops, system
from constellation.transport import reactor
from constellation.transport.windows import Windows

if TYPE_CHECKING:
    import asyncio

    from constellation.transport.reactor import LoopWaiter, ThreadWaiter
    from constellation.transport.transport import Transport

__all__ = ["Examiner"]

_SHUTDOWN: Any = threading._shutdown  # type: ignore[attr-defined]
_TRANSPORT = os.path.join(os.path.dirname(os.path.abspath(reactor.__file__)), "")


@dataclass(frozen=True, slots=True, eq=False)
class _Wait:
    """A thread that waits.

    Attributes:
        awaited: What for; None: that is not certain.
        waiters: With what.
        loop: The loop that it runs, if that is what waits.
    """

    awaited: Awaited | None
    waiters: list[ThreadWaiter] | list[LoopWaiter]
    loop: asyncio.AbstractEventLoop | None = None


class Examiner:
    """Answers the bridge. But for :meth:`asked` everything is done by the I/O thread.

    Args:
        transport: Of this process.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._windows = Windows(transport)
        self._progress = 0
        self._records = 0  # that were sent and received at the last examination
        self._waiters = 0  # that there were

    def asked(self, question: int) -> None:
        """The bridge asks. The transport's lock is held."""
        # Without it, since `threading` has locks of its own.
        self._transport.reactor.put_off(partial(self._answer, question))

    def _answer(self, question: int) -> None:
        transport = self._transport
        with transport.lock:
            self._windows.ask(question)
            quiet = transport.quiet
            waits = self._waits()
            records = sum(peer.link.records for peer in transport.peers.values())
        threads = self._threads(waits) if quiet else None
        if threads is None or _may_be_woken():
            self._progress += 1
            return
        self._count(records, [waiter for wait in threads for waiter in wait.waiters])
        awaited = tuple(wait.awaited for wait in threads if wait.awaited is not None)
        if not is_small(awaited):
            return
        with transport.lock:
            transport.tell(Examined(self._windows.since, awaited, self._progress))

    # -- the waits; the lock is held

    def _waits(self) -> dict[int, _Wait]:
        """What each thread waits for that waits for the transport."""
        found: dict[int, _Wait] = {}
        for waiter in self._transport.reactor.blocked():
            awaited = None
            # Of two in one thread the one is in a signal handler, which goes on.
            if not waiter.notified and waiter.deadline.at is None and waiter.ident not in found:
                awaited = waiter.operation._awaited(self._windows)
            found[waiter.ident] = _Wait(awaited, [waiter])
        for loop, suspended in self._by_loop().items():
            ident = loops.thread_of(loop)
            if ident is not None and ident not in found:
                found[ident] = _Wait(self._of_tasks(suspended), suspended, loop)
        return found

    def _by_loop(self) -> dict[asyncio.AbstractEventLoop, list[LoopWaiter]]:
        found: dict[asyncio.AbstractEventLoop, list[LoopWaiter]] = {}
        for waiter in self._transport.reactor.suspended:
            found.setdefault(waiter.loop, []).append(waiter)
        return found

    def _of_tasks(self, suspended: list[LoopWaiter]) -> Awaited | None:
        """What a loop waits for: each of its tasks may have it go on."""
        if any(waiter.notified for waiter in suspended):
            return None
        operations = self._transport.reactor.suspended
        return any_of([operations[waiter]._awaited(self._windows) for waiter in suspended])

    # -- the threads; without the lock

    def _threads(self, waits: dict[int, _Wait]) -> list[_Wait] | None:
        """The waits of the threads that count; None: one of them does something else."""
        frames = sys._current_frames()
        del frames[threading.get_ident()]  # or this frame would refer to itself
        found = []
        # They are asked for now: who has been woken since, and has started another, is seen by it.
        for thread in threading.enumerate():
            if thread.daemon:
                continue
            wait = waits.get(thread.ident or 0)
            frame = frames.get(thread.ident or 0)
            if frame is not None and frame.f_code is _SHUTDOWN.__code__:
                continue  # the main thread has ended, and waits for the others
            if wait is None or wait.awaited is None or not self._sleeps(wait, frame):
                return None
            found.append(wait)
        return found or None

    def _sleeps(self, wait: _Wait, frame: FrameType | None) -> bool:
        """Whether a thread is where it waits, and not in a signal handler."""
        if frame is None:
            return False
        if wait.loop is None:
            return frame.f_code.co_filename.startswith(_TRANSPORT)
        return loops.is_idle(wait.loop, frame, self._transport.reactor.descriptor)

    def _count(self, records: int, waiters: list[Any]) -> None:
        """Note whether anything has happened since the last examination."""
        same = records == self._records and len(waiters) == self._waiters
        if not same or any(waiter.seen != self._progress for waiter in waiters):
            self._progress += 1
        self._records, self._waiters = records, len(waiters)
        for waiter in waiters:
            waiter.seen = self._progress


def _may_be_woken() -> bool:
    """Whether something outside the program's processes is under way that is this process's."""
    return signal.getitimer(signal.ITIMER_REAL)[0] > 0 or bool(system.users_children())
