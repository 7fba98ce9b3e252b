"""What processes say that they wait for, for the detection of deadlocks."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from constellation_daemons.master.values import Amount, RequestId


class Room(msgspec.Struct, frozen=True):
    """A spawn that waits for room.

    Attributes:
        request: The request that waits in the scheduler.
        need: What it needs.
        order: Of all such requests, which came first: the larger, the younger.
    """

    request: RequestId
    need: Amount
    order: int


class Values(msgspec.Struct, frozen=True):
    """A ``recv`` that waits for the next value of a process, or for its end."""

    pid: str


class Window(msgspec.Struct, frozen=True):
    """A ``send`` or ``flush`` that waits for a process to receive, or for its end."""

    pid: str


class AnyOf(msgspec.Struct, frozen=True):
    """A ``select``: one of these is enough."""

    waits: tuple[Wait, ...]


class AllOf(msgspec.Struct, frozen=True):
    """A ``join``: it needs all of these, those that are done left out."""

    waits: tuple[Wait, ...]


Wait: TypeAlias = "Room | Values | Window | AnyOf | AllOf"


class Blocked(msgspec.Struct, frozen=True):
    """A process says that it does nothing but wait.

    A process sends this again and again while it is so, and says ``busy`` when it is not any more.

    Attributes:
        pid: The process.
        node: Where it is.
        room: What it was promised there, and gives back when it ends.
        threads: What each of its threads that is no daemon waits for, without a timeout. At least
            one. A process of which one does anything else must not send this.
        received: Whether all that it ever sent has been received by those it sent it to.
        progress: A count that is another one whenever an operation of the process has begun or
            ended since: two reports with the same count mean that nothing happened in between.
    """

    pid: str
    node: str
    room: Amount
    threads: tuple[Wait, ...]
    received: bool
    progress: int
