"""The messages of the control streams, as one closed union for each direction.

===================  ======================  ===========================================
from                 to                      union
===================  ======================  ===========================================
process              bridge                  :data:`FromProcess`
bridge               process                 :data:`ToProcess`
monitor              bridge                  :data:`FromMonitor`
bridge               monitor                 :data:`ToMonitor`
zygote               bridge                  :data:`FromZygote`
bridge               zygote                  :data:`ToZygote`
monitor or agent     process, before         :data:`ToNewborn`
                     `init()`
process, at          monitor or agent        :data:`FromNewborn`
`init()`
host                 bridge                  :data:`FromHost`
===================  ======================  ===========================================

Those of a newborn are only where processes start fresh, and for a program's image on a node of a
cluster. A host is what runs the processes of a
program on one machine: what it hears from them it tells the bridge, under the numbers that the
bridge has given them.

A spawn, in the order in which it happens (S spawns C, B is the bridge)::

    S -> B   Spawn(request)      B has a C that was forked ahead, or has one forked
    B -> C   Adopt(parent)
    B -> S   Placed(request)     S sends the closure to C on a reserved stream
    C -> B   Ready()             C holds the whole closure
    B -> S   Spawned(request)
    S -> B   Accept(request)     or Cancel(request), where S no longer wants it
    B -> C   Go()                the spawn has happened; C runs

At any point before Accept: ``Refused(request)`` from B, where C could not be made or has died.

On a cluster, while spawns wait for room, B asks processes now and then what they wait for
(``Examine``), and those that do nothing but wait answer (``Examined``).
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from constellation.awaited import Awaited
from constellation.exit_status import ExitStatus
from constellation.units import Mem


class Message(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The base of all control messages: an array that begins with the name of its kind."""


class Status(msgspec.Struct, frozen=True, array_like=True):
    """An :class:`~constellation.ExitStatus` on the wire."""

    code: int | None = None
    signal: str | None = None
    lost: str | None = None
    core_dumped: bool = False
    max_rss: int | None = None
    cause: str | None = None

    @classmethod
    def of(cls, status: ExitStatus) -> Status:
        """The wire form of ``status``."""
        return cls(
            code=status.code,
            signal=status.signal,
            lost=status.lost,
            core_dumped=status.core_dumped,
            max_rss=None if status.max_rss is None else int(status.max_rss),
            cause=status.cause,
        )

    def exit_status(self) -> ExitStatus:
        """The value that this is the wire form of."""
        return ExitStatus(
            code=self.code,
            signal=self.signal,
            lost=self.lost,
            core_dumped=self.core_dumped,
            max_rss=None if self.max_rss is None else Mem(self.max_rss),
            cause=self.cause,
        )


# -- process -> bridge ----------------------------------------------------------------------------


class Spawn(Message, frozen=True):
    """Make me a process. ``request`` is the asker's number for this, never used twice by it.

    Attributes:
        mem: Bytes of memory that the new process needs.
        cpu: Cores that it needs.
        wait: Whether to wait until there is room, or to refuse at once.
    """

    request: int
    mem: int
    cpu: float
    wait: bool


class Accept(Message, frozen=True):
    """The spawn has succeeded and is wanted: let the new process run."""

    request: int


class Cancel(Message, frozen=True):
    """The spawn is no longer wanted: undo it without a trace."""

    request: int


class Ready(Message, frozen=True):
    """I am a new process and hold the whole closure."""


class Watch(Message, frozen=True):
    """Tell me when the process with this key has exited, or now if it has."""

    key: bytes


class Unwatch(Message, frozen=True):
    """I no longer need to know of this process."""

    key: bytes


class Examined(Message, frozen=True):
    """I do nothing but wait.

    Attributes:
        question: Since whose asking at the latest that is so, of the questions of ``Examine``.
        threads: What each of my threads that is no daemon waits for.
        progress: Another number than before whenever anything has happened in between.
    """

    question: int
    threads: tuple[Awaited, ...]
    progress: int


class Unreached(Message, frozen=True):
    """I cannot connect to a process, which was never heard of.

    Attributes:
        key: The key of its Pid.
        endpoint: The endpoint of its Pid.
        reason: What the system says.
    """

    key: bytes
    endpoint: str
    reason: str


class Stranger(msgspec.Struct, frozen=True, array_like=True):
    """Somebody who is no process of the program, or several of them.

    Attributes:
        address: Where it came from, as text; "" where that is not known; None: from several places.
        why: What was wrong with it, or with the first of them.
        count: How many.
    """

    address: str | None
    why: str
    count: int


class TurnedAway(Message, frozen=True):
    """Strangers have connected to my port, and were turned away. It goes no further than the node.

    Attributes:
        strangers: Those since the last such message.
    """

    strangers: tuple[Stranger, ...]


