"""A deployed program at the user's terminal.

The client sends the program and what it is to be run with, shows what the bridge tells of its
processes as a native program's bridge does, hands on input and signals, and exits as that would. It
waits for nothing but its loop: what is printed goes through the printer's own thread, and while
that is behind, the bridge gets no room for more output.
"""

from __future__ import annotations

import os
import platform
import selectors
import signal
import time
from collections.abc import Iterable
from typing import Protocol

import msgspec

from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.bridge.human import HumanRenderer, Look
from constellation.bridge.interruption import ENDING, Action, Interruption
from constellation.bridge.jsonlines import JsonRenderer
from constellation.bridge.printer import Printer
from constellation.cli.error_event import error_event
from constellation.cli.progress import TransferBar
from constellation.cli.standing import Standing
from constellation.cli.stdin import InputSource
from constellation.control import deployment as messages
from constellation.control.deployment import (
    KILLED,
    OUTPUT_WINDOW,
    Denied,
    Deploy,
    Eof,
    Exit,
    Failed,
    Finished,
    FromBridge,
    Greeting,
    Input,
    InputEnd,
    Interrupt,
    Kill,
    Note,
    Print,
    Resume,
    Room,
    Shut,
    Spawn,
    Suspend,
    Taken,
    ToBridge,
    Transfer,
    Trouble,
    Welcome,
)
from constellation.pid import Pid
from constellation.plain import plain_lines
from constellation.process import signals
from constellation.process.signals import Wakeup
from constellation.program.errors import TransferError
from constellation.program.exchange import Serving
from constellation.program.pack import Package
from constellation.program.transfer import decode_for_sender
from constellation.session.loop import Loop
from constellation.session.sessions import Session, Sessions
from constellation.settings import Format
from constellation.transport.network import Security
from constellation.transport.router import Router
from constellation.version import VERSION

__all__ = ["Client"]

_LOST = 101
_DENIED = 1
_OUTPUT_FAILURE = 74
_GOODBYE = 1.0  # seconds that the bridge has to hear the last
_GRANT_AT = OUTPUT_WINDOW // 8
_KILLED_LIMIT = 15.0
"""Seconds that a program which is killed may take, until the command leaves without it."""
_PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)
_IGNORED = (signal.SIGTTIN, signal.SIGTTOU)  # the terminal is asked whether it is ours, each time
_SOMEWHERE = "tcp://cluster:1"  # where a process is does not matter to who shows it

_encode = msgspec.msgpack.Encoder().encode


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


