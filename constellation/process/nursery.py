"""How a fresh interpreter becomes a process of its program: the monitor's side.

Between its `exec` and its `init()` a process runs the program's own code, as the command did before
it. What it writes then has been shown once, by the command, so it goes into files that have no
name, and is shown only if the process never reaches `init()`. A signal that is meant for the
program waits, as it would in a fork, until the process has the handlers that it had at `init()`.
"""

from __future__ import annotations

import os
import signal
import socket
import traceback
from typing import TYPE_CHECKING, NoReturn

import msgspec

from constellation.control.messages import Birth, FromNewborn
from constellation.control.stream import ControlError, MessageStream
from constellation.exit_status import ExitStatus
from constellation.process import birth, signals
from constellation.process.command import Command
from constellation.process.directory import nameless_file

if TYPE_CHECKING:
    from constellation.process.monitor import Task

_AT_ONCE = (signal.SIGSTOP, signal.SIGCONT, signal.SIGKILL)
_SHOWN = 2000  # bytes of what a process printed last that are in an error
_CANNOT_RUN = 127  # what shells exit with then

_from_newborn = msgspec.msgpack.Decoder(FromNewborn)


class Nursery:
    """A process that has not reached `init()`.

    Attributes:
        signals: What waits for it to do so, in order.
        silent: Whether it has closed its end of the stream, by its death or by mistake, and so will
            not say that it has.

    Args:
        task: What the monitor is made for.
        command: What runs the program.
        out: The process's end of the pipe that becomes its standard output.
        err: The one that becomes its standard error.

    Raises:
        OSError: There are no descriptors left, or there is no room for files.
    """

    def __init__(self, task: Task, command: Command, out: int, err: int) -> None:
        ours, theirs = socket.socketpair()
        self._stream: MessageStream[FromNewborn] = MessageStream(ours, _from_newborn)
        self._their_end = theirs
        self._command = command
        self._nonce = os.urandom(birth.NONCE_SIZE)
        self._files = [nameless_file(task.directory, name) for name in ("out", "err")]
        newborn = task.newborn
        told = Birth(
            nonce=self._nonce,
            key=newborn.pid.key,
            endpoint=newborn.pid.endpoint,
            initial=newborn.initial,
            seeded=command.seeded,
            listener=newborn.listener.fileno(),
            control=newborn.control.fileno(),
            out=out,
            err=err,
            stdin=task.stdin,
            near=None if newborn.network is None else newborn.network.listener.fileno(),
            site=task.site,
        )
        self._handed_on = [theirs.fileno(), told.listener, told.control, out, err]
        self._handed_on += [each for each in (told.stdin, told.near) if each is not None]
        self._stream.post(told)
        self.signals: list[int] = []
        self.silent = False

    # -- in the fork

    def run_program(self) -> NoReturn:
        """Run the program in this process, which has a session of its own."""
        try:
            for number, file in enumerate(self._files, start=1):
                os.dup2(file, number)
            for descriptor in self._handed_on:
                os.set_inheritable(descriptor, True)
            self._execute()
        except BaseException:  # noqa: BLE001 - told where the program would have told it
            os.write(2, f"constellation: cannot run again:\n{traceback.format_exc()}".encode())
        os._exit(_CANNOT_RUN)

    def _execute(self) -> None:
        """Returns only if it cannot be done."""
        command = self._command
        label = birth.label(self._their_end.fileno(), self._nonce)
        arguments = [command.executable, b"-X", label, *command.arguments]
        needed = command.directory or b"."
        try:
            os.chdir(needed)
            needed = command.executable
            signals.give_back(ignored=command.ignored, blocked=command.blocked)
            os.execve(command.executable, arguments, command.environ)
        except OSError as error:
            reason = str(error.strerror).encode()
            os.write(2, b"constellation: cannot run again: %b: %b\n" % (needed, reason))

    # -- in the monitor

    @property
    def descriptors(self) -> list[int]:
        """What the monitor keeps open for it."""
        return [self._stream.fileno(), *self._files]

    def fileno(self) -> int:
        """The descriptor that is readable when the process has something to say, or is gone."""
        return self._stream.fileno()

    def born(self) -> bool:
        """Whether the process says that it has reached `init()`."""
        try:
            return bool(self._stream.receive())
        except (EOFError, ControlError):
            self.silent = True
            return False

    def hold(self, number: int) -> bool:
        """Whether a signal has to wait for `init()`. Then it is kept."""
        if number in _AT_ONCE:
            return False
        self.signals.append(number)
        return True

    def close(self) -> None:
        """Forget what the process wrote: it has reached `init()`, or nobody wants to know."""
        self._stream.close()
        for file in self._files:
            os.close(file)

    def take_files(self) -> dict[int, int]:
        """The process is dead: for each of its descriptors one to read from what it wrote to it."""
        self._stream.close()
        for file in self._files:
            os.lseek(file, 0, os.SEEK_SET)
        return dict(enumerate(self._files, start=1))

    def obituary(self, status: int) -> str:
        """What to tell whoever spawned the process, which is dead: how it ended, its last words.

        Args:
            status: As `waitpid` gives it.
        """
        text = f"the new process ended before it reached init(): {ExitStatus.from_wait(status)}"
        for file in reversed(self._files):
            size = os.fstat(file).st_size
            words = os.pread(file, _SHOWN, max(0, size - _SHOWN)).decode(errors="replace").strip()
            if words:
                return f"{text}\n{words}"
        return text
