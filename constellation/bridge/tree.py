"""The processes of one program and what is told of them: the rules, pure.

What is told of each process is one spawn first, then its output, one end-of-file for each of its
two descriptors, and one exit last. Only where a descendant of the dead process still holds a pipe
does the exit come before that pipe's output and end.

A process is in one of four states, and inputs that the table does not hold raise
:class:`TreeError` and change nothing:

==========  ================================================  ======================================
state       what it means                                     inputs
==========  ================================================  ======================================
placed      it is being made; its spawn may not happen        accept -> accepted, abandon ->
            yet, so what it does is kept and not told         abandoned, and those of accepted
accepted    it is a process of the program                    output, eof: each descriptor until its
                                                              eof; died: once; drained: after died;
                                                              monitor_lost -> gone
abandoned   its spawn never happened: nothing is told         output, eof, died, drained: nothing
                                                              happens; monitor_lost -> forgotten
gone        nothing more will come; if its spawn is still     accept, abandon
            open, that is awaited
==========  ================================================  ======================================

What is lost with a monitor is made up: the ends-of-file that it did not tell, and an exit as lost.

Watchers are answered the moment a death is known, which is before the exit is told: the pipes are
read to their end in between. A process that has died is remembered for the whole of the program, so
who asks late is answered as well; one that was abandoned was never there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.units import Mem

_DESCRIPTORS = (1, 2)


class TreeError(Exception):
    """An input that cannot be: an error in whoever feeds the tree."""


@dataclass(frozen=True, slots=True)
class Notice:
    """An answer to who watches a process.

    Attributes:
        watcher: Who is to be told.
        key: The key of the process that it watches.
        status: How that ended; None where there is no such process.
    """

    watcher: Pid
    key: bytes
    status: ExitStatus | None


Output: TypeAlias = Event | Notice


@dataclass(slots=True, eq=False)
class _Process:
    pid: Pid
    parent: Pid | None
    accepted: bool = False
    abandoned: bool = False
    gone: bool = False  # its monitor is
    open: set[int] = field(default_factory=lambda: set(_DESCRIPTORS))
    status: ExitStatus | None = None
    exited: bool = False  # its exit was told, or would have been
    untold: list[Event] = field(default_factory=list)  # what has happened while placed


class ProgramTree:
    """The processes of one program, and who watches which."""

    def __init__(self) -> None:
        self._processes: dict[Pid, _Process] = {}
        self._unfinished = 0  # processes whose exit was not told and which were not abandoned
        self._dead: dict[bytes, _Compact] = {}
        self._by_key: dict[bytes, _Process] = {}  # those alive that may be watched
        self._watchers: dict[bytes, set[Pid]] = {}
        self._watching: dict[Pid, set[bytes]] = {}

    @property
    def finished(self) -> bool:
        """Whether the exit of every process was told, and none is being made."""
        return self._unfinished == 0

    # -- spawns

    def placed(self, pid: Pid, parent: Pid | None, request: int) -> list[Output]:
        """A process is being made.

        Args:
            pid: The process, which must be new.
            parent: Who asked for it; None for the initial process.
            request: The number that `parent` gave this, for the story in an error.
        """
        if pid in self._processes or pid.key in self._dead:
            raise TreeError(f"{pid} is placed for request {request} of {parent}, and is not new")
        self._processes[pid] = self._by_key[pid.key] = _Process(pid, parent)
        self._unfinished += 1
        return []

    def accept(self, pid: Pid) -> list[Output]:
        """The spawn has happened: tell of the process from here on, and what there was."""
        process = self._placed(pid, "accepted")
        process.accepted = True
        told: list[Output] = [SpawnEvent(pid, process.parent), *process.untold]
        process.untold = []
        if process.exited:
            self._unfinished -= 1
        if process.gone:
            del self._processes[pid]
        return told

    def abandon(self, pid: Pid) -> list[Output]:
        """The spawn has not happened: nobody is to hear of the process any more."""
        process = self._placed(pid, "abandoned")
        process.abandoned = True
        process.untold = []
        self._unfinished -= 1
        self._by_key.pop(pid.key, None)
        self._dead.pop(pid.key, None)
        if process.gone:
            del self._processes[pid]
        return self._answer(pid.key, None)

    # -- what a monitor tells

    def output(self, pid: Pid, fd: int, data: bytes) -> list[Output]:
        """A process has written to its descriptor `fd`."""
        process = self._monitored(pid, "writes")
        if process.abandoned:
            return []
        if fd not in process.open:
            raise TreeError(f"{pid} writes to its descriptor {fd}, which was at its end")
        return self._tell(process, [OutputEvent(pid, fd, data)] if data else [])

    def eof(self, pid: Pid, fd: int) -> list[Output]:
        """A process's descriptor `fd` is at its end."""
        process = self._monitored(pid, "ends a stream")
        if process.abandoned:
            return []
        if fd not in process.open:
            raise TreeError(f"{pid} ends its descriptor {fd}, which was at its end")
        process.open.discard(fd)
        return self._tell(process, [EofEvent(pid, fd)]) + self._exit_if(process, not process.open)

    def died(self, pid: Pid, status: ExitStatus) -> list[Output]:
        """A process is dead. What it wrote may still follow."""
        process = self._monitored(pid, "dies")
        if process.abandoned:
            return []
        if process.status is not None:
            raise TreeError(f"{pid} dies of {status}, and had died of {process.status}")
        return self._bury(process, status) + self._exit_if(process, not process.open)

    def drained(self, pid: Pid) -> list[Output]:
        """All that a dead process itself wrote has come, and others still hold a pipe of its."""
        process = self._monitored(pid, "is drained")
        if process.abandoned:
            return []
        if process.status is None:
            raise TreeError(f"{pid} is drained, and has not died")
        return self._exit_if(process, True)

    def monitor_lost(self, pid: Pid, reason: str) -> list[Output]:
        """A process's monitor is gone, in due order or not: nothing more will come.

        Args:
            pid: The process.
            reason: What became of it, if its monitor has not told.
        """
        process = self._monitored(pid, "loses its monitor")
        process.gone = True
        told: list[Output] = []
        if not process.abandoned:
            if process.status is None:
                told += self._bury(process, ExitStatus(lost=reason))
            ends: list[Event] = [EofEvent(pid, fd) for fd in sorted(process.open)]
            process.open.clear()
            told += self._tell(process, ends) + self._exit_if(process, True)
        if process.accepted or process.abandoned:
            del self._processes[pid]
        return told

    # -- watchers

    def watch(self, key: bytes, watcher: Pid) -> list[Output]:
        """A process wants to know when another ends. It is answered once."""
        if key in self._by_key:
            self._watchers.setdefault(key, set()).add(watcher)
            self._watching.setdefault(watcher, set()).add(key)
            return []
        compact = self._dead.get(key)
        return [Notice(watcher, key, None if compact is None else _expanded(compact))]

    def unwatch(self, key: bytes, watcher: Pid) -> None:
        """A process does not want to know any more."""
        _discard(self._watchers, key, watcher)
        _discard(self._watching, watcher, key)

    def watcher_gone(self, watcher: Pid) -> None:
        """A process will hear no more answers."""
        for key in self._watching.pop(watcher, ()):
            _discard(self._watchers, key, watcher)

    # -- inside

    def _placed(self, pid: Pid, what: str) -> _Process:
        process = self._processes.get(pid)
        if process is None or process.accepted or process.abandoned:
            raise TreeError(f"{pid} is {what}, and is not being made")
        return process

    def _monitored(self, pid: Pid, what: str) -> _Process:
        process = self._processes.get(pid)
        if process is None or process.gone:
            raise TreeError(f"{pid} {what}, and has no monitor")
        return process

    def _tell(self, process: _Process, events: list[Event]) -> list[Output]:
        if process.accepted:
            return list(events)
        process.untold += events
        return []

    def _exit_if(self, process: _Process, due: bool) -> list[Output]:
        if not due or process.status is None or process.exited:
            return []
        process.exited = True
        if process.accepted:
            self._unfinished -= 1
        return self._tell(process, [ExitEvent(process.pid, process.status)])

    def _bury(self, process: _Process, status: ExitStatus) -> list[Output]:
        key = process.pid.key
        process.status = status
        del self._by_key[key]
        self._dead[key] = _compacted(status)
        return self._answer(key, status)

    def _answer(self, key: bytes, status: ExitStatus | None) -> list[Output]:
        watchers = sorted(self._watchers.pop(key, ()))
        for watcher in watchers:
            _discard(self._watching, watcher, key)
        return [Notice(watcher, key, status) for watcher in watchers]


# -- the dead -------------------------------------------------------------------------------------

# There may be a million of them: one with an exit code is an int, which is code + 256 * bytes of
# peak memory, plus one byte so that none is not zero; the few others are as they are.
_Compact: TypeAlias = int | ExitStatus


def _compacted(status: ExitStatus) -> _Compact:
    if status.code is None or status.cause is not None:
        return status
    size = 0 if status.max_rss is None else int(status.max_rss) + 1
    return size << 8 | status.code


def _expanded(compact: _Compact) -> ExitStatus:
    if isinstance(compact, ExitStatus):
        return compact
    size = compact >> 8
    return ExitStatus(code=compact & 0xFF, max_rss=Mem(size - 1) if size else None)


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _discard(table: dict[_Key, set[_Value]], key: _Key, value: _Value) -> None:
    values = table.get(key)
    if values is not None:
        values.discard(value)
        if not values:
            del table[key]
