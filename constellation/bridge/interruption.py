"""What a signal to the command does to its program, pure.

==================  ==========================  ===========================================
signal              the first                   a second of any, or 5 s later
==================  ==========================  ===========================================
SIGINT, SIGTERM,    goes to the group of the    every process is killed
SIGHUP              initial process
SIGQUIT             every process is killed
==================  ==========================  ===========================================

What the command killed for a signal counts as having died of that signal in the command's own exit
code. So an interrupted program exits with 128 + the signal's number, unless its initial process
handled the signal: then what the processes make of it counts.
"""

from __future__ import annotations

import enum
import signal

from constellation.exit_status import ExitStatus

GRACE = 5.0
"""Seconds that a program has to end after the first signal."""
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
"""The signals that this is about."""


class Action(enum.Enum):
    """What is to be done now."""

    NOTHING = "nothing"
    FORWARD = "forward"
    KILL = "kill"


class Interruption:
    """Whether and how a program is being ended, and what its command exits with."""

    def __init__(self) -> None:
        self._initial_status: ExitStatus | None = None
        self._had_a_say = False  # the initial process was there when the signal came
        self._number: signal.Signals | None = None
        self._deadline: float | None = None
        self._killed = False
        self._combined: ExitStatus | None = None

    @property
    def killing(self) -> bool:
        """Whether every process is being killed, so that none may be spawned any more."""
        return self._killed

    @property
    def cause(self) -> str | None:
        """Why processes that die by our hand do."""
        return None if self._number is None else f"killed by the command after {self._number.name}"

    @property
    def code(self) -> int | None:
        """What the signal makes of a command whose program did not come into being; None: none."""
        return None if self._number is None else ExitStatus(signal=self._number.name).shell_code

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`tick`."""
        return None if self._killed else self._deadline

    def signal(self, number: int, now: float) -> Action:
        """A signal came to the command."""
        if self._killed:
            return Action.NOTHING
        first = self._number is None
        if self._number is None:
            self._number = signal.Signals(number)
            self._had_a_say = self._initial_status is None
            self._deadline = now + GRACE
        if first and number != signal.SIGQUIT:
            return Action.FORWARD
        return self._kill()

    def tick(self, now: float) -> Action:
        """Time has passed."""
        if self._deadline is None or self._killed or now < self._deadline:
            return Action.NOTHING
        return self._kill()

    def _kill(self) -> Action:
        self._killed = True
        return Action.KILL

    def exited(self, status: ExitStatus, *, initial: bool, killed: bool) -> None:
        """A process has exited.

        Args:
            status: How.
            initial: Whether it is the initial process.
            killed: Whether the command killed it for the signal.
        """
        if killed and self._number is not None:
            status = ExitStatus(signal=self._number.name)
        if initial:
            self._initial_status = status
        self._combined = status if self._combined is None else self._combined.combine(status)

    def exit_code(self) -> int:
        """What the command exits with, when all have exited."""
        combined = self._combined or ExitStatus.INDETERMINATE
        if self._number is None:
            return combined.shell_code
        died_of_it = ExitStatus(signal=self._number.name)
        interrupted = self._initial_status == died_of_it if self._had_a_say else self._killed
        return died_of_it.shell_code if interrupted else combined.shell_code
