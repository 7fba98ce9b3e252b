"""What takes long is done aside, in a thread: a service that does not answer is taken for lost."""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from constellation.session.loop import Loop

__all__ = ["Aside"]

T = TypeVar("T")


class Aside(Generic[T]):
    """One call in a thread of its own, whose result comes back into the loop.

    Args:
        loop: The service's.
        call: What takes long. It shares nothing with the service.
        done: Called in the loop with its result.
        failed: Called in place of that with what it raised.
    """

    def __init__(
        self,
        loop: Loop,
        call: Callable[[], T],
        done: Callable[[T], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._loop = loop
        self._call = call
        self._done = done
        self._failed = failed
        self._result: list[T] = []
        self._error: Exception | None = None
        self._read, self._write = os.pipe()
        loop.selector.register(self._read, selectors.EVENT_READ, self._ready)
        self._thread = threading.Thread(target=self._run, name="cst-aside", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._call())
        except Exception as error:  # noqa: BLE001 - it is told where it is awaited
            self._error = error
        finally:
            with contextlib.suppress(OSError):
                os.write(self._write, b"x")

    def _ready(self, events: int) -> None:
        self._loop.selector.unregister(self._read)
        self._thread.join()
        os.close(self._read)
        os.close(self._write)
        if self._error is not None:
            self._failed(self._error)
        else:
            self._done(self._result[0])
