"""The relay of a terminal's input to the initial process.

The initial process is in a session of its own, so it cannot read the terminal as a foreground
process does: the bridge reads it, and writes what it read into a pipe. It reads only while the
command is in the foreground, and only as fast as the pipe takes it. (A standard input that is no
terminal is handed to the initial process itself, and nothing here is needed.)
"""

from __future__ import annotations

import contextlib
import os
import selectors
import termios
from collections.abc import Callable

_CHUNK = 1 << 12  # a terminal gives a line at a time, of at most this
_BACKGROUND_CHECK = 0.25


class TerminalRelay:
    """Carries input from a terminal to a pipe, on the loop of a selector.

    The selector's data for its descriptors is :meth:`ready`, to be called when one is ready.

    Args:
        selector: The loop's.
        terminal: The descriptor of the terminal, which stays the caller's.
        pipe: The descriptor to write to, the relay's from here on.
        clock: Gives the time.
        echoed: Called when the terminal has shown a line that was typed, with its end.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        terminal: int,
        pipe: int,
        clock: Callable[[], float],
        echoed: Callable[[], None] = lambda: None,
    ) -> None:
        self._selector = selector
        self._clock = clock
        self._echoed = echoed
        self._terminal = _reopen(terminal)
        self._pipe = pipe
        os.set_blocking(pipe, False)
        self._pending = b""
        self._registered: tuple[int, int] | None = None  # descriptor and events
        self._retry_at: float | None = None
        self._open = True
        self._adjust()

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`tick`."""
        return self._retry_at

    def tick(self) -> None:
        """Time has passed: the command may be in the foreground now."""
        if self._open and self._retry_at is not None and self._clock() >= self._retry_at:
            self._adjust()

    def ready(self, events: int) -> None:
        """The descriptor that the selector was told of is ready."""
        if not self._open:
            return
        try:
            if self._pending:
                self._write()
            elif not self._read():
                self.close()
                return
        except BrokenPipeError:
            self.close()  # the process has closed its input
            return
        except BlockingIOError:
            pass  # someone else was faster
        except OSError:
            # EIO: in the background by now. A terminal that is gone says the same, and SIGHUP
            # tells of that.
            self._background()
            return
        self._adjust()

    def close(self) -> None:
        """Let go of both ends: the process sees the end of its input."""
        if self._open:
            self._open = False
            self._register(None)
            self._retry_at = None
            os.close(self._terminal)
            os.close(self._pipe)

    def _read(self) -> bool:
        self._pending = os.read(self._terminal, _CHUNK)
        if not self._pending:
            return False
        if self._pending.endswith(b"\n") and _echoes(self._terminal):
            self._echoed()
        with contextlib.suppress(BlockingIOError):
            self._write()
        return True

    def _write(self) -> None:
        self._pending = self._pending[os.write(self._pipe, self._pending) :]

    def _adjust(self) -> None:
        if self._pending:
            self._retry_at = None
            self._register((self._pipe, selectors.EVENT_WRITE))
        elif _in_foreground(self._terminal):
            self._retry_at = None
            self._register((self._terminal, selectors.EVENT_READ))
        else:
            self._background()

    def _background(self) -> None:
        # A terminal with input is readable all the time: look again now and then instead.
        self._register(None)
        self._retry_at = self._clock() + _BACKGROUND_CHECK

    def _register(self, wanted: tuple[int, int] | None) -> None:
        if wanted == self._registered:
            return
        if self._registered is not None:
            self._selector.unregister(self._registered[0])
        if wanted is not None:
            callback: Callable[[int], None] = self.ready
            self._selector.register(wanted[0], wanted[1], callback)
        self._registered = wanted


def _reopen(terminal: int) -> int:
    """The terminal once more, so that reading it never waits and its other users do not notice."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    for name in (os.ttyname, lambda descriptor: f"/proc/self/fd/{descriptor}"):
        with contextlib.suppress(OSError):
            return os.open(name(terminal), flags)
    return os.dup(terminal)  # it is read only when it has something to read


def _echoes(terminal: int) -> bool:
    try:
        return bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
    except termios.error:
        return False  # it is gone


def _in_foreground(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        # Not our controlling terminal, so there is no job control on it.
        return True