class Unable(Message, frozen=True):
    """I cannot run, and end: in the place of :class:`Ready`.

    Attributes:
        reason: Why not.
    """

    reason: str


FromProcess: TypeAlias = (
    Spawn | Accept | Cancel | Ready | Watch | Unwatch | Examined | Unreached | TurnedAway | Unable
)


# -- bridge -> process ----------------------------------------------------------------------------


class Adopt(Message, frozen=True):
    """You are wanted: a process is made before it is known for whom. Always the first message.

    Attributes:
        parent_key: The key of the spawner's Pid; None for the initial process.
        parent_endpoint: The endpoint of the spawner's Pid.
        mem: Bytes of memory that you are given.
        cpu: Cores that you are given.
    """

    parent_key: bytes | None
    parent_endpoint: str
    mem: int
    cpu: float


class Placed(Message, frozen=True):
    """The new process exists and can be connected to, and waits for its closure.

    A second one for a request is about another process: the first is dead, and has run nothing.
    """

    request: int
    key: bytes
    endpoint: str


class Spawned(Message, frozen=True):
    """The new process holds the whole closure."""

    request: int


class Refused(Message, frozen=True):
    """The spawn failed. ``kind`` is the name of the error class in :mod:`constellation.errors`."""

    request: int
    kind: str
    message: str


class Go(Message, frozen=True):
    """You have been accepted: run."""


class Exited(Message, frozen=True):
    """The process with this key has exited. ``status`` None: the bridge does not know it."""

    key: bytes
    status: Status | None = None


class Examine(Message, frozen=True):
    """Say what you wait for, if you do nothing else: there are spawns that wait for room.

    Attributes:
        question: The number of the question: the larger, the later.
    """

    question: int


ToProcess: TypeAlias = Adopt | Placed | Spawned | Refused | Go | Exited | Examine


# -- monitor -> bridge ----------------------------------------------------------------------------


class Started(Message, frozen=True):
    """The process exists. ``os_pid`` is what the operating system calls it."""

    os_pid: int


class Failed(Message, frozen=True):
    """The process could not be made, or ended before it was one of the program's."""

    kind: str
    message: str


class Output(Message, frozen=True):
    """The process, or a descendant of it, wrote ``data`` to its descriptor ``fd``."""

    fd: int
    data: bytes


class Eof(Message, frozen=True):
    """Nothing holds the process's descriptor ``fd`` any more, or it was shut."""

    fd: int


class Died(Message, frozen=True):
    """The process is dead. What it wrote last may still follow.

    Attributes:
        status: The status as ``waitpid`` gives it.
        max_rss: Its largest resident set in bytes, which includes the image it was forked from.
        cause: That of the ``End`` that has killed it; None: something else has ended it.
    """

    status: int
    max_rss: int
    cause: str | None = None


class Held(Message, frozen=True):
    """A second after the process's death a descendant still holds one of its pipes open."""


class Idle(Message, frozen=True):
    """All of the process is over and told, and the monitor could watch over another one.

    It says so again when it has been idle for long, and then is not to be kept.
    """


class Trouble(Message, frozen=True):
    """A zygote or monitor failed in a way it should not: ``text`` is for whoever mends it."""

    text: str


FromMonitor: TypeAlias = Started | Failed | Output | Eof | Died | Held | Idle | Trouble


# -- bridge -> monitor ----------------------------------------------------------------------------


class Room(Message, frozen=True):
    """``size`` more bytes of output may be sent."""

    size: int


class Shut(Message, frozen=True):
    """Nobody reads the process's descriptor ``fd`` any more: close the pipe."""

    fd: int


class Signal(Message, frozen=True):
    """Send the signal to the process's group, or to its descendants when it has exited."""

    number: int


class End(Message, frozen=True):
    """Kill the process and every descendant, report what is left to report, and exit.

    Attributes:
        cause: Why. It comes back in ``Died`` if this is what the process died of.
    """

    cause: str | None = None


class Fork(Message, frozen=True):
    """Fork a monitor, which forks the process; or, to a monitor that is idle, fork the process.

    With it travel the descriptors of, in this order: the process's listening socket, the
    process's control stream, the monitor's control stream, if ``near`` its listening socket for
    those on the same node, and, if ``stdin``, what becomes the process's standard input.

    Attributes:
        number: The bridge's number for this, never used twice.
        key: The key of the new process's Pid.
        endpoint: The endpoint of the new process's Pid.
        initial: Whether it is the initial process.
        stdin: Whether a descriptor for standard input travels with it.
        near: Whether the program may run on several machines, so that there are two sockets.
    """

    number: int
    key: bytes
    endpoint: str
    initial: bool
    stdin: bool
    near: bool = False


