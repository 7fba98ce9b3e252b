"""The guards of programs on their way to `init()`, and what is left of a program without one.

A guard ends all that its program has started (`starters.GUARDED`), so the service that has started
the guard has nobody else to end. If a guard is killed, or was stopped and is not waited for any
longer, those it guarded become children of that service, which is a subreaper.
"""

from __future__ import annotations

import contextlib
import os
import signal

from constellation.process import system

__all__ = ["Guards"]


class Guards:
    """Those of a service that has no other children."""

    def __init__(self) -> None:
        self._known: set[int] = set()

    def add(self, guard: int) -> None:
        """One was started."""
        self._known.add(guard)

    def discard(self, guard: int) -> None:
        """It was reaped."""
        self._known.discard(guard)

    def end_orphans(self) -> None:
        """Kill and reap what was guarded, and is a child of this process now.

        What such a child leaves in turn is here before the signal that tells of its death.

        Raises:
            OSError: They cannot be found.
        """
        for child in system.children():
            if child not in self._known:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, os.WNOHANG)
