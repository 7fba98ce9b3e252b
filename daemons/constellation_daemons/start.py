"""An interpreter that runs a program up to `init()`, where it does what a message tells it.

What it writes before that is kept, and shown only if it never gets there. If whoever started it
dies, it dies too, from its first moment on.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from constellation.control.messages import Deploy, FromNewborn, Survey
from constellation.control.stream import ControlError, MessageStream
from constellation.exit_status import ExitStatus
from constellation.process import birth, command
from constellation.session.loop import Loop
from constellation_daemons.guards import Guards
from constellation_daemons.starters import GUARDED, PLAIN

__all__ = ["Failure", "Program", "Start"]

_LOOK = 0.02
_GUARD_LIMIT = 2.0  # seconds that a guard has to kill what it guards
_GUARD_LOOK = 0.002
_SHOWN = 512 << 10  # bytes of what it wrote that are shown, from the end

_from_newborn = msgspec.msgpack.Decoder(FromNewborn)


@dataclass(frozen=True, slots=True)
class Program:
    """What is run.

    Attributes:
        directory: Where it is laid out.
        arguments: What follows the interpreter on the command line.
        environ: The whole environment.
    """

    directory: str
    arguments: Sequence[str]
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a program has not reached `init()`, and what it wrote."""

    reason: str
    out: bytes = b""
    err: bytes = b""
    status: ExitStatus | None = None

    @property
    def code(self) -> int:
        """What a command exits with for it: as the program has, if that says failure."""
        return 1 if self.status is None or self.status.success else self.status.shell_code


