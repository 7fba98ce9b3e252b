"""What was told of the processes of a program, and what is still to be told of each. Pure.

What ends with the connection to the bridge is made up here: each process has its ends-of-file and
its exit, whatever happens, so that who reads the events can rely on that.
"""

from __future__ import annotations

from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.exit_status import ExitStatus
from constellation.pid import Pid

__all__ = ["Standing"]


class Standing:
    """The processes that have not exited, and streams that are not at their end."""

    def __init__(self) -> None:
        self._open: dict[Pid, set[int]] = {}
        self._alive: set[Pid] = set()

    def see(self, event: Event) -> None:
        """This was told."""
        match event:
            case SpawnEvent(pid):
                self._open[pid] = {1, 2}
                self._alive.add(pid)
            case EofEvent(pid, fd):
                self._open[pid].discard(fd)
                self._forget(pid)
            case ExitEvent(pid):
                self._alive.discard(pid)
                self._forget(pid)
            case OutputEvent():
                pass

    def lose(self, reason: str) -> list[Event]:
        """Nothing more will be told: what is to be shown in place of that, and counts as told.

        Args:
            reason: What has become of the processes.
        """
        events: list[Event] = []
        for pid, streams in self._open.items():
            events += [EofEvent(pid, fd) for fd in sorted(streams)]
            if pid in self._alive:
                events.append(ExitEvent(pid, ExitStatus(lost=reason)))
        self._open.clear()
        self._alive.clear()
        return events

    def _forget(self, pid: Pid) -> None:
        if not self._open[pid] and pid not in self._alive:
            del self._open[pid]
