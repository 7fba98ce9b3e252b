"""The form for people: what each process printed, under its name, and what became of it.

Standard error gets headings, annotations and what processes write to theirs, indented. Standard
output is written in among that where both are the same terminal or file; else it gets what the
processes print and not a byte more.

- A line that is not complete waits for its rest, as long as :data:`HOLD`, so that lines of two
  processes do not mix. A prompt or a progress bar is then shown as far as it goes.
- A character that is not complete waits longer: on a terminal for its rest or the stream's end,
  elsewhere for :data:`HALF_CHARACTER`, since what is no text has to get through as well.
- While nothing can be written, nothing more comes from the processes either, so the waiting does
  not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.bridge.jsonlines import HALF_CHARACTER
from constellation.bridge.printer import same_file
from constellation.bridge.utf8 import unfinished
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.plain import plain

HOLD = 0.01
"""Seconds that a part of a line waits for the rest of it."""
_HOLD_SIZE = 1 << 16  # a longer line does not wait: it is bounded by nothing
_INDENT = b"    "
_LINE_START = re.compile(rb"([\r\n])(?=[^\r\n])")
_COLOURS = (31, 32, 33, 34, 35, 36, 91, 92, 93, 94, 95, 96)
_PEAK_TELLS = {"SIGKILL", "SIGABRT", "SIGSEGV", "SIGBUS"}  # what a lack of memory ends in

_Pieces = list[tuple[int, bytes]]
_Key = tuple[Pid, int]  # a stream of a process


@dataclass(frozen=True, slots=True)
class Look:
    """What the standard output and error are, as far as it changes what goes there.

    Attributes:
        together: Whether both are the same.
        terminals: Which of 1 and 2 are terminals.
        colour: Whether headings and annotations are coloured.
    """

    together: bool
    terminals: frozenset[int]
    colour: bool

    @classmethod
    def of_descriptors(cls, environ: Mapping[str, str]) -> Look:
        """Look at this process's own.

        Args:
            environ: `NO_COLOR`, if not empty, and `TERM=dumb` forbid colour.
        """
        terminals = frozenset(fd for fd in (1, 2) if os.isatty(fd))
        plain = environ.get("NO_COLOR") or environ.get("TERM") == "dumb"
        return cls(same_file(1, 2), terminals, colour=2 in terminals and not plain)


class HumanRenderer:
    """Renders events for people.

    Args:
        look: What is written to.
        stalled: Whether nothing is being written now, since what was put last does not go out.
    """

    def __init__(self, look: Look, stalled: Callable[[], bool] = lambda: False) -> None:
        self._look = look
        self._stalled = stalled
        self._stalled_at = float("-inf")  # when it was last
        # What waits, and since when: the oldest first.
        self._held: dict[_Key, tuple[bytes, float]] = {}
        self._halves: dict[_Key, tuple[bytes, float]] = {}
        self._page = _Page(look.colour)

    def render(self, event: Event, now: float) -> list[tuple[int, bytes]]:
        """Give what is to be written for an event, as descriptors and bytes."""
        pid = event.pid
        match event:
            case SpawnEvent(child, parent):
                if parent is None:
                    return []
                told = self._release(parent, 1, now) + self._release(parent, 2, now)
                return told + self._page.annotate(parent, "spawned: ", str(child), of=child)
            case OutputEvent(_, fd, data):
                return self._output(pid, fd, data, now)
            case EofEvent(_, fd):
                return self._release(pid, fd, None)
            case ExitEvent(_, status):
                told = self._release(pid, 1, None) + self._release(pid, 2, None)
                return told + self._page.annotate(pid, *_exit_text(status))

    def deadline(self) -> float | None:
        """When to call :meth:`tick`. While stalled: when that is over."""
        if self._stalled():
            return None
        held, half = self._oldest(self._held), self._oldest(self._halves)
        deadlines = [] if held is None else [self._due(self._held[held], HOLD)]
        deadlines += [] if half is None else [self._due(self._halves[half], HALF_CHARACTER)]
        return min(deadlines, default=None)

    def tick(self, now: float) -> list[tuple[int, bytes]]:
        """Time has passed. Gives what is to be written for that."""
        if self._stalled():
            self._stalled_at = now
            return []
        told: _Pieces = []
        for waiting, hold in ((self._held, HOLD), (self._halves, HALF_CHARACTER)):
            while (oldest := self._oldest(waiting)) is not None:
                if now < self._due(waiting[oldest], hold):
                    break
                told += self._release(*oldest, None if waiting is self._halves else now)
        return told

    def echoed(self) -> None:
        """The terminal itself has ended the line, by showing what was typed."""
        if 2 in self._look.terminals:
            self._page.line_ended()

    def close(self) -> list[tuple[int, bytes]]:
        """Nothing more will happen. Gives what is left to be written."""
        told: _Pieces = []
        for pid, fd in [*self._held, *self._halves]:
            told += self._release(pid, fd, None)
        return told + self._page.end_line()

    # -- what waits

    def _oldest(self, waiting: dict[_Key, tuple[bytes, float]]) -> _Key | None:
        """What has waited longest, of that which does not wait for ever."""
        for key in waiting:
            if waiting is self._held or key[1] not in self._look.terminals:
                return key
        return None

    def _due(self, entry: tuple[bytes, float], hold: float) -> float:
        return max(entry[1], self._stalled_at) + hold

    def _output(self, pid: Pid, fd: int, data: bytes, now: float) -> _Pieces:
        key = pid, fd
        held, since = self._held.get(key, (b"", now))
        data = self._halves.pop(key, (b"", now))[0] + held + data
        cut = data.rfind(b"\n") + 1
        if cut:
            since = now
            self._held.pop(key, None)
        if len(data) - cut > _HOLD_SIZE:
            self._held.pop(key, None)
            size = unfinished(data)
            if size:
                self._halves[key] = data[-size:], now
            cut = len(data) - size
        elif cut < len(data):
            self._held[key] = data[cut:], since
        return self._show(pid, fd, data[:cut])

    def _release(self, pid: Pid, fd: int, now: float | None) -> _Pieces:
        """Show what waits of a stream; None: with the half of a character at its end."""
        key = pid, fd
        data = self._held.pop(key, (b"", 0.0))[0]
        if now is None:
            # Never both: what comes after a half character is held together with it.
            data = self._halves.pop(key, (b"", 0.0))[0] or data
        elif size := unfinished(data):
            self._halves[key] = data[-size:], now
            data = data[:-size]
        return self._show(pid, fd, data)

    def _show(self, pid: Pid, fd: int, data: bytes) -> _Pieces:
        if not data:
            return []
        if fd == 2 or self._look.together:
            return self._page.write(pid, fd, data)
        return [(fd, data)]


class _Page:
    """Where headings are, and what is below them."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._under: Pid | None = None  # whose heading was the last
        self._line_open = False  # the last line has no end yet
        self._indented = False  # and the cursor is not at its beginning

    def write(self, pid: Pid, fd: int, data: bytes) -> _Pieces:
        """What a process has written, under its heading."""
        told = self._turn_to(pid)
        first = b"" if self._indented or data[:1] in {b"\r", b"\n"} else _INDENT
        # What returns to the beginning of its line comes back to where that began.
        text = first + _LINE_START.sub(rb"\1" + _INDENT, data)
        self._line_open = not text.endswith(b"\n")
        self._indented = not text.endswith((b"\n", b"\r"))
        return [*told, (fd, text)]

    def annotate(self, pid: Pid, what: str, detail: str, *, of: Pid | None = None) -> _Pieces:
        """What has become of a process, under its heading and in its colour.

        Args:
            pid: The process.
            what: The kind of annotation.
            detail: The rest of it.
            of: Whose colour the detail has, if not the process's.
        """
        told = self._turn_to(pid) + self.end_line()
        line = self._coloured(what, pid) + self._coloured(detail, pid if of is None else of)
        return [*told, (2, _INDENT + line + b"\n")]

    def line_ended(self) -> None:
        """Someone else has ended the last line."""
        self._line_open = self._indented = False

    def end_line(self) -> _Pieces:
        """End the last line, if it is not."""
        if not self._line_open:
            return []
        self._line_open = self._indented = False
        return [(2, b"\n")]

    def _turn_to(self, pid: Pid) -> _Pieces:
        if pid == self._under:
            return []
        told = self.end_line()
        self._under = pid
        return [*told, (2, self._coloured(f"{pid}:", pid, bold=True) + b"\n")]

    def _coloured(self, text: str, pid: Pid, *, bold: bool = False) -> bytes:
        data = plain(" ".join(text.splitlines())).encode()
        if not self._colour or not data:
            return data
        colour = _COLOURS[pid.key[0] % len(_COLOURS)]
        # From the terminal's own state, whatever a process has left it in.
        return b"\x1b[0;%s%dm%s\x1b[0m" % (b"1;" if bold else b"", colour, data)


def _exit_text(status: ExitStatus) -> tuple[str, str]:
    """The annotation of an exit, in two parts."""
    notes = []
    if status.core_dumped:
        notes.append("core dumped")
    if status.cause is not None:
        notes.append(status.cause)
    elif status.max_rss is not None and status.signal in _PEAK_TELLS:
        notes.append(f"peak {status.max_rss.human}")
    note = f" ({', '.join(notes)})" if notes else ""
    if status.lost is not None:
        return "lost: ", status.lost + note
    return "exited: ", f"{status}{note}"
