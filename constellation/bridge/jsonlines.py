"""The JSON form of what happens to the processes of a program: one object a line, for programs."""

from __future__ import annotations

import base64
import json
from typing import Any

from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.bridge.utf8 import unfinished
from constellation.pid import Pid

HALF_CHARACTER = 1.0
"""Seconds that the beginning of a character waits for its end: if none comes, it was none."""

_STDOUT = 1
_encode = json.JSONEncoder(separators=(",", ":")).encode


class JsonRenderer:
    """Renders events as JSON, all of it for the standard output.

    Output is text wherever it is UTF-8, also where its pieces are cut within characters. The lines
    themselves are ASCII, so that whatever splits lines finds those that are.
    """

    def __init__(self) -> None:
        # The beginnings of characters, and when they came: the oldest first.
        self._halves: dict[tuple[Pid, int], tuple[bytes, float]] = {}

    def render(self, event: Event, now: float) -> list[tuple[int, bytes]]:
        """Give what is to be written for an event, as descriptors and bytes."""
        match event:
            case SpawnEvent(pid, parent):
                above = None if parent is None else parent.hex
                return [_line({"event": "spawn", "parent": above, "pid": pid.hex})]
            case OutputEvent(pid, fd, data):
                return self._output(pid, fd, data, now)
            case EofEvent(pid, fd):
                end = _line({"event": "eof", "pid": pid.hex, "fd": fd})
                return [*self._release(pid, fd), end]
            case ExitEvent(pid, status):
                end = _line({"event": "exit", "pid": pid.hex, "status": status.to_json()})
                return [*self._release(pid, 1), *self._release(pid, 2), end]

    def deadline(self) -> float | None:
        """When to call :meth:`tick`."""
        for _, since in self._halves.values():
            return since + HALF_CHARACTER
        return None

    def tick(self, now: float) -> list[tuple[int, bytes]]:
        """Time has passed. Gives what is to be written for that."""
        due = [key for key, (_, since) in self._halves.items() if now >= since + HALF_CHARACTER]
        return [line for key in due for line in self._release(*key)]

    def close(self) -> list[tuple[int, bytes]]:
        """Nothing more will happen. Gives what is left to be written."""
        return [line for key in list(self._halves) for line in self._release(*key)]

    def echoed(self) -> None:
        """The terminal has ended its line, which is nothing to this form."""

    def _output(self, pid: Pid, fd: int, data: bytes, now: float) -> list[tuple[int, bytes]]:
        data = self._halves.pop((pid, fd), (b"", now))[0] + data
        size = unfinished(data)
        if size:
            self._halves[pid, fd] = data[-size:], now
            data = data[:-size]
        return [_output_line(pid, fd, data)] if data else []

    def _release(self, pid: Pid, fd: int) -> list[tuple[int, bytes]]:
        half = self._halves.pop((pid, fd), None)
        return [] if half is None else [_output_line(pid, fd, half[0])]


def _output_line(pid: Pid, fd: int, data: bytes) -> tuple[int, bytes]:
    form: dict[str, Any] = {"event": "output", "pid": pid.hex, "fd": fd}
    try:
        form["data"] = data.decode()
    except UnicodeDecodeError:
        form["data"] = base64.b64encode(data).decode()
        form["encoding"] = "base64"
    return _line(form)


def _line(form: dict[str, Any]) -> tuple[int, bytes]:
    return _STDOUT, _encode(form).encode() + b"\n"