class Start:
    """A program on its way to `init()`.

    Args:
        loop: The service's.
        program: What is run.
        message: What it is told, but for its nonce.
        inherited: Descriptors that it is started with.
        limit: Seconds that it may take.
        cure: What its user is told to do where it takes longer.
        told: Called with what it says when it has reached `init()`.
        failed: Called in place of that.
        guards: Those of the service, among which it has one: all that it has started is killed
            with it then, wherever that has gone (on Linux). None: it has no guard.

    Raises:
        OSError: It cannot be started.

    Attributes:
        os_pid: Its process id, or that of its guard.
    """

    def __init__(
        self,
        loop: Loop,
        program: Program,
        message: Deploy | Survey,
        *,
        inherited: Sequence[int] = (),
        limit: float,
        cure: str = "move what takes long after init()",
        told: Callable[[FromNewborn], None],
        failed: Callable[[Failure], None],
        guards: Guards | None = None,
    ) -> None:
        self._loop = loop
        self._told = told
        self._failed = failed
        self._limit = limit
        self._cure = cure
        self._guards = guards
        self._over = self._watched = self._dying = False
        self._cancelled: list[Callable[[], None]] = []  # who waits for its end
        ours, theirs = socket.socketpair()
        self._stream: MessageStream[FromNewborn] = MessageStream(ours, _from_newborn)
        nonce = os.urandom(birth.NONCE_SIZE)
        self._stream.post(msgspec.structs.replace(message, nonce=nonce))
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        label = f"{command.OPTION}=PID:{theirs.fileno()}:{nonce.hex()}"
        try:
            self.os_pid = self._run(program, label, [theirs.fileno(), *inherited])
        except OSError:
            self._close()
            raise
        finally:
            theirs.close()
        if guards is not None:
            guards.add(self.os_pid)
        loop.selector.register(self._stream, selectors.EVENT_READ, self._heard)
        self._watched = True
        self._look_timer = loop.after(_LOOK, self._look)
        self._limit_timer = loop.after(limit, self._too_late)

    def cancel(self, done: Callable[[], None] = lambda: None) -> None:
        """It is not wanted any more.

        Args:
            done: Called when it is dead, or was told or has failed before.
        """
        if self._over:
            done()
            return
        self._cancelled.append(done)
        if not self._dying:
            self._kill(lambda _: None)

    def _run(self, program: Program, label: str, inherited: Sequence[int]) -> int:
        null = os.open(os.devnull, os.O_RDONLY)
        for number in inherited:
            os.set_inheritable(number, True)
        streams = [null, *(file.fileno() for file in self._files)]
        script = PLAIN if self._guards is None else GUARDED
        arguments = [sys.executable, "-I", "-S", "-c", script, str(os.getpid())]
        arguments += [program.directory, label, *program.arguments]
        options: dict[str, Any] = {} if self._guards is None else {"setpgroup": 0}
        defaults = [signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        try:
            return os.posix_spawn(
                sys.executable,
                arguments,
                dict(program.environ),
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, n) for n, fd in enumerate(streams)],
                setsigmask=[],
                setsigdef=defaults,
                **options,
            )
        finally:
            os.close(null)
            for number in inherited:
                os.set_inheritable(number, False)

    # -- what it comes to

    def _heard(self, events: int) -> None:
        try:
            messages = self._stream.receive()
        except (EOFError, ControlError):
            # Whether it has ended shows the timer: others may hold the descriptor.
            self._unwatch()
            return
        if messages and self._guards is not None:
            self._kill(lambda _: self._tell(messages[0]))
        elif messages:
            self._tell(messages[0])

    def _tell(self, message: FromNewborn) -> None:
        self._finish()
        self._told(message)

    def _look(self) -> None:
        """See whether it has ended."""
        # Not reaped yet: its number must not be another's.
        if os.waitid(os.P_PID, self.os_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            self._look_timer = self._loop.after(_LOOK, self._look)
            return
        if self._watched:
            self._heard(0)  # it may have spoken with its last breath
        if not self._over and not self._dying:
            self._kill(self._ended)

    def _ended(self, status: int) -> None:
        ended = ExitStatus.from_wait(status)
        self._fail(f"the program ended before it called init(): {ended}", ended)

    def _too_late(self) -> None:
        reason = f"the program has not called init() within {self._limit:g} s: {self._cure}"
        self._kill(lambda _: self._fail(reason, None))

    def _fail(self, reason: str, status: ExitStatus | None) -> None:
        out, err = (_end_of(file.fileno()) for file in self._files)
        failure = Failure(reason, out, err, status)
        self._finish()
        self._failed(failure)

    def _kill(self, dead: Callable[[int], None]) -> None:
        """Kill it, once, with all that it has started if that is wanted.

        Args:
            dead: Called with its status, unless it is cancelled meanwhile.
        """
        self._dying = True
        self._rest()
        if self._guards is not None:
            # Its guard does that. A few milliseconds; longer only where somebody has stopped that.
            os.kill(self.os_pid, signal.SIGTERM)
            self._await_guard(time.monotonic() + _GUARD_LIMIT, dead)
        else:
            self._put_down(dead)

    def _await_guard(self, end: float, dead: Callable[[int], None]) -> None:
        # The bridge's other children are its own to hear of.
        child, status = os.waitpid(self.os_pid, os.WNOHANG)
        if child:
            self._dead(status, dead)
        elif time.monotonic() < end:
            self._loop.after(_GUARD_LOOK, lambda: self._await_guard(end, dead))
        else:
            self._put_down(dead)

    def _put_down(self, dead: Callable[[int], None]) -> None:
        os.kill(self.os_pid, signal.SIGKILL)
        self._dead(os.waitpid(self.os_pid, 0)[1], dead)

    def _dead(self, status: int, dead: Callable[[int], None]) -> None:
        if self._guards is not None:
            self._guards.discard(self.os_pid)
        if not self._cancelled:
            dead(status)
            return
        self._finish()
        for done in self._cancelled:
            done()

    def _finish(self) -> None:
        self._over = True
        self._rest()
        self._close()

    def _rest(self) -> None:
        """Look at it no more."""
        self._limit_timer.cancel()
        self._look_timer.cancel()
        self._unwatch()

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.selector.unregister(self._stream)

    def _close(self) -> None:
        self._stream.close()
        for file in self._files:
            file.close()


def _end_of(file: int) -> bytes:
    size = os.fstat(file).st_size
    return os.pread(file, _SHOWN, max(0, size - _SHOWN))