class Client:
    """One deployment, at the user's end.

    Args:
        endpoint: The bridge's.
        security: How connections are secured; None: they are not.
        package: The program.
        request: What the bridge is asked.
        form: What is printed.
    """

    def __init__(
        self,
        endpoint: str,
        security: Security | None,
        package: Package,
        request: Deploy,
        form: Format,
    ) -> None:
        self._request = request
        self._ignored = package.ignored
        self._json = form is Format.JSON
        self._serving = Serving(package.manifest, package)
        self._loop = Loop()
        self._wakeup = Wakeup()
        mask = signals.block_all()
        # Its threads are started while all signals are blocked, so they take none.
        self._printer = Printer()
        self._renderer: _Renderer = (
            JsonRenderer()
            if self._json
            else HumanRenderer(
                Look.of_descriptors(os.environ), stalled=lambda: not self._printer.room
            )
        )
        for number in (*ENDING, *_PASSED_ON, signal.SIGTSTP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signals.caught)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        key = os.urandom(16)
        router = Router(key, "", None, security=security)
        signals.restore_mask(mask)
        self._sessions = Sessions(self._loop, router, key, self)
        self._bridge = self._sessions.dial(endpoint)
        self._interruption = Interruption()
        self._standing = Standing()
        self._input: InputSource | None = None
        self._unacknowledged = 0  # bytes that were put to the printer and gave no room yet
        self._welcome = False  # the bridge has answered
        self._left = False  # by its user, before that
        self._code: int | None = None
        self._bar = TransferBar(enabled=not self._json and os.isatty(2))
        selector = self._loop.selector
        selector.register(self._wakeup.fileno(), selectors.EVENT_READ, self._signalled)
        selector.register(self._printer.fileno(), selectors.EVENT_READ, self._printed)
        self._say(Greeting(VERSION, platform.python_version()))

    def run(self) -> int:
        """Serve to the end. Returns what the command exits with."""
        self._tick()
        self._loop.run(lambda: self._code is not None)
        assert self._code is not None
        self._bar.close()
        if self._input is not None:
            self._input.close()
        self._print(self._renderer.close())
        self._finish_printing()
        self._bridge.close()
        if not self._left:
            self._loop.run(lambda: not list(self._sessions), _GOODBYE)
        self._sessions.close()
        self._loop.close()
        return _OUTPUT_FAILURE if self._printer.lost and self._code == 0 else self._code

    # -- the bridge

    def opened(self, session: Session) -> None:
        """Nobody connects to a client."""

    def heard(self, session: Session, message: bytes) -> None:
        """The bridge has said something."""
        if self._code is not None:
            return
        try:
            said = messages.from_bridge.decode(message)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            self._lose(f"it has said what constellation {VERSION} does not understand: {error}")
        else:
            self._obey(said)

    def ended(self, session: Session, reason: str | None) -> None:
        """The bridge is gone."""
        if self._code is None and not self._welcome:
            why = reason or f"{session.name} has closed the connection"
            self._complain(why)
            self._code = _DENIED
        elif self._code is None and session.given_up:
            self._own_fault()
        elif self._code is None:
            self._lose(reason or "it has closed the connection")

    def _lose(self, reason: str) -> None:
        """The bridge is of no use any more, and the program lost with it."""
        self._complain(f"the bridge is lost: {reason}")
        self._conclude("the bridge is lost")
        self._code = _LOST

    def _own_fault(self) -> None:
        """The bridge is there, and has not heard of this command, which was stopped, for long."""
        seconds = self._sessions.held_up
        stopped = "could not be heard" if seconds is None else f"was not run for {seconds:.0f} s"
        self._complain(f"this command {stopped}, and its program was ended as if it had gone")
        self._conclude("the command was taken for gone")
        self._code = _LOST

    def _conclude(self, reason: str) -> None:
        """Nothing more will be told of any process."""
        for event in self._standing.lose(reason):
            self._print(self._renderer.render(event, time.monotonic()))

    def _say(self, message: ToBridge) -> None:
        self._bridge.send(messages.encode(message))

    def _obey(self, message: FromBridge) -> None:
        match message:
            case Welcome():
                self._welcome = True
                self._say(self._request)
            case Denied(reason):
                self._complain(reason)
                self._code = _DENIED
            case Transfer(data):
                self._send_files(data)
            case Note(text) if not self._json:  # which tells of processes only
                self._complain(text)
            case Note():
                pass
            case Spawn() | Print() | Eof() | Exit():
                self._show(message)
            case Taken(size, closed):
                if self._input is not None:
                    self._input.taken(size, closed=closed)
            case Failed():
                self._fail(message)
            case Trouble(text):
                self._complain(text)
            case Finished(killed):
                # If it was not this command that had it killed, it does not count who went before.
                others = killed and self._interruption.code is None
                self._code = KILLED if others else self._interruption.exit_code()

    def _send_files(self, data: bytes) -> None:
        serving = self._serving
        try:
            serving.receive(decode_for_sender(data))
            while (message := serving.next()) is not None:
                self._say(Transfer(_encode(message)))
        except TransferError as error:
            self._complain(str(error))
            self._code = _DENIED

    # -- what is shown

    def _show(self, message: Spawn | Print | Eof | Exit) -> None:
        self._bar.close()
        pid = Pid(message.key, _SOMEWHERE)
        event: Event
        match message:
            case Spawn(_, parent):
                event = SpawnEvent(pid, None if parent is None else Pid(parent, _SOMEWHERE))
                if self._input is None:
                    self._input = InputSource(self._loop, self._typed, self._renderer.echoed)
            case Print(_, fd, data):
                event = OutputEvent(pid, fd, data)
                self._unacknowledged += len(data)
            case Eof(_, fd):
                event = EofEvent(pid, fd)
            case Exit(_, status, initial, killed):
                event = ExitEvent(pid, status.exit_status())
                self._interruption.exited(event.status, initial=initial, killed=killed)
                if initial and self._input is not None:
                    self._input.close()
        self._standing.see(event)
        self._print(self._renderer.render(event, time.monotonic()))
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Give room for more output, if the printer has some, in pieces and not for every line."""
        if self._unacknowledged >= _GRANT_AT and self._may_print():
            self._say(Room(self._unacknowledged))
            self._unacknowledged = 0

    def _may_print(self) -> bool:
        # What is being killed has little left to say, and must not wait for a stopped terminal.
        return self._printer.room or self._interruption.killing

    def _fail(self, failed: Failed) -> None:
        self._bar.close()
        self._conclude(failed.reason)
        # Who is interrupted has no say in it any more.
        self._code = failed.code if self._interruption.code is None else self._interruption.code
        if self._json:
            written = {"out": failed.out, "err": failed.err}
            texts = {name: data.decode(errors="replace") for name, data in written.items() if data}
            self._complain(failed.reason, **texts)
        else:
            self._print([(1, failed.out), (2, failed.err)])
            self._complain(failed.reason)
            # Only what has run has written anything, or exited with a code of its own.
            ran = failed.out or failed.err or failed.code not in (1, KILLED)
            if ran and self._ignored is not None:
                self._complain(self._ignored)

    def _complain(self, text: str, **more: str) -> None:
        if self._json:
            self._print([(1, error_event(text, **more))])
        else:
            self._print([(2, f"constellation: {plain_lines(text)}\n".encode())])

    def _print(self, pieces: Iterable[tuple[int, bytes]]) -> None:
        for fd, data in pieces:
            self._printer.put(fd, data)

    def _finish_printing(self) -> None:
        """Wait until all is printed: for as long as it takes, or a moment if that is not wanted."""
        killing = self._interruption
        self._loop.run(lambda: self._printer.queued == 0 or killing.killing)
        self._loop.run(lambda: self._printer.queued == 0, _GOODBYE)

    def _printed(self, events: int) -> None:
        """The printer has room again, or a descriptor that nobody reads any more."""
        for fd in self._printer.take_failures():
            for each in (1, 2) if self._json else (fd,):
                self._say(Shut(each))
        self._acknowledge()

    def _typed(self, data: bytes) -> None:
        self._say(Input(data) if data else InputEnd())

    # -- time and signals

    def _tick(self) -> None:
        now = time.monotonic()
        if self._code is None:
            self._print(self._renderer.tick(now))
            self._bar.show(self._serving.progress, now)
        self._act(self._interruption.tick(now))
        self._loop.after(0.01 if self._renderer.deadline() is not None else 0.05, self._tick)

    def _signalled(self, events: int) -> None:
        for number in self._wakeup.take():
            if number == signal.SIGTSTP:
                self._suspend()
            elif number in ENDING and not self._welcome:
                self._leave(number)
            elif number in ENDING:
                self._act(self._interruption.signal(number, time.monotonic()), number)
            elif number in _PASSED_ON:
                self._say(Interrupt(signal.Signals(number).name))

    def _leave(self, number: int) -> None:
        """End before the bridge has answered: it has no program yet, and may never have one."""
        if self._code is None:
            self._left = True
            self._code = 128 + number

    def _act(self, action: Action, number: int = 0) -> None:
        if action is Action.FORWARD:
            self._say(Interrupt(signal.Signals(number).name))
        elif action is Action.KILL:
            self._say(Kill(self._interruption.cause or "killed by the command"))
            self._loop.after(_KILLED_LIMIT, self._give_up)

    def _give_up(self) -> None:
        if self._code is None:
            self._complain(f"the program has not ended within {_KILLED_LIMIT:g} s of being killed")
            self._conclude("not known to have ended")
            self._code = self._interruption.exit_code()

    def _suspend(self) -> None:
        """Ctrl-Z: stop with the program, and go on with it."""
        self._say(Suspend())
        self._loop.run(lambda: self._bridge.unreceived == 0, _GOODBYE)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        since = time.monotonic()
        os.kill(os.getpid(), signal.SIGTSTP)  # ends when someone continues us
        signal.signal(signal.SIGTSTP, signals.caught)
        self._sessions.awoke(time.monotonic() - since)
        self._say(Resume())
