"""What master, nodes and bridges say to each other, over sessions.

======  ======  ==========================  ====================================================
from    to      union                       the session is opened by
======  ======  ==========================  ====================================================
bridge  master  :data:`FromBridge`          the bridge, again and again until there is a master
master  bridge  :data:`ToBridge`
master  node    :data:`ToNode`              the master, for each node that it knows of
node    master  :data:`FromNode`
node    master  :class:`Join`               a node that the master's file does not name; the master
                                            opens another one to it
======  ======  ==========================  ====================================================

A placement, in the order in which it happens::

    bridge -> master   Ask
    master -> bridge   Waits           where there is no room yet
    master -> node     Place
    node   -> master   Confirmed       the node has an agent for the program, or starts one
    master -> bridge   Granted
    ...                                bridge and agent make the process
    node   -> master   Started, Exited

While processes wait for room, the master looks for deadlocks, again and again::

    master -> bridge   Examine         and bridges ask all processes of theirs
    bridge -> master   Examined        for each process that does nothing but wait

Programs are named by 16 random bytes, and a process by its program and the number that the bridge
has given it.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from constellation.awaited import Awaited
from constellation.control.messages import Message, Status
from constellation_daemons.node_config import Enforce

# -- bridge -> master -----------------------------------------------------------------------------


class BridgeHello(Message, frozen=True):
    """I am a bridge.

    Attributes:
        endpoint: Where agents reach it.
        python: The version of Python.
        programs: All that it runs and has asked something for. What else a master takes for its
            own has ended.
        ended: Programs that have ended, of which it is not known that a master has heard it.
    """

    endpoint: str
    python: str
    programs: tuple[bytes, ...] = ()
    ended: tuple[bytes, ...] = ()


class Ask(Message, frozen=True):
    """A process is to be placed. Repeated, it is answered again and not done again.

    Attributes:
        program: Its program.
        number: Its number in that.
        mem: Bytes that it needs.
        cpu: Billionths of a core that it needs.
        wait: Whether to wait for room.
        answered: Of all numbers below this the answer is known.
    """

    program: bytes
    number: int
    mem: int
    cpu: int
    wait: bool
    answered: int


class Named(Message, frozen=True):
    """A program of mine, which asks for its first process, or has asked.

    Attributes:
        program: The program.
        name: What is run, for people.
    """

    program: bytes
    name: str


class Drop(Message, frozen=True):
    """A process is not wanted any more, or could not be made."""

    program: bytes
    number: int


class Finish(Message, frozen=True):
    """A program has ended."""

    program: bytes


class Believes(Message, frozen=True):
    """A program takes what it had on a node for lost, so it must be."""

    program: bytes
    node: str
    incarnation: int


class Examined(Message, frozen=True):
    """A process does nothing but wait.

    Attributes:
        program: Its program.
        number: Its number in that.
        node: Where it is.
        question: Since whose asking at the latest that is so.
        threads: What each of its threads waits for. The spawns among them have the numbers of the
            processes that are to be made.
        progress: Another number than before whenever anything has happened in between.
    """

    program: bytes
    number: int
    node: str
    question: int
    threads: tuple[Awaited, ...]
    progress: int


FromBridge: TypeAlias = BridgeHello | Named | Ask | Drop | Finish | Believes | Examined


# -- master -> bridge -----------------------------------------------------------------------------


class Open(Message, frozen=True):
    """The nodes are there, as far as they have come: take clients."""


class Missing(Message, frozen=True):
    """Do not take clients yet: these nodes have not joined."""

    nodes: tuple[str, ...]


class Granted(Message, frozen=True):
    """There is room for a process on a node, which knows of it."""

    program: bytes
    number: int
    node: str
    incarnation: int


class Waits(Message, frozen=True):
    """A process waits for room.

    Attributes:
        missing: No node that is there could ever hold it.
    """

    program: bytes
    number: int
    missing: bool


class Refused(Message, frozen=True):
    """There will be no room for a process.

    Attributes:
        kind: The name of the error.
        text: Why, for the user.
    """

    program: bytes
    number: int
    kind: str
    text: str


class Again(Message, frozen=True):
    """This request is not known: send it again."""

    program: bytes
    number: int


class NodeLost(Message, frozen=True):
    """A node is lost, and with it what a program had there."""

    program: bytes
    node: str
    incarnation: int


class AgentLost(Message, frozen=True):
    """A program has no agent on a node any more, and what was granted there before is over.

    Attributes:
        program: The program.
        node: The node.
        text: What has become of the agent.
    """

    program: bytes
    node: str
    text: str


class KillProgram(Message, frozen=True):
    """A user of the cluster has ended a program."""

    program: bytes
    cause: str


class KillProcess(Message, frozen=True):
    """A user of the cluster has ended a process."""

    program: bytes
    number: int
    cause: str


class Examine(Message, frozen=True):
    """Ask all processes what they wait for, if they do nothing else.

    Attributes:
        question: The number of the question: the larger, the later.
    """

    question: int


ToBridge: TypeAlias = (
    Open
    | Missing
    | Granted
    | Waits
    | Refused
    | Again
    | NodeLost
    | AgentLost
    | KillProgram
    | KillProcess
    | Examine
)


# -- master -> node -------------------------------------------------------------------------------


class Attach(Message, frozen=True):
    """I am your master.

    Attributes:
        master: Where I am reached by bridges.
        node: What you are called.
        mem: Bytes that you may give; None: what the machine has.
        cpu: Billionths of a core that you may give; None: what the machine has.
        ports: The first and the last port for processes; zeroes: any.
        advertised: The host by which others reach you.
        bridge: Where you run a bridge; None: nowhere.
        timeout: Seconds of silence after which somebody is lost.
        enforce: What becomes of a process that takes more memory than it was given: ``pressure``,
            ``strict`` or ``off``.
        python: My version of Python. Nodes of another minor version do not join.
    """

    master: str
    node: str
    mem: int | None
    cpu: int | None
    ports: tuple[int, int]
    advertised: str
    bridge: str | None
    timeout: float
    enforce: Enforce
    python: str


class Admitted(Message, frozen=True):
    """You have joined."""


class JoinAgain(Message, frozen=True):
    """You were lost, or are not known: offer yourself again."""


class Fence(Message, frozen=True):
    """End what you have of these programs, which were told that you are lost; then offer again."""

    programs: tuple[bytes, ...]


class Place(Message, frozen=True):
    """A process is about to be made on you.

    Attributes:
        program: Its program.
        number: Its number in that.
        attempt: Counts the placements of this process.
        mem: Bytes that it is promised.
        cpu: Billionths of a core that it is promised.
        bridge: Where the program's bridge is reached.
    """

    program: bytes
    number: int
    attempt: int
    mem: int
    cpu: int
    bridge: str


class Withdraw(Message, frozen=True):
    """It is not to be made, or to be ended."""

    program: bytes
    number: int
    attempt: int


class Leave(Message, frozen=True):
    """You have nothing left, and may go."""


ToNode: TypeAlias = Attach | Admitted | JoinAgain | Fence | Place | Withdraw | Leave


# -- node -> master -------------------------------------------------------------------------------


class Held(Message, frozen=True):
    """A process that a node has.

    Attributes:
        program: Its program.
        number: Its number in that.
        attempt: By which placement.
        mem: Bytes that it was promised.
        cpu: Billionths of a core that it was promised.
        pid: The key of its Pid; None while it is being started.
        bridge: Where the program's bridge is reached.
    """

    program: bytes
    number: int
    attempt: int
    mem: int
    cpu: int
    pid: bytes | None
    bridge: str


class Offer(Message, frozen=True):
    """I can run processes.

    Attributes:
        incarnation: Which of my starts this is: larger each time.
        python: The version of Python.
        mem: Bytes that I may give.
        cpu: Billionths of a core that I may give.
        held: What I have.
    """

    incarnation: int
    python: str
    mem: int
    cpu: int
    held: tuple[Held, ...]


class Busy(Message, frozen=True):
    """I serve another master, or am one."""

    master: str


class Confirmed(Message, frozen=True):
    """I know of the placement."""

    program: bytes
    number: int
    attempt: int


class Started(Message, frozen=True):
    """The process exists."""

    program: bytes
    number: int
    attempt: int
    pid: bytes


class Failed(Message, frozen=True):
    """The process cannot be made here."""

    program: bytes
    number: int
    attempt: int
    text: str


class Exited(Message, frozen=True):
    """The process has ended, or what was placed is not there.

    Attributes:
        program: Its program.
        number: Its number in that.
        attempt: By which placement.
        status: How it has ended, as far as is known.
    """

    program: bytes
    number: int
    attempt: int
    status: Status = Status()


class AgentEnded(Message, frozen=True):
    """A program has no agent here any more: all that was confirmed for it before is over.

    Attributes:
        program: The program.
        text: What has become of its agent, for the user.
    """

    program: bytes
    text: str


class Leaving(Message, frozen=True):
    """I take nothing new, and go when what I have has ended."""


FromNode: TypeAlias = Offer | Busy | Confirmed | Started | Failed | Exited | AgentEnded | Leaving


# -- others, to the master ------------------------------------------------------------------------


class Join(Message, frozen=True):
    """Open a session to me: I am a node that you may not know of.

    Attributes:
        node: Where I am reached.
    """

    node: str


to_bridge = msgspec.msgpack.Decoder(ToBridge)
from_node = msgspec.msgpack.Decoder(FromNode)
to_node = msgspec.msgpack.Decoder(ToNode)
to_master = msgspec.msgpack.Decoder(FromBridge | Join | Attach)
encode = msgspec.msgpack.Encoder().encode
