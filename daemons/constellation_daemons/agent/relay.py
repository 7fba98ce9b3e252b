"""The standard input of a program's initial process, as it comes in messages.

It goes into a pipe, as fast as that takes it; what has been taken is told, so that its sender knows
how much more it may send.
"""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Callable


class InputRelay:
    """Carries input to a pipe, on the loop of a selector.

    Args:
        selector: The loop's.
        taken: Called with how many bytes have gone on, and whether no more will.
    """

    def __init__(
        self, selector: selectors.BaseSelector, taken: Callable[[int, bool], None]
    ) -> None:
        self._selector = selector
        self._taken = taken
        self._pending = bytearray()
        self._ending = False
        self._waiting = False
        self.reader, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        self._open = True

    def put(self, data: bytes) -> None:
        """Pass this on; nothing: that was all."""
        if not self._open:
            self._taken(len(data), True)
            return
        self._pending += data
        self._ending = self._ending or not data
        self._write()

    def close(self) -> None:
        """The process sees the end of its input."""
        if self._open:
            self._open = False
            self._wait(False)
            os.close(self._pipe)

    def _ready(self, events: int) -> None:
        self._write()

    def _write(self) -> None:
        try:
            while self._pending:
                size = os.write(self._pipe, self._pending[: 1 << 16])
                del self._pending[:size]
                self._taken(size, False)
        except BlockingIOError:
            self._wait(True)
            return
        except BrokenPipeError:
            # The process has closed its input: the rest is for nobody.
            rest = len(self._pending)
            self._pending.clear()
            self.close()
            self._taken(rest, True)
            return
        self._wait(False)
        if self._ending:
            self.close()

    def _wait(self, wanted: bool) -> None:
        if wanted != self._waiting:
            self._waiting = wanted
            if wanted:
                self._selector.register(self._pipe, selectors.EVENT_WRITE, self._ready)
            else:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(self._pipe)
