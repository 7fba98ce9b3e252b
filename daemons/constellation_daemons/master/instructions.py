"""What the scheduler wants done: a closed union, :data:`Instruction`.

They are to be carried out in their order. None of them needs to succeed: what is lost on its way is
made good by a timer here, or by whoever asks again.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec

from constellation.control.messages import Status
from constellation_daemons.master.values import Amount, RequestId


class _Instruction(msgspec.Struct, frozen=True, gc=False):
    """The base of all instructions."""


# -- answers to an asker --------------------------------------------------------------------------


class Place(_Instruction, frozen=True):
    """The request has its room, on this node: start the process there.

    The node has 2 s to confirm. A larger ``attempt`` for the same request takes the place of a
    smaller one, which the node ends if it has it.
    """

    request: RequestId
    attempt: int
    program: str
    need: Amount
    node: str
    incarnation: int


class Queue(_Instruction, frozen=True):
    """The request waits. It has to be renewed every 2 s, and is dropped after 10 s without.

    Attributes:
        missing: No node that is here could ever hold it: it waits for one that is lost, or that has
            not joined yet.
    """

    request: RequestId
    missing: bool


class Why(enum.Enum):
    """Why a request was refused."""

    NEVER = "no node could ever"
    NOT_NOW = "no room now"
    DEADLOCK = "deadlock"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ENDED = "program ended"


class Refuse(_Instruction, frozen=True):
    """The request is over, without a process.

    Attributes:
        why: The reason, for programs.
        text: The reason, for people.
        node: Where that is why: the node that comes nearest.
        capacity: All that this node has.
    """

    request: RequestId
    why: Why
    text: str
    node: str | None = None
    capacity: Amount | None = None


class AskAgain(_Instruction, frozen=True):
    """The request is not known here: send all of it, under the same name.

    It was dropped, or this is a new master.
    """

    request: RequestId


class Lost(_Instruction, frozen=True):
    """These processes of the asker were on a node that is lost.

    Attributes:
        numbers: The numbers of the requests that they were placed for.
    """

    asker: str
    node: str
    incarnation: int
    numbers: tuple[int, ...]


# -- to a node ------------------------------------------------------------------------------------


class Admit(_Instruction, frozen=True):
    """The node has joined."""

    node: str
    incarnation: int


class JoinFirst(_Instruction, frozen=True):
    """The node is not known here in this incarnation, or was lost: it has to join again."""

    node: str
    incarnation: int


class Fence(_Instruction, frozen=True):
    """The node must end what it has of these programs, which were told that it is lost.

    A node that is joining is not admitted: it ends that and then joins again. One that has joined
    reports the ends as of any process.
    """

    node: str
    incarnation: int
    programs: tuple[str, ...]


class Withdraw(_Instruction, frozen=True):
    """The node must end this, or not start it: it is not wanted, or is placed elsewhere.

    Where the node has the request in a later attempt, it keeps that.
    """

    node: str
    incarnation: int
    request: RequestId
    attempt: int


class Release(_Instruction, frozen=True):
    """The node has nothing left that counts, and may go when it has ended what was withdrawn."""

    node: str
    incarnation: int


# -- to all who listen ----------------------------------------------------------------------------


class Topic(enum.Enum):
    """What an event of the cluster is about."""

    NODE_JOINED = "node.joined"
    NODE_LOST = "node.lost"
    NODE_LEAVING = "node.leaving"
    NODE_LEFT = "node.left"
    PROCESS_SPAWNED = "process.spawned"
    PROCESS_EXITED = "process.exited"
    PROGRAM_STARTED = "program.started"
    PROGRAM_ENDED = "program.ended"


class Publish(_Instruction, frozen=True):
    """An event for whoever watches the cluster.

    Attributes:
        sequence: Counts these, from 1, without a gap. A snapshot says which was the last.
        topic: What it is about.
        node: The node, where there is one.
        program: The program, where there is one.
        pid: The process, where there is one.
        status: How a process ended.
    """

    sequence: int
    topic: Topic
    node: str | None = None
    program: str | None = None
    pid: str | None = None
    status: Status | None = None


ToAsker: TypeAlias = Place | Queue | Refuse | AskAgain | Lost
ToNode: TypeAlias = Admit | JoinFirst | Fence | Withdraw | Release
Instruction: TypeAlias = ToAsker | ToNode | Publish


class Outbox:
    """Where the parts of the scheduler put their instructions. Counts what is published."""

    __slots__ = ("_items", "sequence")

    def __init__(self) -> None:
        self._items: list[Instruction] = []
        self.sequence = 0

    def put(self, instruction: Instruction) -> None:
        """Put an instruction."""
        self._items.append(instruction)

    def publish(
        self,
        topic: Topic,
        node: str | None = None,
        program: str | None = None,
        pid: str | None = None,
        status: Status | None = None,
    ) -> None:
        """Put an event for all who listen."""
        self.sequence += 1
        self._items.append(Publish(self.sequence, topic, node, program, pid, status))

    def take(self) -> list[Instruction]:
        """All that was put since the last time."""
        items = self._items
        if items:
            self._items = []
            return items
        return []
