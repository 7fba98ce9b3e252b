"""The zygote: the frozen program image, which forks whenever the launcher tells it to.

It is single-threaded and never runs the user's code. It forks the monitors, reaps them, and kills
what a killed monitor leaves behind. It ends when its launcher ends it or dies; then it sees that no
process of the program is left, removes the program's runtime directory, and exits.

Where processes start fresh, it is a bare one that holds no image (`constellation.process.bare`),
and its monitors execute the program's command.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import msgspec

from constellation.control.messages import (
    Fork,
    Forked,
    ForkFailed,
    FromZygote,
    MonitorEnded,
    ToZygote,
    Trouble,
)
from constellation.control.stream import ControlError, MessageStream
from constellation.process import descriptors, entry, forking, monitor, signals, system
from constellation.process.directory import RuntimeDirectory
from constellation.process.identity import Newborn
from constellation.process.origin import Origin
from constellation.process.signals import Wakeup
from constellation.transport.descriptors import explained

if TYPE_CHECKING:
    from constellation.process.command import Command
    from constellation.process.deployed import Deployed

_RESCAN = 0.02
_ORPHAN_LIMIT = 1.0
_MONITORS_LIMIT = monitor.KILL_LIMIT + 0.5
_CAUGHT = (signal.SIGTERM, signal.SIGCHLD)
_IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP)

_decoder = msgspec.msgpack.Decoder(ToZygote)
_kept: list[object] = []
"""What a fork does not take apart it shares, so it has the zygote's objects for good."""


def run(
    control: socket.SocketType,
    directory: RuntimeDirectory,
    origin: Origin,
    launcher: int,
    command: Command | None = None,
    deployed: Deployed | None = None,
) -> Newborn:
    """Be the zygote. All signals are blocked.

    Args:
        control: The connection to the launcher.
        directory: The program's runtime directory.
        origin: The program at `init()`.
        launcher: The launcher's process id.
        command: What a process executes that starts fresh; None: it is a fork of this one.
        deployed: What a program has that runs on a cluster; None: it runs natively.

    Returns:
        In a user's process only: what it knows of itself. In the zygote and the monitors it never
        returns.
    """
    assert threading.active_count() == 1, "a zygote forks, so it has no threads"
    stream: MessageStream[ToZygote] = MessageStream(control, _decoder, descriptors=True)
    try:
        os.setsid()
        system.set_name("cst-zygote")
        system.become_subreaper()
        descriptors.replace_with_null(0, 1, 2)
        origin.shed(catch=_CAUGHT, ignore=_IGNORED)
        if command is None:
            entry.prepare_first(entry.NATIVE if deployed is None else entry.FABRIC)
        zygote = _Zygote(stream, directory, origin, launcher, command, deployed)
        _kept.append(zygote)
        signals.restore_mask(())
    except BaseException:  # noqa: BLE001 - told to the launcher
        _fail(stream)
    task = zygote.serve()
    # From here on a monitor, and then the user's process.
    return monitor.run(task)


def _fail(stream: MessageStream[ToZygote]) -> NoReturn:
    with contextlib.suppress(ConnectionError):
        stream.send(Trouble(f"in the zygote:\n{traceback.format_exc()}"))
    os._exit(1)


@dataclass(slots=True)
class _Ended:
    """A monitor that is dead, while what it left behind is being killed."""

    number: int
    status: int
    limit: float


