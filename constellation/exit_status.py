"""What became of a process."""

from __future__ import annotations

import os
import re
import signal as signals
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from constellation.units import Mem

_UNKNOWN_SHELL_CODE: Final = 101
_NAMELESS_SIGNAL: Final = re.compile(r"SIG[0-9]{1,3}|SIGRTMIN\+[0-9]{1,2}")
"""What `_signal_name` calls those that have no name of their own."""
_SIGNAL_NAMES: Final = frozenset(
    {
        *(signal.name for signal in signals.Signals),
        # Of other systems, or of other processors: the nodes of a cluster may differ.
        *("SIGCLD", "SIGEMT", "SIGINFO", "SIGLOST", "SIGPOLL", "SIGPWR", "SIGRTMAX", "SIGRTMIN"),
        *("SIGSTKFLT", "SIGTHR", "SIGUNUSED"),
    }
)


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """What became of a process, or of all processes of a program together.

    One of :attr:`code`, :attr:`signal` and :attr:`lost` says how it ended, the others are None.
    All three are None in an indeterminate status: what two different ends make together.

    Two statuses are equal when the processes ended in the same way. The particulars
    (:attr:`core_dumped`, :attr:`max_rss`, :attr:`cause`) take no part in that:
    ``status == ExitStatus(code=0)`` asks about the end, and not about a measurement.

    Attributes:
        code: The exit code, from 0 to 255.
        signal: The name of the signal that ended it, such as ``SIGABRT``.
        lost: Why nobody can know, such as ``node 10.0.0.2:9999``.
        core_dumped: Whether the signal left a core dump.
        max_rss: The most memory that was resident at once, including what the process shares with
            the image it was forked from; None where it was not measured.
        cause: In words, why constellation or its user ended the process; None where neither did.

    Raises:
        ValueError: More than one way to have ended, or one that does not exist.
    """

    code: int | None = None
    signal: str | None = None
    lost: str | None = None
    core_dumped: bool = field(default=False, compare=False)
    max_rss: Mem | None = field(default=None, compare=False)
    cause: str | None = field(default=None, compare=False)

    INDETERMINATE: ClassVar[ExitStatus]
    """What two different statuses combine to."""

    def __post_init__(self) -> None:
        if sum(end is not None for end in (self.code, self.signal, self.lost)) > 1:
            raise ValueError(f"a process ends in one way only, not in all of {self!r}")
        if self.code is not None and not (type(self.code) is int and 0 <= self.code <= 255):
            raise ValueError(f"an exit code is an int from 0 to 255, not {self.code!r}")
        if self.signal is not None and not _is_signal_name(self.signal):
            raise ValueError(_no_signal(self.signal))
        if self.lost is not None and not isinstance(self.lost, str):
            raise ValueError(f"why a process is lost is told in words, not as {self.lost!r}")
        if self.core_dumped and self.signal is None:
            raise ValueError(f"only a signal leaves a core dump, which {self} is not")

    @classmethod
    def from_wait(
        cls, status: int, max_rss: Mem | int | None = None, cause: str | None = None
    ) -> ExitStatus:
        """Decode what :func:`os.waitpid` says of a process that has ended.

        Args:
            status: The second value that ``waitpid`` returned.
            max_rss: The most memory that was resident; an int is bytes.
            cause: See the class.

        Raises:
            ValueError: The process has not ended, but was stopped or continued.
        """
        rss = None if max_rss is None else Mem(max_rss)
        # First, since WIFSTOPPED and WIFCONTINUED are not exclusive of it on all systems.
        if os.WIFEXITED(status):
            return cls(code=os.WEXITSTATUS(status), max_rss=rss, cause=cause)
        if os.WIFSIGNALED(status):
            return cls(
                signal=_signal_name(os.WTERMSIG(status)),
                core_dumped=os.WCOREDUMP(status),
                max_rss=rss,
                cause=cause,
            )
        raise ValueError(f"the wait status {status:#x} is not that of a process that has ended")

    @property
    def success(self) -> bool:
        """Whether the process exited with code 0."""
        return self.code == 0

    @property
    def indeterminate(self) -> bool:
        """Whether this combines statuses that differ."""
        return self.code is None and self.signal is None and self.lost is None

    @property
    def shell_code(self) -> int:
        """The code with which a command exits that stands for this process.

        Its own code; 128 and the number of the signal; 101 where nobody knows, which includes
        the name of a signal that this operating system does not have.
        """
        if self.code is not None:
            return self.code
        number = None if self.signal is None else _signal_number(self.signal)
        return _UNKNOWN_SHELL_CODE if number is None else 128 + number

    def combine(self, other: ExitStatus) -> ExitStatus:
        """The status of two processes together, in whatever order.

        Equal statuses combine to themselves, with the largest ``max_rss``, a core dump if there
        was any, and the cause if it is the same. Different ones combine to indeterminate, with
        the largest ``max_rss``. So any number of statuses combines to the same, whatever comes
        first.
        """
        sizes = [status.max_rss for status in (self, other) if status.max_rss is not None]
        largest = max(sizes, default=None)
        if self != other:
            return ExitStatus(max_rss=largest)
        return ExitStatus(
            code=self.code,
            signal=self.signal,
            lost=self.lost,
            core_dumped=self.core_dumped or other.core_dumped,
            max_rss=largest,
            cause=self.cause if self.cause == other.cause else None,
        )

    def to_json(self) -> dict[str, Any]:
        """The form in JSON: ``{"code": 0}``, ``{"signal": "SIGABRT"}`` or ``{"lost": "..."}``.

        Where there is something to say, with ``"core": true``, ``"cause": "..."`` and
        ``"max_rss": <bytes>``. An indeterminate status is ``{"indeterminate": true}``.
        """
        form: dict[str, Any] = {}
        if self.code is not None:
            form["code"] = self.code
        elif self.signal is not None:
            form["signal"] = self.signal
        elif self.lost is not None:
            form["lost"] = self.lost
        else:
            form["indeterminate"] = True
        if self.core_dumped:
            form["core"] = True
        if self.cause is not None:
            form["cause"] = self.cause
        if self.max_rss is not None:
            form["max_rss"] = int(self.max_rss)
        return form

    def __str__(self) -> str:
        if self.code is not None:
            return str(self.code)
        if self.signal is not None:
            return self.signal
        if self.lost is not None:
            return f"lost: {self.lost}"
        return "indeterminate"


