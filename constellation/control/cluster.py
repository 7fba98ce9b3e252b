"""What tools ask a master or a node: requests and replies over REQ and ROUTER, in MessagePack.

A request that is none is answered with :class:`Wrong`, which says what was expected.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from constellation.control.messages import Message

# -- requests -------------------------------------------------------------------------------------


class AskStatus(Message, frozen=True):
    """How does the cluster stand?

    Attributes:
        processes: Whether to name each process: there may be very many.
    """

    processes: bool = False


SHORTEST_NAME: Final = 4
"""Digits that a program or process is named by, at least: an empty name would be everybody's."""

TOO_SHORT: Final = (
    f"a program or process is named by {SHORTEST_NAME} digits of its name at least, as "
    "`constellation status --processes` shows them"
)


class AskKill(Message, frozen=True):
    """End a program, or a process.

    Attributes:
        target: The beginning of its name, in hexadecimal digits: enough to tell it from others.
    """

    target: str


class AskNode(Message, frozen=True):
    """Which node are you? What a node is asked."""


class AskWho(Message, frozen=True):
    """Who are you? What every service is asked."""


Request: TypeAlias = AskStatus | AskKill | AskNode | AskWho


# -- replies --------------------------------------------------------------------------------------


class NodeState(Message, frozen=True):
    """A node.

    Attributes:
        node: Its name.
        state: ``joined``, ``leaving``, ``lost`` or ``absent``: it has not joined yet.
        mem: Bytes that it may give.
        cpu: Billionths of a core that it may give.
        used_mem: Bytes that are promised.
        used_cpu: Billionths of a core that are promised.
        processes: How many it has.
        silent: Seconds since it was last heard of; None: there is no connection.
    """

    node: str
    state: str
    mem: int
    cpu: int
    used_mem: int
    used_cpu: int
    processes: int
    silent: float | None


class ProgramState(Message, frozen=True):
    """A program.

    Attributes:
        program: Its name.
        bridge: Where its bridge is reached.
        waiting: How many of its processes wait for room.
        name: What is run, for people: the script, or ``-m`` and the module.
    """

    program: str
    bridge: str
    waiting: int
    name: str


class WaitingState(Message, frozen=True):
    """Processes of one size that wait for room.

    Attributes:
        mem: Bytes that each needs.
        cpu: Billionths of a core that each needs.
        count: How many they are.
        seconds: For how long the first one has waited.
        reason: What they wait for, for people.
    """

    mem: int
    cpu: int
    count: int
    seconds: float
    reason: str


class ProcessState(Message, frozen=True):
    """A process.

    Attributes:
        pid: The key of its Pid, in hexadecimal digits.
        program: Its program.
        node: Where it is.
        mem: Bytes that it was promised.
        cpu: Billionths of a core that it was promised.
    """

    pid: str
    program: str
    node: str
    mem: int
    cpu: int


class Status(Message, frozen=True):
    """How the cluster stands at one moment.

    Attributes:
        version: The version of constellation at the master.
        sequence: The number of the last event that is in it.
        events: The port at which events are published, at the master's host.
        nodes: The nodes, by name.
        programs: The programs, by name.
        waiting: What waits, the one that waits for longest first.
        running: The processes, if they were asked for.
    """

    version: str
    sequence: int
    events: int
    nodes: tuple[NodeState, ...]
    programs: tuple[ProgramState, ...]
    waiting: tuple[WaitingState, ...]
    running: tuple[ProcessState, ...] = ()


class NodeAnswer(Message, frozen=True):
    """A node is here.

    Attributes:
        version: The version of constellation.
        python: The version of Python.
        master: The master that it serves; None: none.
        ports: The first and the last port of its processes; zeroes: any.
    """

    version: str
    python: str
    master: str | None
    ports: tuple[int, int] = (0, 0)


class Who(Message, frozen=True):
    """This is who I am: also the answer to what another service would have to answer.

    Attributes:
        kind: ``master``, ``node`` or ``bridge``.
        master: Where the master is reached; None: I know of none.
        bridges: Where bridges are reached that I know of.
    """

    kind: str
    master: str | None
    bridges: tuple[str, ...] = ()


class Done(Message, frozen=True):
    """That is done, or on its way."""

    text: str


class Wrong(Message, frozen=True):
    """That cannot be done, and why."""

    text: str


Reply: TypeAlias = Status | NodeAnswer | Who | Done | Wrong

request_decoder = msgspec.msgpack.Decoder(Request)
reply_decoder = msgspec.msgpack.Decoder(Reply)
encode = msgspec.msgpack.Encoder().encode
