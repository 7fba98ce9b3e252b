"""The bridge of a program that runs on one machine, with its launcher: one process, one loop.

It is the process that the shell started. It has processes made when a process asks for one, shows
what they print and how they end, answers who watches whom, hands the terminal's input and signals
on, and exits when all have ended, with what they make of it together.

The loop never waits on anything but its selector: what is printed goes through the printer's own
thread, and while that is behind, monitors get no room for more output, so that a stopped terminal
stops `print` and not the memory of this process.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn, Protocol

from constellation.bridge.events import Event, ExitEvent
from constellation.bridge.human import HumanRenderer, Look
from constellation.bridge.interruption import ENDING, Action, Interruption
from constellation.bridge.jsonlines import JsonRenderer
from constellation.bridge.printer import NoThread, Printer
from constellation.bridge.roster import Roster
from constellation.bridge.stdin import TerminalRelay
from constellation.control.messages import Crippled, FromHost
from constellation.process import descriptors, signals, system
from constellation.process.directory import RuntimeDirectory, sweep
from constellation.process.host import Host
from constellation.process.launcher import Launcher
from constellation.process.origin import Origin
from constellation.process.signals import Wakeup
from constellation.resources import Resources
from constellation.settings import Format, Settings, Start

_KILL_LIMIT = 5.0
"""Seconds in which a program that is killed says nothing more, and has not ended."""
_MONITORS_LIMIT = 2.5
_ZYGOTE_LIMIT = 3.5
"""Seconds that the monitors and the zygote have to leave, when all processes have ended."""
_ORPHANS_LIMIT = 1.0
"""Seconds to kill what is left then."""
_PRINT_LIMIT = 1.0
"""Seconds that a program which is killed waits for a stopped terminal."""
_PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)
_CAUGHT = (*ENDING, *_PASSED_ON, signal.SIGTSTP, signal.SIGCHLD)
_IGNORED = (signal.SIGTTIN, signal.SIGTTOU, signal.SIGPIPE)
_INTERNAL_FAILURE = 70
_OUTPUT_FAILURE = 74
_NO_THREAD = (
    b"constellation: the command can have no thread: the user or the control group may not have so "
    b"many processes and threads\n"
)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """What a bridge is for.

    Attributes:
        zygote: The connection to the zygote.
        zygote_pid: The zygote's process id.
        directory: The runtime directory.
        settings: What the environment says.
        resources: What the initial process is given.
        origin: The program at `init()`.
    """

    zygote: socket.socket
    zygote_pid: int
    directory: RuntimeDirectory
    settings: Settings
    resources: Resources
    origin: Origin


def run(program: Program) -> NoReturn:
    """Be the bridge of a program, to its end. All signals are blocked.

    None of the user's code runs any more in this process: it leaves without `atexit` and `finally`.
    """
    code = _INTERNAL_FAILURE
    try:
        descriptors.close_all_but({0, 1, 2, program.zygote.fileno(), program.directory.fileno()})
        system.become_subreaper()
        program.origin.shed(
            catch=set(_CAUGHT) - signals.IGNORED_AT_START,
            ignore=_IGNORED + tuple(signals.IGNORED_AT_START),
        )
        code = _Bridge(program).run()
    except NoThread:
        with contextlib.suppress(OSError):
            os.write(2, _NO_THREAD)
    except BaseException:  # noqa: BLE001 - whatever it is, the program ends with its bridge
        with contextlib.suppress(OSError):
            os.write(2, f"constellation: the bridge failed:\n{traceback.format_exc()}".encode())
    os._exit(code)


class _Renderer(Protocol):
    def render(self, event: Event, now: float) -> list[tuple[int, bytes]]:
        """What is to be written, and where."""

    def deadline(self) -> float | None:
        """When to call `tick`."""

    def tick(self, now: float) -> list[tuple[int, bytes]]:
        """Time has passed."""

    def echoed(self) -> None:
        """The terminal has ended its line, with one that was typed."""

    def close(self) -> list[tuple[int, bytes]]:
        """What is left."""


class _Bridge:
    """The state of a bridge, and its loop."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._selector = selectors.DefaultSelector()
        self._wakeup = Wakeup()
        self._json = program.settings.format is Format.JSON
        # Its threads are started while all signals are blocked, so they take none.
        self._printer = Printer()
        self._renderer: _Renderer = (
            JsonRenderer()
            if self._json
            else HumanRenderer(
                Look.of_descriptors(os.environ), stalled=lambda: not self._printer.room
            )
        )
        self._relay: TerminalRelay | None = None
        self._host = Host(
            self._selector,
            Launcher(program.zygote, program.directory.path),
            self._hear,
            stdin=self._stdin(),
            spares=program.settings.start is Start.FORK,
        )
        self._crippled = False
        self._roster = Roster(self, self._show, self._may_grow)
        self._zygote_reaped = False
        self._selector.register(self._wakeup.fileno(), selectors.EVENT_READ, self._signalled)
        self._selector.register(self._printer.fileno(), selectors.EVENT_READ, self._printed)
        self._interruption = Interruption()
        self._silent_at: float | None = None  # when what is being killed has said nothing for long
        self._roster.start(program.resources)
        signals.restore_mask(())

    def run(self) -> int:
        """Serve the program to its end. Returns what the command exits with."""
        self._serve(lambda: self._roster.finished or self._overdue(), None)
        self._silent_at = None  # the rest has limits of its own, and is not to wake for this one
        if not self._roster.finished:
            # A monitor does not run. It is killed with what is left: its connection tells of it.
            self._end_zygote()
            self._kill_the_rest()
            self._serve(lambda: self._roster.finished, _MONITORS_LIMIT)
        if self._roster.failure is not None:
            self._print([(2, f"constellation: {self._roster.failure}\n".encode())])
        self._host.end()
        self._serve(lambda: self._host.empty, _MONITORS_LIMIT)
        self._end_zygote()
        self._kill_the_rest()
        self._program.directory.remove()
        self._finish_printing()
        sweep(os.path.dirname(self._program.directory.path))
        code = self._interruption.exit_code()
        return _OUTPUT_FAILURE if self._printer.lost and code == 0 else code

    # -- where processes run

    def ask(self, number: int, resources: Resources, *, wait: bool) -> None:
        """There is always room here, while there is a zygote."""
        if self._crippled:
            self._roster.refused(number, "SpawnError", "the program's zygote was killed")
        else:
            self._roster.placed(number, self._host)

    def drop(self, number: int) -> None:
        """Nobody counts."""

    def _hear(self, message: FromHost) -> None:
        if isinstance(message, Crippled):
            self._crippled = True
        self._roster.hear(message, self._host)

    # -- the loop

    def _serve(self, done: Callable[[], bool], limit: float | None) -> None:
        until = None if limit is None else time.monotonic() + limit
        while not done():
            for key, events in self._selector.select(self._timeout(until)):
                key.data(events)
            now = time.monotonic()
            self._pass_time(now)
            if until is not None and now >= until:
                return

    def _timeout(self, until: float | None) -> float | None:
        deadlines = [
            until,
            self._renderer.deadline(),
            self._interruption.deadline,
            self._silent_at,
            self._host.deadline,
            None if self._relay is None else self._relay.deadline,
        ]
        nearest = min((each for each in deadlines if each is not None), default=None)
        return None if nearest is None else max(0.0, nearest - time.monotonic())

    def _pass_time(self, now: float) -> None:
        self._host.tick()
        self._print(self._renderer.tick(now))
        self._act(self._interruption.tick(now))
        if self._relay is not None:
            self._relay.tick()
        for text in self._roster.take_troubles():
            self._print([(2, f"constellation: {text}\n".encode())])

    def _overdue(self) -> bool:
        """Whether some of what is being killed does not end."""
        return self._silent_at is not None and time.monotonic() >= self._silent_at

    # -- input

    def _stdin(self) -> int:
        """What becomes the initial process's standard input."""
        if os.isatty(0):
            read, write = os.pipe()
            self._relay = TerminalRelay(
                self._selector, 0, write, time.monotonic, self._renderer.echoed
            )
            return read
        # Its own, to the end: nobody else reads from it, nor keeps its writer waiting.
        stdin = os.dup(0)
        descriptors.replace_with_null(0)
        return stdin

    # -- output

    def _may_grow(self) -> bool:
        # What is being killed has little left to say, and must not wait for a stopped terminal.
        return self._printer.room or self._interruption.killing

    def _show(self, events: Iterable[Event]) -> None:
        now = time.monotonic()
        if self._silent_at is not None:
            self._silent_at = now + _KILL_LIMIT
        for event in events:
            if isinstance(event, ExitEvent):
                self._exited(event)
            self._print(self._renderer.render(event, now))

    def _exited(self, event: ExitEvent) -> None:
        killed = self._roster.was_killed(event.pid)
        initial = event.pid == self._roster.initial
        self._interruption.exited(event.status, initial=initial, killed=killed)
        if initial and self._relay is not None:
            self._relay.close()
            self._relay = None

    def _print(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        for fd, data in pieces:
            self._printer.put(fd, data)

    def _printed(self, events: int) -> None:
        """The printer has room again, or a descriptor that nobody reads any more."""
        for fd in self._printer.take_failures():
            for each in (1, 2) if self._json else (fd,):
                self._roster.shut(each)
        if self._may_grow():
            self._roster.give_room()

    def _finish_printing(self) -> None:
        self._print(self._renderer.close())
        limit = _PRINT_LIMIT if self._interruption.killing else None
        self._serve(lambda: self._printer.queued == 0, limit)

    # -- signals

    def _signalled(self, events: int) -> None:
        for number in self._wakeup.take():
            if number == signal.SIGCHLD:
                self._reap()
            elif number == signal.SIGTSTP:
                self._suspend()
            elif number in ENDING:
                self._act(self._interruption.signal(number, time.monotonic()), number)
            elif number in _PASSED_ON:
                self._roster.signal_initial(number)

    def _act(self, action: Action, number: int = 0) -> None:
        if action is Action.FORWARD:
            self._roster.signal_initial(number)
        elif action is Action.KILL:
            self._silent_at = time.monotonic() + _KILL_LIMIT
            self._roster.kill(self._interruption.cause)
            # The printer may never say that it has room again, and monitors wait for that.
            self._roster.give_room()

    def _suspend(self) -> None:
        """Ctrl-Z: stop with the program, and go on with it."""
        self._roster.signal(signal.SIGSTOP)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # ends when someone continues us
        signal.signal(signal.SIGTSTP, signals.caught)
        self._roster.signal(signal.SIGCONT)

    # -- the end

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (child := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                if child == self._program.zygote_pid:
                    self._zygote_reaped = True

    def _end_zygote(self) -> None:
        self._host.close()
        self._reap()
        self._serve(lambda: self._zygote_reaped, _ZYGOTE_LIMIT)
        if not self._zygote_reaped:
            os.kill(self._program.zygote_pid, signal.SIGKILL)

    def _kill_the_rest(self) -> None:
        """What the zygote could not end any more, since it was killed, is ours by now."""

        def none_left() -> bool:
            children = system.children()
            for child in children:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
            self._reap()
            return not children

        self._serve(none_left, _ORPHANS_LIMIT)
