"""The signal dispositions of the roles, and how a user's process gets its own ones back.

`init()` blocks all signals, then forks. Bridge, zygote and monitor each set what they need and
unblock; a user's process restores the handlers that the program had at `init()` and unblocks as the
last thing, so that a signal of that moment reaches it and is not lost.

Every signal that a role of ours wants to know of has a handler that does nothing, and its number is
written to a pipe that the role's loop reads (`signal.set_wakeup_fd`).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import signal
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

#: What the program was started with as ignored (by `nohup`, or `&` in a script), as near as the
#: import of this module can tell it from what the program itself ignores.
IGNORED_AT_START = frozenset(
    number
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT)
    if signal.getsignal(number) is signal.SIG_IGN
)


# What `signal` wraps makes members of an enumeration of each number, which takes longer than the
# rest of it: every process of a program does this a few times before it runs.
_sigmask: Callable[[int, Iterable[int]], set[int]] = _signal.pthread_sigmask
_set_handler: Callable[[int, Any], object] = _signal.signal
_ALL = frozenset(map(int, signal.valid_signals()))
_BLOCK = int(signal.SIG_BLOCK)
_SETMASK = int(signal.SIG_SETMASK)


def block_all() -> set[int]:
    """Block every signal for this thread, and give the mask as it was."""
    return _sigmask(_BLOCK, _ALL)


def restore_mask(mask: Iterable[int]) -> None:
    """Set this thread's mask. What was pending is delivered before this returns."""
    _sigmask(_SETMASK, mask)


def give_back(*, ignored: Iterable[int], blocked: Iterable[int]) -> None:
    """Leave nothing of this role to the program that this process is about to execute.

    Args:
        ignored: The signals that the program is started with as ignored.
        blocked: Those that it is started with as blocked.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) not in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)
    for each in ignored:
        signal.signal(each, signal.SIG_IGN)
    restore_mask(blocked)


class Handlers:
    """The Python signal handlers of a program as they were at `init()`."""

    def __init__(self) -> None:
        self._handlers: dict[int, Any] = {}
        self._changed: list[int] = []  # those that are not as the program had them
        for number in signal.valid_signals():
            handler = signal.getsignal(number)
            # None: installed by C code (faulthandler), which works in every fork.
            if handler is not None:
                self._handlers[number] = handler
        self._wakeup = signal.set_wakeup_fd(-1)

    def clear(self, *, catch: Iterable[int] = (), ignore: Iterable[int] = ()) -> None:
        """Take the program's handlers away, for a role of ours.

        Args:
            catch: Signals that the role's loop is told of.
            ignore: Signals that nothing shall come of.
        """
        wanted: dict[int, Any] = dict.fromkeys(ignore, signal.SIG_IGN)
        wanted.update(dict.fromkeys(catch, caught))
        for number, handler in self._handlers.items():
            new = wanted.get(number, signal.SIG_DFL if callable(handler) else handler)
            if new is not handler:
                signal.signal(number, new)
                self._changed.append(number)

    def restore(self) -> None:
        """Give the program's handlers back, in a process of the user's."""
        for number in self._changed:
            handler = self._handlers[number]
            _set_handler(number, int(handler) if isinstance(handler, signal.Handlers) else handler)
        signal.set_wakeup_fd(self._wakeup)


def caught(number: int, frame: FrameType | None) -> None:
    """The number has been written to the wakeup pipe, which is all that is wanted."""


class Wakeup:
    """The pipe into which the numbers of caught signals are written."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """The descriptor that is readable when a signal has come."""
        return self._read

    @property
    def descriptors(self) -> tuple[int, int]:
        """Both ends."""
        return self._read, self._write

    def take(self) -> bytes:
        """The numbers of the signals that came since the last time, one byte each."""
        try:
            return os.read(self._read, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Close the pipe, in a fork that is not the role whose pipe it is."""
        signal.set_wakeup_fd(-1)
        os.close(self._read)
        os.close(self._write)
