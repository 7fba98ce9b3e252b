"""A zygote with its launcher, and no bridge: what the tests of the processes drive.

The test process is the launcher. What the processes do is a function of the test's.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from constellation.control.messages import (
    Died,
    End,
    Eof,
    Idle,
    Output,
    Room,
    Started,
)
from constellation.control.stream import MessageStream
from constellation.exit_status import ExitStatus
from constellation.process import leave, system, zygote
from constellation.process.adoption import adoption, await_adoption
from constellation.process.directory import RuntimeDirectory
from constellation.process.entry import adapt
from constellation.process.identity import Identity
from constellation.process.launcher import Launched, Launcher
from constellation.process.origin import Origin
from constellation.resources import RESOURCES_DEFAULT

LIMIT = 20.0
"""Seconds after which a test that waits for something has failed."""


class Process:
    """A process on the stage, and what its streams have said."""

    def __init__(self, launched: Launched) -> None:
        self.launched = launched
        self.said: list[Any] = []  # by its monitor
        self.told: list[Any] = []  # by itself
        self.monitor_open = True
        self.control_open = True
        self.grants = True  # whether output is answered with room
        self.keeps_monitor = False  # when that is idle

    @property
    def os_pid(self) -> int | None:
        return next((said.os_pid for said in self.said if isinstance(said, Started)), None)

    @property
    def died(self) -> Died | None:
        return next((said for said in self.said if isinstance(said, Died)), None)

    @property
    def status(self) -> ExitStatus | None:
        return None if self.died is None else ExitStatus.from_wait(self.died.status)

    def output(self, fd: int) -> bytes:
        return b"".join(
            said.data for said in self.said if isinstance(said, Output) and said.fd == fd
        )

    @property
    def eofs(self) -> set[int]:
        return {said.fd for said in self.said if isinstance(said, Eof)}


class Stage:
    """A zygote, and the processes it was told to make."""

    def __init__(self, work: Callable[[Identity], object]) -> None:
        self.directory = RuntimeDirectory()
        ours, theirs = socket.socketpair()
        launcher = os.getpid()
        setup = Origin()
        self.zygote = os.fork()
        if not self.zygote:
            ours.close()
            newborn = zygote.run(theirs, self.directory, setup, launcher)
            faulthandler.disable()
            # In place of those of pytest, which captures.
            sys.stdout, sys.stderr = open(1, "w"), open(2, "w")  # noqa: SIM115
            sys.unraisablehook = sys.__unraisablehook__
            adapt(newborn, setup)
            identity = await_adoption(newborn)

            def resume_and_work() -> None:
                setup.resume()
                work(identity)

            leave.run(resume_and_work, failing=lambda: None)
        setup.resume()
        theirs.close()
        self.launcher = Launcher(ours, self.directory.path)
        self.zygote_open = True
        self.said: list[Any] = []  # by the zygote
        self.processes: list[Process] = []

    def start(self, stdin: int | None = None, parent: Any = None) -> Process:
        process = self.start_spare(initial=parent is None, stdin=stdin)
        process.launched.control.post(adoption(parent, RESOURCES_DEFAULT))
        return process

    def start_spare(self, *, initial: bool = False, stdin: int | None = None) -> Process:
        """Start a process that is not adopted yet."""
        process = self._launch(initial=initial, stdin=stdin)
        self._ask()
        return process

    def start_in(self, idle: Process) -> Process:
        """Have a process forked by the monitor of another one, which is idle; it is not adopted."""
        process = self._launch()
        number = self.launcher.reuse(idle.launched.number, idle.launched.monitor)
        assert number == process.launched.number
        idle.launched.monitor.close()
        idle.monitor_open = False
        return process

    def _ask(self) -> None:
        while self.launcher.waiting and self.launcher.ask() is not None:
            continue

    def _launch(self, *, initial: bool = False, stdin: int | None = None) -> Process:
        process = Process(self.launcher.launch(initial=initial, stdin=stdin))
        self.processes.append(process)
        return process

    def run_until(self, condition: Callable[[], object]) -> None:
        """Serve all streams until the condition holds."""
        end = time.monotonic() + LIMIT
        while not condition():
            assert time.monotonic() < end, [process.said for process in self.processes]
            self._turn(0.05)

    def run_for(self, seconds: float) -> None:
        """Serve all streams for a while: for what must *not* happen meanwhile."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._turn(0.02)

    def _turn(self, seconds: float) -> None:
        streams: dict[Any, Process | None] = {}
        if self.zygote_open:
            streams[self.launcher.stream] = None
        for process in self.processes:
            if process.monitor_open:
                streams[process.launched.monitor] = process
            if process.control_open:
                streams[process.launched.control] = process
        ready, _, _ = select.select(list(streams), [], [], seconds)
        for stream in ready:
            self._take(stream, streams[stream])

    def _take(self, stream: MessageStream[Any], process: Process | None) -> None:
        try:
            if process is None:
                self.said += self.launcher.receive()
                self._ask()
            elif stream is process.launched.control:
                process.told += stream.receive()
            else:
                messages = stream.receive()
                process.said += messages
                for message in messages:
                    if isinstance(message, Output) and process.grants:
                        # A monitor that has left is noticed when all that it said was read.
                        with contextlib.suppress(ConnectionError):
                            stream.post(Room(len(message.data)))
                if Idle() in messages and not process.keeps_monitor:
                    process.launched.monitor.close()
                    process.monitor_open = False
        except (EOFError, ConnectionError):
            if process is None:
                self.zygote_open = False
            elif stream is process.launched.control:
                process.control_open = False
            else:
                process.monitor_open = False

    def close(self) -> None:
        """End everything, in order, and see that the zygote leaves as it should."""
        for process in self.processes:
            process.keeps_monitor = False
            if process.monitor_open and Idle() in process.said:
                process.launched.monitor.close()
                process.monitor_open = False
            elif process.monitor_open:
                try:
                    process.launched.monitor.post(End())
                except ConnectionError:
                    process.monitor_open = False
        self.run_until(lambda: not any(process.monitor_open for process in self.processes))
        for process in self.processes:
            process.launched.monitor.close()
            process.launched.control.close()
        self.launcher.close()
        _, status = os.waitpid(self.zygote, 0)
        assert status in (0, 9)
        self.directory.remove()
        self.directory.close()


@pytest.fixture
def subreaper() -> Iterator[None]:
    """The test process adopts orphans, as a bridge does."""
    system.become_subreaper()
    yield
    system.become_subreaper(adopt=False)


@pytest.fixture
def stage() -> Iterator[Callable[..., Stage]]:
    """Makes stages. Each must leave nothing: no process, no runtime directory."""
    stages: list[Stage] = []

    def make(work: Callable[..., object]) -> Stage:
        stages.append(Stage(work))
        return stages[-1]

    before = set(system.children())
    yield make
    for each in stages:
        each.close()
        assert not os.path.exists(each.directory.path)
    assert set(system.children()) == before