ToMonitor: TypeAlias = Room | Shut | Signal | End | Fork


# -- zygote -> bridge -----------------------------------------------------------------------------


class Forked(Message, frozen=True):
    """The monitor that ``number`` asked for exists."""

    number: int
    os_pid: int


class ForkFailed(Message, frozen=True):
    """The monitor that ``number`` asked for could not be made."""

    number: int
    message: str


class MonitorEnded(Message, frozen=True):
    """The monitor that ``number`` asked for is dead, and with it every process below it.

    Attributes:
        status: The monitor's own status as ``waitpid`` gives it.
    """

    number: int
    status: int


FromZygote: TypeAlias = Forked | ForkFailed | MonitorEnded | Trouble


# -- bridge -> zygote -----------------------------------------------------------------------------


ToZygote: TypeAlias = Fork


# -- monitor -> process that starts fresh, and back -----------------------------------------------


class Site(msgspec.Struct, frozen=True, array_like=True):
    """What all processes of a program have in common on a node of a cluster.

    Attributes:
        directory: The program's runtime directory on this node.
        root: Where the program is laid out.
        public: The public key of the program's processes, if connections are secured.
        secret: The secret one.
    """

    directory: str
    root: str
    public: bytes | None
    secret: bytes | None


class Birth(Message, frozen=True):
    """You are a process of the program, from when you reach ``init()``.

    The descriptors are those of the new process, which it has been started with.

    Attributes:
        nonce: What it was also told on its command line: so it knows that this is meant for it.
        key: The key of its Pid.
        endpoint: The endpoint of its Pid.
        initial: Whether it is the initial process.
        seeded: Whether the seed of hashes in its environment is not the user's.
        listener: Its listening socket.
        control: Its control stream.
        out: What becomes its standard output.
        err: What becomes its standard error.
        stdin: What becomes its standard input; None: that stays /dev/null.
        near: Its listening socket for those on the same node, if the program has others.
        site: Where that is; None: the program runs natively.
    """

    nonce: bytes
    key: bytes
    endpoint: str
    initial: bool
    seeded: bool
    listener: int
    control: int
    out: int
    err: int
    stdin: int | None
    near: int | None = None
    site: Site | None = None


class Deploy(Message, frozen=True):
    """You are a program's image on a node of a cluster, from when you reach ``init()``.

    Attributes:
        nonce: As in ``Birth``.
        connection: The descriptor of the connection to the agent.
        lock: That of the runtime directory.
        agent: The agent's process id.
        site: What is where.
    """

    nonce: bytes
    connection: int
    lock: int
    agent: int
    site: Site


class Survey(Message, frozen=True):
    """Say what your initial process needs when you reach ``init()``, and end.

    Attributes:
        nonce: As in ``Birth``.
    """

    nonce: bytes


ToNewborn: TypeAlias = Birth | Deploy | Survey


class Born(Message, frozen=True):
    """I have reached ``init()``, and what I write from now on is to be shown.

    Attributes:
        fresh: Of an image, whether processes start fresh: no process is a fork of it.
    """

    fresh: bool = False


class Needs(Message, frozen=True):
    """I have reached ``init()``, and this is what the initial process needs.

    Attributes:
        mem: Bytes.
        cpu: Cores.
    """

    mem: int
    cpu: float


FromNewborn: TypeAlias = Born | Needs


# -- host -> bridge -------------------------------------------------------------------------------


class Made(Message, frozen=True):
    """Process ``number`` can be connected to, and is nobody's until it is adopted.

    Attributes:
        ahead: Whether it was there before it was wanted, so that something may have befallen it.
    """

    number: int
    key: bytes
    endpoint: str
    ahead: bool = False


class Unmade(Message, frozen=True):
    """Process ``number`` cannot be made. Nothing more is told of it."""

    number: int
    message: str


class Said(Message, frozen=True):
    """Process ``number`` has said something."""

    number: int
    message: FromProcess


class Silent(Message, frozen=True):
    """Process ``number`` says no more, and hears no more: it is dead, or has closed its stream."""

    number: int


class Told(Message, frozen=True):
    """The monitor of process ``number`` has told something."""

    number: int
    message: FromMonitor


class Gone(Message, frozen=True):
    """Nothing of process ``number`` is left, nor its monitor. Nothing more is told of it.

    Attributes:
        reason: What became of the process, if its monitor has not told.
    """

    number: int
    reason: str


class Crippled(Message, frozen=True):
    """No process can be made any more, and those there are end."""

    reason: str


FromHost: TypeAlias = Made | Unmade | Said | Silent | Told | Gone | Crippled | Trouble
