"""What the scheduler is told: a closed union, :data:`Event`.

Amounts are of :class:`~constellation_daemons.master.values.Amount`. A node is named by where it
listens, such as ``"10.0.0.2:9999"``, and by an incarnation, which is larger at each of its starts.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from constellation.control.messages import Status
from constellation_daemons.master.values import Amount, RequestId


class _Event(msgspec.Struct, frozen=True, gc=False):
    """The base of all events."""


# -- from whoever asks: a bridge ------------------------------------------------------------------


class Requested(_Event, frozen=True):
    """A process is to be placed. Repeated, it is answered again and not done again.

    Attributes:
        request: The asker's name for it, which is new.
        program: The program that the process is of.
        need: What the process needs.
        wait: Whether to wait for room, or to be refused where there is none now.
        answered: The asker has the answer of every request with a number below this, and will
            not ask for them again: they are forgotten. None of them waits. One that was placed and
            has lost its place before it started waits again, and is not among them any more.
    """

    request: RequestId
    program: str
    need: Amount
    wait: bool = True
    answered: int = 0


class Renewed(_Event, frozen=True):
    """A request still waits, says its asker, which has to every 2 s."""

    request: RequestId


class Cancelled(_Event, frozen=True):
    """A request is no longer wanted."""

    request: RequestId


class Deadlocked(_Event, frozen=True):
    """A waiting request was found to be the one that has to give way.

    Attributes:
        request: Which.
        text: Who waits for whom.
    """

    request: RequestId
    text: str


class AskerGone(_Event, frozen=True):
    """An asker will neither ask nor listen any more."""

    asker: str


class AskerDone(_Event, frozen=True):
    """An asker has the answers of all that it has asked for, and will not ask any more.

    What it was told counts, unlike with one that is gone: its programs believe it to their end.
    """

    asker: str


class AskerBack(_Event, frozen=True):
    """An asker is there again, whom what it was told last may not have reached.

    It asks again for what it still waits for, and says what it believes.
    """

    asker: str


class ProgramEnded(_Event, frozen=True):
    """A program is over: nothing more is to be started for it.

    Attributes:
        program: Which.
        unheard: Whether its end is published also where nothing is known of the program: it may
            have begun under another master.
    """

    program: str
    unheard: bool = False


class Told(_Event, frozen=True):
    """A program believes that whatever of it was on a node is lost, so it must be.

    The scheduler knows that of those it told itself. Bridges say it to a new master.
    """

    program: str
    node: str
    incarnation: int


# -- from and of nodes ----------------------------------------------------------------------------


class Report(msgspec.Struct, frozen=True, gc=False):
    """A process that a node says it has.

    Attributes:
        request: What it was placed for.
        attempt: By which placement.
        program: The program that it is of.
        need: What it was promised.
        pid: Its Pid as hexadecimal digits; None while it is being started.
    """

    request: RequestId
    attempt: int
    program: str
    need: Amount
    pid: str | None = None


class NodeJoined(_Event, frozen=True):
    """A node offers its room. Nothing is placed on it before this.

    Attributes:
        node: Its name.
        incarnation: Which start of it.
        capacity: What it may give to processes in all.
        reports: All that it has confirmed and that has not ended.
    """

    node: str
    incarnation: int
    capacity: Amount
    reports: tuple[Report, ...] = ()


class NodeLeaving(_Event, frozen=True):
    """A node takes nothing new, and goes when what it has is ended."""

    node: str
    incarnation: int


class NodeLost(_Event, frozen=True):
    """A node has not been heard of for too long."""

    node: str
    incarnation: int


class Confirmed(_Event, frozen=True):
    """A node has received a placement."""

    node: str
    incarnation: int
    request: RequestId
    attempt: int


class Started(_Event, frozen=True):
    """A process has come into being."""

    node: str
    incarnation: int
    request: RequestId
    attempt: int
    pid: str


class Failed(_Event, frozen=True):
    """A process could not be started.

    Attributes:
        text: Why, for the user of the program.
    """

    node: str
    incarnation: int
    request: RequestId
    attempt: int
    text: str


class Exited(_Event, frozen=True):
    """A process has ended, or what was withdrawn is gone.

    Attributes:
        status: How, as far as is known.
    """

    node: str
    incarnation: int
    request: RequestId
    attempt: int
    status: Status = Status()


FromAsker: TypeAlias = (
    Requested
    | Renewed
    | Cancelled
    | Deadlocked
    | AskerGone
    | AskerDone
    | AskerBack
    | ProgramEnded
    | Told
)
OfProcess: TypeAlias = Confirmed | Started | Failed | Exited
OfNode: TypeAlias = NodeJoined | NodeLeaving | NodeLost
Event: TypeAlias = FromAsker | OfProcess | OfNode
