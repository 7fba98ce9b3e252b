"""The spare: a process that is made ahead of the next spawn, and that nobody must notice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import programs
import pytest

SPAWNER = """
import os, sys
from constellation import *

state = ["as at init()"]

def child(parent):
    import random
    print(state[0], os.getcwd() == sys.argv[1], random.random(), flush=True)
    Sender(parent).send(None).block()

def main():
    init()
    state[0] = "changed"
    os.chdir(sys.argv[1])
    for _ in range(3):
        pid = spawn(child).block()
        Receiver(pid).recv().block()
        print("running", flush=True)
        sys.stdin.readline()

main()
"""


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Fed]:
    path = programs.write(tmp_path, SPAWNER)
    read, write = os.pipe()
    with programs.start(path, str(tmp_path), stdin=read) as command:
        os.close(read)
        yield Fed(command, write)
        os.close(write)


class Fed:
    """A command whose initial process spawns once for each line that it is given."""

    def __init__(self, command: programs.Running, stdin: int) -> None:
        self.command = command
        self._stdin = stdin
        self._spawned = 0

    def go_on(self) -> None:
        """Await the next spawn, which leaves a spare."""
        self._spawned += 1
        self.command.until(lambda: self.command.output().count(b"running") == self._spawned)
        self.command.until(self.spares)

    def feed(self) -> None:
        os.write(self._stdin, b"\n")

    def spares(self) -> list[int]:
        return [pid for pid in self.command.processes if name_of(pid) == "cst-spare"]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def test_a_spare_is_adopted_and_replaced(command: Fed) -> None:
    seen = []
    for _ in range(3):
        command.go_on()
        seen += command.spares()
        command.feed()
    assert command.command.wait() == 0
    assert len(set(seen)) == 3
    tree = command.command.tree
    assert [child.end for child in tree.children] == [0] * 3, "and none was shown but these"
    said = [child.out.decode().rsplit(" ", 1) for child in tree.children]
    assert [text for text, _ in said] == ["as at init() True"] * 3
    assert len({number for _, number in said}) == 3, "each has random numbers of its own"


def test_a_program_that_spawns_nothing_has_no_spare(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys
        from constellation import init
        init()
        print("running", flush=True)
        sys.stdin.readline()
        """,
    )
    read, write = os.pipe()
    with programs.start(path, stdin=read) as command:
        os.close(read)
        command.until(lambda: b"running" in command.output())
        assert len(command.monitors) == 1
        os.close(write)
        assert command.wait() == 0


@pytest.mark.parametrize("part", ["process", "monitor"])
def test_a_spare_that_is_killed_is_not_missed(command: Fed, part: str) -> None:
    for _ in range(3):
        command.go_on()
        (spare,) = command.spares()
        monitor = next(
            monitor
            for monitor in command.command.monitors
            if spare in programs.children_of(monitor)
        )
        os.kill(spare if part == "process" else monitor, signal.SIGKILL)
        command.command.until(lambda gone=(spare, monitor): not any(map(programs.alive, gone)))
        command.feed()
    assert command.command.wait() == 0
    assert [child.end for child in command.command.tree.children] == [0] * 3


@pytest.mark.parametrize("part", ["zygote", "bridge"])
def test_a_spare_ends_with_the_program(command: Fed, part: str) -> None:
    command.go_on()
    running = command.command
    parts = [*running.monitors, *running.processes]
    os.kill(running.zygote if part == "zygote" else running.process.pid, signal.SIGKILL)
    running.until(lambda: not any(map(programs.alive, parts)))
    assert running.wait() != 0


def test_ctrl_c_ends_a_spare_with_the_rest(command: Fed) -> None:
    command.go_on()
    (spare,) = command.spares()
    command.command.signal(signal.SIGINT)
    assert command.command.wait() == 130
    assert not programs.alive(spare)
