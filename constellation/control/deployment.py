"""What a deploy client and the bridge service say to each other, over a session.

The order of events::

    client -> bridge   Greeting
    bridge -> client   Welcome         or Denied, after which it closes the session
    client -> bridge   Deploy          what to run
    both ways          Transfer        the files that the cluster lacks
    bridge -> client   Note            now and then, what it waits for
    bridge -> client   Spawn, Print, Eof, Exit, and Finished; or Failed in place of all of them
    client -> bridge   Room, Input, InputEnd, Interrupt, Kill, Shut
    bridge -> client   Taken

Output has a window: the bridge sends no more than :data:`OUTPUT_WINDOW` bytes that were not given
room for again. So has input. A client that is gone takes its program along.
"""

from __future__ import annotations

import signal
from typing import Annotated, TypeAlias

import msgspec

from constellation.control.messages import Message, Status

OUTPUT_WINDOW = 1 << 20
"""Bytes of output that may be on their way to the client, or wait at its terminal."""
INPUT_WINDOW = 1 << 16
"""Bytes of input that may be on their way to the initial process."""
MOST_RECCE = 3600
"""The most seconds that a program can be given to come to ``init()`` in the recce."""
KILLED = 128 + signal.SIGKILL
"""What the command exits with where its program was killed before anything of it ran."""


class Transfer(Message, frozen=True):
    """A message of the transfer of files, in either direction."""

    data: bytes


# -- client -> bridge -----------------------------------------------------------------------------


class Greeting(Message, frozen=True):
    """I am a client.

    Attributes:
        version: The version of constellation.
        python: The version of Python, such as ``3.11.4``.
    """

    version: str
    python: str


class Deploy(Message, frozen=True):
    """Run this.

    Attributes:
        manifest: What the program consists of.
        arguments: What it is run with, after the interpreter: its path or ``-m`` and its module,
            and the user's.
        environ: What its environment has that is not the node's.
        mem: The bytes that the initial process needs; None: what it says itself.
        cpu: The cores that it needs; None: the same.
        recce: The seconds that it may take to come to ``init()`` where it is asked for that; None:
            those that the bridge gives it.
    """

    manifest: bytes
    arguments: list[bytes]
    environ: dict[bytes, bytes]
    mem: int | None
    cpu: float | None
    recce: Annotated[float, msgspec.Meta(gt=0, le=MOST_RECCE)] | None = None


class Room(Message, frozen=True):
    """So many bytes of output have been taken."""

    size: int


class Input(Message, frozen=True):
    """What the user has typed for the initial process."""

    data: bytes


class InputEnd(Message, frozen=True):
    """That was all."""


class Interrupt(Message, frozen=True):
    """Send a signal to the group of the initial process.

    Attributes:
        name: The signal's name: numbers differ between systems.
    """

    name: str


class Kill(Message, frozen=True):
    """Kill every process, for this cause."""

    cause: str


class Shut(Message, frozen=True):
    """Nobody reads what processes write to their descriptor ``fd`` any more."""

    fd: int


class Suspend(Message, frozen=True):
    """I am about to be stopped, and silent until I go on: stop the program."""


class Resume(Message, frozen=True):
    """I go on, and so does the program."""


ToBridge: TypeAlias = (
    Greeting
    | Deploy
    | Transfer
    | Room
    | Input
    | InputEnd
    | Interrupt
    | Kill
    | Shut
    | Suspend
    | Resume
)


# -- bridge -> client -----------------------------------------------------------------------------


class Welcome(Message, frozen=True):
    """You may deploy.

    Attributes:
        version: The version of constellation.
        python: The version of Python.
    """

    version: str
    python: str


class Denied(Message, frozen=True):
    """You may not, for this reason."""

    reason: str


class Note(Message, frozen=True):
    """What the program waits for, for the user: nothing is wrong yet."""

    text: str


class Spawn(Message, frozen=True):
    """A process has come into being."""

    key: bytes
    parent: bytes | None


class Print(Message, frozen=True):
    """A process has written something."""

    key: bytes
    fd: int
    data: bytes


class Eof(Message, frozen=True):
    """Nothing more will come from a descriptor of a process."""

    key: bytes
    fd: int


class Exit(Message, frozen=True):
    """A process has ended.

    Attributes:
        key: Its key.
        status: How.
        initial: Whether it is the initial process.
        killed: Whether the bridge killed it.
    """

    key: bytes
    status: Status
    initial: bool
    killed: bool


class Taken(Message, frozen=True):
    """The initial process has taken input.

    Attributes:
        size: So many bytes.
        closed: Whether it takes no more.
    """

    size: int
    closed: bool


class Failed(Message, frozen=True):
    """There is no initial process, and there will be none.

    Attributes:
        reason: Why.
        out: What the program wrote to its standard output before ``init()``.
        err: What it wrote to its standard error.
        code: What the command exits with.
    """

    reason: str
    out: bytes = b""
    err: bytes = b""
    code: int = 1


class Trouble(Message, frozen=True):
    """Something failed in a way it should not: ``text`` is for whoever mends it."""

    text: str


class Finished(Message, frozen=True):
    """All processes have ended, and all was told.

    Attributes:
        killed: Whether those that were left have been killed, by whomever.
    """

    killed: bool = False


FromBridge: TypeAlias = (
    Welcome
    | Denied
    | Transfer
    | Note
    | Spawn
    | Print
    | Eof
    | Exit
    | Taken
    | Failed
    | Trouble
    | Finished
)

to_bridge = msgspec.msgpack.Decoder(ToBridge)
from_bridge = msgspec.msgpack.Decoder(FromBridge)
encode = msgspec.msgpack.Encoder().encode
