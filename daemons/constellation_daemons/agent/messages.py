"""What an agent says to its bridge and to its node, and what they say to it.

======  ======  ==================  ================================================
from    to      union               over
======  ======  ==================  ================================================
bridge  agent   :data:`ToAgent`     a session
agent   bridge  :data:`FromAgent`   the same
node    agent   :data:`FromNode`    a socket that the agent inherits
agent   node    :data:`ToNode`      the same
======  ======  ==================  ================================================

The order of events::

    node -> agent     Setup           where the bridge is, and what program this is for
    agent -> bridge   Hello
    bridge -> agent   Begin           what to run, or the session is closed: the bridge knows none
    agent <-> bridge  Transfer        the files that the node lacks
    agent -> bridge   ImageReady      or ImageFailed, after which the agent ends
    bridge -> agent   Launch, Tell, Direct, Input; End
    agent -> bridge   Heard, Taken, Killed

Whoever of node and bridge is gone, the agent ends everything and exits.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from constellation.control.messages import FromHost, Message, Status, ToMonitor, ToProcess

# -- bridge -> agent ------------------------------------------------------------------------------


class Begin(Message, frozen=True):
    """Lay the program out, and run it up to ``init()``.

    Attributes:
        manifest: The program's manifest.
        arguments: What it is run with, after the interpreter: its path or ``-m`` and its module,
            and the user's.
        environ: What the deployer's environment adds to the node's.
        public: The public key of the program's processes, if connections are secured.
        secret: The secret one.
    """

    manifest: bytes
    arguments: list[bytes]
    environ: dict[bytes, bytes]
    public: bytes | None
    secret: bytes | None


class Transfer(Message, frozen=True):
    """A message of the transfer of files, in either direction."""

    data: bytes


class Launch(Message, frozen=True):
    """Have a process made, which is called ``number`` from here on."""

    number: int
    initial: bool


class Tell(Message, frozen=True):
    """Say something to process ``number``."""

    number: int
    message: ToProcess


class Direct(Message, frozen=True):
    """Say something to the monitor of process ``number``."""

    number: int
    message: ToMonitor


class Input(Message, frozen=True):
    """What the user has typed for the initial process; nothing: that was all."""

    data: bytes


class End(Message, frozen=True):
    """End what is left of the program on this node, and exit.

    Attributes:
        over: Whether the program has ended, and not only what it had here.
    """

    over: bool = False


ToAgent: TypeAlias = Begin | Transfer | Launch | Tell | Direct | Input | End


# -- agent -> bridge ------------------------------------------------------------------------------


class Hello(Message, frozen=True):
    """I run processes of this program on this node.

    Attributes:
        program: The program, as the bridge called it.
        node: The node.
        incarnation: The node's incarnation.
        python: The version of Python, such as ``3.11.4``.
    """

    program: bytes
    node: str
    incarnation: int
    python: str


class ImageReady(Message, frozen=True):
    """The program has reached ``init()``."""


class ImageFailed(Message, frozen=True):
    """There will be no processes here.

    Attributes:
        reason: Why.
        out: What the program wrote to its standard output.
        err: What it wrote to its standard error.
        code: What the command exits with, if there is no process anywhere.
    """

    reason: str
    out: bytes = b""
    err: bytes = b""
    code: int = 1


class Heard(Message, frozen=True):
    """What the host of the processes tells."""

    message: FromHost


class Taken(Message, frozen=True):
    """The initial process has taken so many bytes of its input.

    Attributes:
        size: How many.
        closed: Whether it takes no more.
    """

    size: int
    closed: bool = False


class Killed(Message, frozen=True):
    """The node has process ``number`` killed, for this cause: its exit is to say so."""

    number: int
    cause: str


FromAgent: TypeAlias = Hello | Transfer | ImageReady | ImageFailed | Heard | Taken | Killed


# -- node -> agent --------------------------------------------------------------------------------


class Setup(Message, frozen=True):
    """What an agent is for. The first message.

    Attributes:
        program: The program, as its bridge calls it.
        bridge: The endpoint of its bridge.
        node: What the node is called.
        incarnation: The node's incarnation.
        host: The address that processes listen at.
        advertised: The host by which others reach this one.
        ports: The first and the last port that they may use; zeroes: any.
        trees: The directory in which programs are laid out.
        store: The directory of the node's store.
        store_limit: Its size in bytes.
        timeout: Seconds of silence after which the bridge is lost.
        public: The public key of the cluster, if connections are secured.
        secret: The secret one.
        strict: Whether a process is killed as soon as it takes more memory than it was given.
        groups: The directory in which the agent may make control groups; None: there is none.
    """

    program: bytes
    bridge: str
    node: str
    incarnation: int
    host: str
    advertised: str
    ports: tuple[int, int]
    trees: str
    store: str
    store_limit: int
    timeout: float
    public: bytes | None
    secret: bytes | None
    strict: bool = False
    groups: str | None = None


class Weigh(Message, frozen=True):
    """Which of your processes takes the most memory for what it was given?"""

    question: int


class Kill(Message, frozen=True):
    """End process ``number``, for this cause."""

    number: int
    cause: str


FromNode: TypeAlias = Setup | Weigh | Kill


# -- agent -> node --------------------------------------------------------------------------------


class Running(Message, frozen=True):
    """Process ``number`` exists.

    Attributes:
        number: Which.
        os_pid: What the operating system calls it.
        pid: The key of its Pid.
    """

    number: int
    os_pid: int
    pid: bytes


class Dead(Message, frozen=True):
    """Process ``number`` is dead, or could not be made: its room is free.

    Attributes:
        number: Which.
        status: How it ended; lost, and why, where nobody knows or it never was.
    """

    number: int
    status: Status


class Weighed(Message, frozen=True):
    """It is this one.

    Attributes:
        question: Which one is answered.
        number: Which; None: no process takes more than it was given.
        used: Bytes that it has to itself, with its descendants.
        mem: Bytes that it was given.
    """

    question: int
    number: int | None
    used: int = 0
    mem: int = 0


class Over(Message, frozen=True):
    """The program has ended: nothing that is placed for it will be wanted."""


class Unreached(Message, frozen=True):
    """I have not come to the bridge, and end.

    Attributes:
        reason: Why not.
    """

    reason: str


ToNode: TypeAlias = Running | Dead | Weighed | Over | Unreached

to_agent = msgspec.msgpack.Decoder(ToAgent)
from_agent = msgspec.msgpack.Decoder(FromAgent)
from_node = msgspec.msgpack.Decoder(FromNode)
to_node = msgspec.msgpack.Decoder(ToNode)
encode = msgspec.msgpack.Encoder().encode
