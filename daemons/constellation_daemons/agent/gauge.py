"""Measures the memory of processes beside the loop.

Going through the pages of a large process takes the kernel a second for each 50 GiB or so. That is
done in a thread, so that what the processes write meanwhile is not held up. The thread has nothing
in common with the loop but what is handed over here, each way through one queue.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import selectors
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from constellation_daemons.agent.limits import Watched
from constellation_daemons.agent.usage import Meter

__all__ = ["Gauge", "Measured"]

logger = logging.getLogger(__name__)

_LAST_LIMIT = 1.0
"""Seconds that the last measurement may take, once it is of no use."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured.

    Attributes:
        used: The bytes that each process uses which may use more than it was given, by number.
        took: Seconds of work that it was.
    """

    used: dict[int, int]
    took: float


class Gauge:
    """Measures, one batch after the other.

    Args:
        selector: The loop's.
        done: Called, in the loop, with what was measured.
    """

    def __init__(self, selector: selectors.BaseSelector, done: Callable[[Measured], None]) -> None:
        self._selector = selector
        self._done = done
        self._work: queue.SimpleQueue[tuple[Sequence[Watched], int | None] | None]
        self._work = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Measured] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._wake, self._waker = os.pipe()
        for end in (self._wake, self._waker):
            os.set_blocking(end, False)
        selector.register(self._wake, selectors.EVENT_READ, self._ready)

    def start(self, watched: Sequence[Watched], image: int | None) -> None:
        """Measure these."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="gauge", daemon=True)
            self._thread.start()
        self._work.put((watched, image))

    def close(self) -> None:
        """Measure no more."""
        self._selector.unregister(self._wake)
        if self._thread is not None:
            self._work.put(None)
            self._thread.join(_LAST_LIMIT)
            if self._thread.is_alive():
                return  # it still writes to the pipe, and ends with the agent
        os.close(self._wake)
        os.close(self._waker)

    def _run(self) -> None:
        meter = Meter()
        while (work := self._work.get()) is not None:
            start = time.thread_time()
            used: dict[int, int] = {}
            try:
                used = meter.measure(*work, time.monotonic())
            except Exception:  # the loop waits for an answer, whatever it is
                logger.exception("the memory of processes cannot be measured")
            self._results.put(Measured(used, time.thread_time() - start))
            with contextlib.suppress(BlockingIOError):
                os.write(self._waker, b"\0")

    def _ready(self, events: int) -> None:
        os.read(self._wake, 1 << 10)
        with contextlib.suppress(queue.Empty):
            while True:
                self._done(self._results.get_nowait())
