"""Runs programs as commands, and reads what the bridge says of their processes.

Every check of a program's output goes through :func:`tree_of`, which holds the bridge to the rules
of its JSON form: one spawn first, one end-of-file for each stream, one exit last.
"""

from __future__ import annotations

import base64
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
LIMIT = 60.0
"""Seconds after which a program hangs."""

Json = dict[str, Any]


@dataclass
class Node:
    """A process, as the events tell of it."""

    pid: str
    parent: str | None
    streams: dict[int, bytes] = field(default_factory=lambda: {1: b"", 2: b""})
    ended: set[int] = field(default_factory=set)
    status: Json | None = None
    children: list[Node] = field(default_factory=list)

    @property
    def out(self) -> bytes:
        return self.streams[1]

    @property
    def err(self) -> bytes:
        return self.streams[2]

    @property
    def end(self) -> Any:
        """The status without its measurements: an exit code, the name of a signal, or "lost"."""
        assert self.status is not None
        if "code" in self.status:
            return self.status["code"]
        return self.status.get("signal") or f"lost: {self.status['lost']}"

    def all(self) -> Iterator[Node]:
        """This process and its descendants."""
        yield self
        for child in self.children:
            yield from child.all()


def tree_of(events: list[Json], *, complete: bool = True) -> Node:
    """The processes that events tell of, from the initial one. Fails where a rule is broken."""
    nodes: dict[str, Node] = {}
    initial = None
    for event in events:
        pid = event["pid"]
        assert len(pid) == 32
        if event["event"] == "spawn":
            assert pid not in nodes, "a process has one spawn"
            parent = event["parent"]
            nodes[pid] = Node(pid, parent)
            if parent is None:
                assert initial is None, "one process is the initial one"
                initial = nodes[pid]
            else:
                nodes[parent].children.append(nodes[pid])
            continue
        node = nodes[pid]  # the spawn comes first
        if event["event"] == "output":
            assert event["fd"] not in node.ended, "nothing comes after the end"
            assert event["data"], "output has something in it"
            node.streams[event["fd"]] += _bytes_of(event)
        elif event["event"] == "eof":
            assert event["fd"] not in node.ended, "a stream ends once"
            node.ended.add(event["fd"])
        else:
            assert event["event"] == "exit"
            assert node.status is None, "a process exits once"
            node.status = event["status"]
    assert initial is not None, events
    if complete:
        for node in nodes.values():
            assert node.ended == {1, 2}, "both streams end"
            assert node.status is not None, "every process exits"
    return initial


def _bytes_of(event: Json) -> bytes:
    if event.get("encoding") == "base64":
        return base64.b64decode(event["data"])
    assert "encoding" not in event
    data: str = event["data"]
    return data.encode()


@dataclass
class Finished:
    """What came of a command."""

    code: int
    out: bytes
    err: bytes

    @property
    def events(self) -> list[Json]:
        return [json.loads(line) for line in self.out.decode().splitlines()]

    @property
    def tree(self) -> Node:
        assert self.err == b"", self.err
        return tree_of(self.events)


def write(directory: Path, source: str, name: str = "program.py") -> Path:
    """Write a program."""
    path = directory / name
    path.write_text(textwrap.dedent(source))
    return path


def environment(**settings: str) -> dict[str, str]:
    """The environment of a command: this one, where the library is found, with these settings."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONFAULTHANDLER": "",
        "PYTHONUNBUFFERED": "",
    }
    return {name: value for name, value in {**environ, **settings}.items() if value}


def run(
    path: Path | str,
    *arguments: str,
    form: str = "json",
    stdin: bytes | int = subprocess.DEVNULL,
    options: tuple[str, ...] = (),
    limit: float = LIMIT,
    **settings: str,
) -> Finished:
    """Run a program to its end."""
    given: Any = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    done = subprocess.run(
        [sys.executable, *options, str(path), *arguments],
        env=environment(CONSTELLATION_FORMAT=form, **settings),
        capture_output=True,
        start_new_session=True,
        timeout=limit,
        check=False,
        **given,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that runs, and the events that have come of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.events: list[Json] = []
        self.err = b""
        self._out = b""
        self._open = [each for each in (process.stdout, process.stderr) if each is not None]

    @property
    def tree(self) -> Node:
        return tree_of(self.events, complete=self.process.returncode is not None)

    def until(self, condition: Callable[[], object], limit: float = LIMIT) -> None:
        """Read events until the condition holds."""
        end = time.monotonic() + limit
        while not condition():
            assert time.monotonic() < end, (self.events[-20:], self.err)
            self._read(0.02)

    def for_a_while(self, seconds: float) -> None:
        """Read events for some time: so long nothing shall come of what was done."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._read(0.02)

    def wait(self, limit: float = LIMIT) -> int:
        """Read to the end. Gives the exit code."""
        self.until(lambda: not self._open, limit)
        return self.process.wait(limit)

    def say(self, data: bytes) -> None:
        """Give it input; it was started with a pipe for that."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def close_stdin(self) -> None:
        """That was all."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def output(self, fd: int = 1) -> bytes:
        """What all processes have written to a descriptor so far."""
        return b"".join(
            _bytes_of(event)
            for event in self.events
            if event["event"] == "output" and event["fd"] == fd
        )

    def _read(self, seconds: float) -> None:
        ready, _, _ = select.select(self._open, [], [], seconds)
        for stream in ready:
            data = os.read(stream.fileno(), 1 << 16)
            if not data:
                self._open.remove(stream)
            elif stream is self.process.stderr:
                self.err += data
            else:
                *lines, self._out = (self._out + data).split(b"\n")
                self.events += map(json.loads, lines)
        if not self._open:
            time.sleep(seconds)

    # -- the operating system's view

    @property
    def zygote(self) -> int:
        return children_of(self.process.pid)[0]

    @property
    def monitors(self) -> list[int]:
        return children_of(self.zygote)

    @property
    def processes(self) -> list[int]:
        """The user's processes: what the monitors have as their first child."""
        return [child for monitor in self.monitors for child in children_of(monitor)[:1]]


@contextmanager
def start(
    path: Path | str,
    *arguments: str,
    stdin: int = subprocess.DEVNULL,
    **settings: str,
) -> Iterator[Running]:
    """Start a program, whose bridge is killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, str(path), *arguments],
        env=environment(CONSTELLATION_FORMAT="json", **settings),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with process:
        try:
            yield Running(process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)


def descendants_of(pid: int) -> list[int]:
    """Its children and theirs, those nearest to it first."""
    found = children_of(pid)
    for child in found:
        found += children_of(child)
    return found


def children_of(pid: int) -> list[int]:
    """The process ids of a process's children."""
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in (b"Z", b"X")