class _Zygote:
    def __init__(
        self,
        stream: MessageStream[ToZygote],
        directory: RuntimeDirectory,
        origin: Origin,
        launcher: int,
        command: Command | None,
        deployed: Deployed | None,
    ) -> None:
        self._stream = stream
        self._command = command
        self._deployed = deployed
        self._directory = directory
        self._origin = origin
        self._launcher = launcher
        self._monitors: dict[int, int] = {}  # process id -> the launcher's number
        self._ended: list[_Ended] = []
        # Whether all is done for forks that are not the initial process.
        self._prepared = command is not None
        self._wakeup = Wakeup()
        self._lifeline = os.pipe()
        self._poll = select.poll()
        self._poll.register(stream.fileno(), select.POLLIN)
        self._poll.register(self._wakeup.fileno(), select.POLLIN)
        self._connected = system.set_parent_death_signal(signal.SIGTERM, launcher)

    def serve(self) -> monitor.Task:
        """Serve the launcher to the end of the program, and exit.

        Returns:
            In a new monitor only: what it is for. Signals are blocked there.
        """
        try:
            while self._connected:
                task = self._turn()
                if task is not None:
                    return task
            self._close()
        except BaseException:  # noqa: BLE001 - told to the launcher
            _fail(self._stream)

    def _turn(self) -> monitor.Task | None:
        for descriptor, _ in self._poll.poll(_RESCAN * 1000 if self._ended else None):
            if descriptor == self._wakeup.fileno():
                self._wakeup.take()
                self._reap()
                if os.getppid() != self._launcher:
                    self._connected = False
                continue
            try:
                self._stream.flush()
                for message in self._stream.receive():
                    task = self._fork(message)
                    if task is not None:
                        return task
            except (EOFError, ConnectionError, ControlError):
                self._connected = False
        self._bury()
        wanted = select.POLLIN | (select.POLLOUT if self._stream.unsent else 0)
        self._poll.modify(self._stream.fileno(), wanted)
        return None

    # -- forking

    def _fork(self, fork: Fork) -> monitor.Task | None:
        if not (fork.initial or self._prepared):
            entry.prepare()
            self._prepared = True
        # All that can be made before the fork is: what a fork does not touch, it shares.
        directory = self._directory.path
        newborn, control, stdin = forking.take(fork, self._stream, directory, self._deployed)
        task = monitor.Task(
            newborn,
            control,
            stdin,
            self._lifeline[0],
            os.getpid(),
            self._origin,
            directory,
            self._command,
            self._deployed,
        )
        mask = signals.block_all()
        try:
            child = system.fork_role()
        except OSError as error:
            signals.restore_mask(mask)
            self._tell(ForkFailed(fork.number, f"cannot start a process: {explained(error)}"))
            child = -1
        if child == 0:
            self._stream.close()
            self._wakeup.close()
            self._directory.close()
            os.close(self._lifeline[1])
            return task
        if child > 0:
            self._monitors[child] = fork.number
            signals.restore_mask(mask)
            self._tell(Forked(fork.number, child))
        task.close_descriptors()
        os.close(control)
        return None

    def _tell(self, message: FromZygote) -> None:
        try:
            self._stream.post(message)
        except ConnectionError:
            self._connected = False

    # -- the dead

    def _reap(self) -> None:
        while True:
            try:
                child, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if child == 0:
                return
            number = self._monitors.pop(child, None)
            if number is None:
                continue  # an orphan that we killed
            if status == 0:
                self._tell(MonitorEnded(number, status))
            else:
                # It was killed, or could not kill everything: there may be orphans.
                limit = time.monotonic() + _ORPHAN_LIMIT
                self._ended.append(_Ended(number, status, limit))

    def _bury(self) -> None:
        """Kill what killed monitors left to us, and tell of a monitor when nothing is left."""
        if not self._ended:
            return
        orphans = self._kill_orphans()
        now = time.monotonic()
        for ended in list(self._ended):
            if not orphans or now >= ended.limit:
                self._ended.remove(ended)
                self._tell(MonitorEnded(ended.number, ended.status))

    def _kill_orphans(self) -> bool:
        """Kill every child that is no monitor. Whether there was one."""
        orphans = [child for child in system.children() if child not in self._monitors]
        for orphan in orphans:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(orphan, signal.SIGKILL)
        return bool(orphans)

    # -- the end

    def _close(self) -> NoReturn:
        """No launcher any more: wait for the monitors, kill what is left, tidy up, exit."""
        # The monitors have seen that the bridge is gone; this tells them again.
        os.close(self._lifeline[1])
        self._wait_until_childless(_MONITORS_LIMIT)
        for child in list(self._monitors):
            os.kill(child, signal.SIGKILL)
        self._monitors.clear()
        self._wait_until_childless(_ORPHAN_LIMIT)
        self._directory.remove()
        os._exit(0)

    def _wait_until_childless(self, limit: float) -> None:
        until = time.monotonic() + limit
        poll = select.poll()
        poll.register(self._wakeup.fileno(), select.POLLIN)
        while True:
            self._reap()
            self._kill_orphans()
            if not system.children() or time.monotonic() >= until:
                return
            poll.poll(_RESCAN * 1000)
            self._wakeup.take()
