"""The errors that the library raises.

::

    ConstellationError
    |-- InitError              init() cannot work here, or has not been called
    |-- SettingsError          a CONSTELLATION_* variable has a value that it cannot have
    |-- SpawnError             a process could not be started
    |   |-- NoCapacity         nowhere is room for what it needs
    |   |-- SpawnDeadlock      everything that could make room waits for room itself
    |   `-- ProgramError       the program failed or ended before it called init()
    |-- ChannelError           a channel was used in a way that it cannot be used
    |   |-- ProcessExited      the process at the other end is gone
    |   |-- ChannelClosed      the Sender was closed, and all that it sent has been received
    |   |-- ChannelTypeError   the two ends name different types
    |   `-- SerializationError a value cannot be turned into bytes, or bytes into a value
    `-- WouldBlock             a try_ form would have had to wait

Each error holds what it is about in attributes and makes its text from them; each pickles, with
whatever was noted on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from constellation.exit_status import ExitStatus
    from constellation.pid import Pid


class ConstellationError(Exception):
    """The base of all errors of the library.

    Attributes:
        index: Where the error came out of ``select``: which of its operations failed.
        sent: Where it came out of ``send_many``: how many values had gone before.
    """

    # What is set on an instance goes along when it is pickled: BaseException pickles as its
    # class, `args` and `__dict__`. So each constructor below hands its own arguments to `args`.
    index: int | None = None
    sent: int | None = None


class InitError(ConstellationError):
    """``init()`` cannot work here, or something needs it that came before it."""


class SettingsError(ConstellationError):
    """An environment variable of ours has a value that it cannot have.

    Attributes:
        variable: Its name.
        value: What it is.
        expected: What it may be, in words.
    """

    def __init__(self, variable: str, value: str, expected: str) -> None:
        super().__init__(variable, value, expected)
        self.variable = variable
        self.value = value
        self.expected = expected

    def __str__(self) -> str:
        return (
            f"the environment variable {self.variable} is {self.value!r}, "
            f"but must be {self.expected}"
        )


class SpawnError(ConstellationError):
    """A process could not be started. No trace of it is left, and no capacity is used."""


class NoCapacity(SpawnError):
    """Nowhere is room for what the process needs: now, or (from ``spawn``) ever."""


class SpawnDeadlock(SpawnError):
    """Every process that could make room waits for room itself. The text shows who for whom."""


class ProgramError(SpawnError):
    """The program failed, or ended, before it called ``init()``."""


class ChannelError(ConstellationError):
    """A channel was used in a way that it cannot be used."""


class ProcessExited(ChannelError):
    """The process at the other end of the channel is gone, and what it sent has been received.

    Attributes:
        pid: Which process.
        status: What became of it; None where nobody knows.
    """

    def __init__(self, pid: Pid, status: ExitStatus | None = None) -> None:
        super().__init__(pid, status)
        self.pid = pid
        self.status = status

    def __str__(self) -> str:
        if self.status is None:
            return f"process {self.pid} has exited; how is not known"
        return f"process {self.pid} has exited: {self.status}"


class ChannelClosed(ChannelError):
    """The Sender at the other end was closed, and all that it sent has been received.

    Attributes:
        pid: The process of that Sender.
        name: The name of the channel, "" where it has none.
    """

    def __init__(self, pid: Pid, name: str = "") -> None:
        super().__init__(pid, name)
        self.pid = pid
        self.name = name

    def __str__(self) -> str:
        channel = f"channel {self.name!r}" if self.name else "channel"
        return f"the {channel} from process {self.pid} was closed by its Sender"


class ChannelTypeError(ChannelError):
    """The two ends of a channel name different types. The value is still there to be received.

    Attributes:
        expected: The type that the Receiver names.
        actual: The type that the Sender names.
    """

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(expected, actual)
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return (
            f"the Receiver is for values of type {self.expected}, "
            f"but the Sender is for values of type {self.actual}"
        )


class SerializationError(ChannelError):
    """A value cannot be turned into bytes, or bytes cannot be turned into a value.

    Attributes:
        path: Where in what was given the culprit is, such as ``args[0].cfg.lock``; "" where that
            is not known.
        reason: Why it cannot be done.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class WouldBlock(ConstellationError):
    """A ``try_`` form would have had to wait. Nothing has changed."""

    def __str__(self) -> str:
        return super().__str__() or "the operation would have to wait"
