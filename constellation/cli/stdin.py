"""The command's standard input, for a program elsewhere: read as fast as that takes it."""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from collections.abc import Callable

from constellation.bridge.stdin import TerminalRelay
from constellation.control.deployment import INPUT_WINDOW
from constellation.session.loop import Loop

__all__ = ["InputSource"]

_CHUNK = 1 << 14


class InputSource:
    """Reads standard input into messages, with a window.

    A terminal is read while the command is in the foreground; anything else by a thread of its
    own, since a file cannot be waited for and a pipe's other end may be anybody's.

    Args:
        loop: The command's.
        put: Called with what was read; nothing: that was all.
        echoed: Called when the terminal has shown a line that was typed, with its end.
    """

    def __init__(
        self, loop: Loop, put: Callable[[bytes], None], echoed: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._put = put
        self._room = INPUT_WINDOW
        self._open = True
        self._watching = False
        self._relay: TerminalRelay | None = None
        self._reader, writer = os.pipe()
        os.set_blocking(self._reader, False)
        if os.isatty(0):
            self._relay = TerminalRelay(loop.selector, 0, writer, time.monotonic, echoed)
            self._tick()
        else:
            thread = threading.Thread(target=_copy, args=(writer,), name="cst-stdin", daemon=True)
            thread.start()
        self._watch()

    def taken(self, size: int, *, closed: bool) -> None:
        """So much has been taken, and perhaps no more will be."""
        self._room += size
        if closed:
            self.close()
        else:
            self._watch()

    def close(self) -> None:
        """Read no more."""
        if self._open:
            self._open = False
            self._watch()
            if self._relay is not None:
                self._relay.close()
            os.close(self._reader)

    def _tick(self) -> None:
        relay = self._relay
        if self._open and relay is not None:
            relay.tick()
            self._loop.after(0.25, self._tick)

    def _watch(self) -> None:
        wanted = self._open and self._room > 0
        if wanted != self._watching:
            self._watching = wanted
            if wanted:
                self._loop.selector.register(self._reader, selectors.EVENT_READ, self._ready)
            else:
                self._loop.selector.unregister(self._reader)

    def _ready(self, events: int) -> None:
        try:
            data = os.read(self._reader, min(_CHUNK, self._room))
        except BlockingIOError:
            return
        self._room -= len(data)
        self._put(data)
        if data:
            self._watch()
        else:
            self.close()


def _copy(pipe: int) -> None:
    """Copy standard input to a pipe, to its end, or until nobody reads that."""
    with contextlib.suppress(OSError):
        while data := os.read(0, _CHUNK):
            while data:
                data = data[os.write(pipe, data) :]
    os.close(pipe)
