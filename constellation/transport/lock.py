"""The lock of a transport, and what stands in for it where there is no transport any more.

Signal handlers, finalizers and logging handlers run in the middle of whatever their thread does,
and that may be the transport. One that uses a channel there would wait for a lock that its own
thread holds, for ever, or find half done what the lock guards. So it is refused.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

__all__ = ["ClosedLock", "Entry", "ForkedLock", "Lock", "refuse", "stay_at_exit"]

_FOREVER = 3600.0
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


_ATOMIC = sys.version_info < (3, 14)
"""Whether no signal handler runs between an `__enter__` of C and the block of its `with`."""


def _acquire(lock: Any, blocking: bool = True) -> bool:
    """Acquire an `RLock`; what a signal handler raises leaves it as it was."""
    before = lock._recursion_count()
    try:
        acquired: bool = lock.acquire(blocking)
    except BaseException:  # a signal handler's, of whatever kind
        if lock._recursion_count() > before:
            lock.release()
        raise
    return acquired


class Entry:
    """Takes a lock in a `with`, or only tries: the `with` then says whether it got it.

    Nothing that a signal handler raises comes between, nor keeps the lock from being released.
    Whoever only tried has to have the lock in the end all the same: releasing it is a
    `RuntimeError` else, in place of what was raised.

    Args:
        lock: An `RLock`.
        blocking: Whether to wait for it.
    """

    __slots__ = ("__exit__", "_blocking", "_lock")

    def __init__(self, lock: Any, *, blocking: bool = True) -> None:
        self._lock = lock
        self._blocking = blocking
        self.__exit__: Callable[..., None] = lock.__exit__

    def __enter__(self) -> bool:
        return _acquire(self._lock, self._blocking)


class _AtomicEntry:
    """The same, all of C."""

    __slots__ = ("__enter__", "__exit__")

    def __init__(self, lock: Any, *, blocking: bool = True) -> None:
        self.__enter__: Callable[[], bool] = partial(lock.acquire, blocking)
        self.__exit__: Callable[..., None] = lock.__exit__


if _ATOMIC:
    Entry = _AtomicEntry  # type: ignore[assignment, misc]


class Lock:
    """A lock, to be used by `with`, that raises where a thread takes it twice.

    A signal handler may raise anywhere in `__enter__`, so that asks at each step whether it has the
    lock. An `__exit__` in Python could be kept from releasing it: it is that of C.

    Attributes:
        raw: The same lock, without the check, in a third of the time: for a thread that has passed
            the check further up in the same call. What interrupts it has left when it goes on.
        held: Says whether the calling thread holds it.
    """

    __slots__ = ("__exit__", "_lock", "held", "raw")

    def __init__(self) -> None:
        lock: Any = threading.RLock()
        self._lock = lock
        self.raw: Any = lock if _ATOMIC else Entry(lock)
        self.held: Callable[[], bool] = lock._is_owned
        self.__exit__: Callable[..., None] = lock.__exit__

    def __enter__(self) -> None:
        """Wait for it.

        Raises:
            RuntimeError: The calling thread holds it.
        """
        if self.held():
            refuse()
        try:
            self._lock.acquire()
        except BaseException:  # a signal handler's
            if self.held():
                self._lock.release()
            raise


def refuse() -> NoReturn:
    """Refuse what came in the middle of another use of channels in the same thread.

    Raises:
        RuntimeError: Always.
    """
    # The first frame above ours is of whoever called: most likely the handler itself.
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    code = frame.f_code
    raise RuntimeError(
        f"{code.co_name}() at {code.co_filename}:{frame.f_lineno} uses a channel or spawn() in the "
        "middle of another use of them by the same thread. A signal handler, a finalizer or a "
        "logging handler may run at any moment: have it set a flag or fill a queue.SimpleQueue, "
        "and use channels where the program sees to that; in asyncio, loop.add_signal_handler "
        "calls functions that may start a task"
    )


class ForkedLock:
    """Stands in for the lock in a forked child, where nothing of the transport may be touched."""

    def __enter__(self) -> NoReturn:
        raise RuntimeError(
            "this process was forked from a constellation process by os.fork() or multiprocessing; "
            "channels and spawn() work only in the process that made them: use spawn() instead"
        )

    def __exit__(self, *exc: object) -> None:
        """Never entered, so never left."""

    def held(self) -> bool:
        """Nobody holds it."""
        return False

    @property
    def raw(self) -> ForkedLock:
        """The same."""
        return self


class ClosedLock:
    """Stands in for the lock when the process has left its channels."""

    def __enter__(self) -> NoReturn:
        stay_at_exit()
        raise RuntimeError("this process is leaving: its channels are closed")

    def __exit__(self, *exc: object) -> None:
        """Never entered, so never left."""

    def held(self) -> bool:
        """Nobody holds it."""
        return False

    @property
    def raw(self) -> ClosedLock:
        """The same."""
        return self


def stay_at_exit() -> None:
    """Have a daemon thread stay here, while the process leaves; the main thread goes on."""
    while threading.current_thread() is not threading.main_thread():
        time.sleep(_FOREVER)  # it waits for nothing: the process ends under it