ExitStatus.INDETERMINATE = ExitStatus()


def _is_signal_name(name: object) -> bool:
    if not isinstance(name, str):
        return False
    return name in _SIGNAL_NAMES or _NAMELESS_SIGNAL.fullmatch(name) is not None


def _no_signal(given: object) -> str:
    """Why something is not the name of a signal, and which one is likely meant."""
    if isinstance(given, str) and not given.isdecimal():
        meant = f"SIG{given.strip().upper().removeprefix('SIG')}"
        hint = f": is {meant!r} meant?" if meant in _SIGNAL_NAMES else ", such as 'SIGABRT'"
        return f"{given!r} is not the name of a signal{hint}"
    text = f"a signal is given by its name, such as 'SIGABRT', not as {given!r}"
    number = int(given) if isinstance(given, (int, str)) else 0
    return f"{text}: that is {_signal_name(number)!r}" if 0 < number < signals.NSIG else text


def _signal_name(number: int) -> str:
    """The name of a signal, also of those that have none of their own: SIGRTMIN+1, SIG40."""
    try:
        return signals.Signals(number).name
    except ValueError:
        lowest = getattr(signals, "SIGRTMIN", None)
        if lowest is not None and lowest < number < signals.SIGRTMAX:
            return f"SIGRTMIN+{number - lowest}"
        return f"SIG{number}"


def _signal_number(name: str) -> int | None:
    """The number of a signal here, None where there is none of that name."""
    base, _, offset = name.partition("+")
    number = getattr(signals, base, None)
    if isinstance(number, signals.Signals):
        return number + int(offset or 0)
    digits = base.removeprefix("SIG")
    return int(digits) if digits.isdigit() and not offset else None
