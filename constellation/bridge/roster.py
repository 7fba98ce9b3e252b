"""The processes of one program, as the bridge knows them: where each is, and how far it has come.

What hosts tell goes from here into the program tree, which owns the rules of what is shown, and
into the spawns under way, which own the rules of the handshake. What these two answer goes out from
here, to the hosts and to whoever shows it.

A member is in one of four states:

==========  =======================  ===============================================================
state       what it waits for        how it goes on
==========  =======================  ===============================================================
asked       room on some host        `placed`: a host makes it; `refused`: the spawner is told
launched    its host                 `Made`: it is placed in the tree; `Unmade`: as `refused`
made        its end                  `Gone`, after everything else that is told of it; one that was
                                     promised to its spawner is remembered until that has decided
unwanted    the same, or its host    it was cancelled before it was made: it ends when it is
==========  =======================  ===============================================================

Room is given back (`Places.drop`) once for each member: when its process is dead, or will not be.

A process that a host had ready may be dead when it is wanted, before anybody knows. Where one ends
that was not promised to its spawner yet, the spawn is given to another member. Nothing starts
twice: the first one is dead, and has never had leave to run. Nor does it go on for ever: once
nothing is ready any more, the host makes a process, and of what befalls that the spawner is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from constellation.awaited import Awaited, renumbered
from constellation.bridge.events import Event
from constellation.bridge.spawns import Spawns
from constellation.bridge.tree import Notice, ProgramTree
from constellation.control.messages import (
    Accept,
    Cancel,
    Crippled,
    Died,
    End,
    Eof,
    Examine,
    Examined,
    Exited,
    Failed,
    FromHost,
    FromMonitor,
    FromProcess,
    Go,
    Gone,
    Held,
    Made,
    Output,
    Placed,
    Ready,
    Refused,
    Room,
    Said,
    Shut,
    Signal,
    Silent,
    Spawn,
    Spawned,
    Started,
    Status,
    Told,
    ToMonitor,
    ToProcess,
    Trouble,
    TurnedAway,
    Unable,
    Unmade,
    Unreached,
    Unwatch,
    Watch,
)
from constellation.errors import ProgramError
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.process.adoption import adoption
from constellation.process.monitor import OUTPUT_WINDOW
from constellation.resources import Resources
from constellation.units import Cpu, Mem

_UNBORN = "the program ended before it reached init() again"
_GRANT_AT = OUTPUT_WINDOW // 4  # room is given back in pieces of this, not for every line


class Host(Protocol):
    """Where processes run. What it tells comes in through `Roster.hear`."""

    def launch(self, number: int, *, initial: bool = False) -> None:
        """Have a process made."""

    def tell(self, number: int, message: ToProcess) -> None:
        """Say something to a process."""

    def direct(self, number: int, message: ToMonitor) -> None:
        """Say something to the monitor of a process."""


class Places(Protocol):
    """Who decides where processes run."""

    def ask(self, number: int, resources: Resources, *, wait: bool) -> None:
        """A process is to be made: answer with `Roster.placed` or `Roster.refused`, also at once.

        Args:
            number: Its number.
            resources: What it needs.
            wait: Whether to wait until there is room.
        """

    def drop(self, number: int) -> None:
        """A process is dead, or is not wanted any more: it needs no room."""


@dataclass(slots=True, eq=False)
class _Member:
    """A process of the program, from the moment it is asked for until nothing of it is left."""

    number: int
    parent: int | None
    request: int
    resources: Resources
    wait: bool  # for room
    host: Host | None = None
    pid: Pid | None = None
    ahead: bool = False  # it was made before it was asked for
    unwanted: bool = False  # nobody is to hear of it
    owed: int = 0  # bytes of output that its monitor was not given room for again
    spoke: bool = False  # so it has been adopted, before which it may be told nothing else
    dead: bool = False
    killed: bool = False  # by the command for a signal that came to it, or with its host
    cause: str | None = None  # why, by whomever
    unborn: bool = False  # it ended before it reached `init()`
    gone: bool = False  # nothing is left of it but the spawner's word, which is awaited


class Roster:
    """The processes of one program.

    Args:
        places: Decides where they run.
        show: Takes what is to be shown, in order.
        may_grow: Whether more output may be taken in now.
        examined: Told which process does nothing but wait, the host that it is on, and what it
            waits for, in which spawns have the numbers of what they are to make. None: nobody asks.
    """

    def __init__(
        self,
        places: Places,
        show: Callable[[Iterable[Event]], None],
        may_grow: Callable[[], bool],
        examined: Callable[[int, Host, Examined], None] | None = None,
    ) -> None:
        self._places = places
        self._show = show
        self._may_grow = may_grow
        self._examined = examined
        self._tree = ProgramTree()
        self._spawns = Spawns()
        self._numbers = 0
        self._members: dict[int, _Member] = {}
        self._by_pid: dict[Pid, _Member] = {}
        self._owing: set[_Member] = set()  # those to be given room when there is
        self._shut: set[int] = set()  # descriptors that nobody reads any more
        self._refusal: str | None = None  # why no process may be spawned any more
        self._troubles: list[str] = []
        self._unreached_hosts: set[tuple[str, str]] = set()  # from where and to where
        self.initial: Pid | None = None
        self.failure: str | None = None  # why there is no initial process

    # -- what the loop asks

    @property
    def finished(self) -> bool:
        """Whether every process has exited, and none is being made."""
        started = self.initial is not None or self.failure is not None
        return started and self._tree.finished and not self._spawns

    def was_killed(self, pid: Pid) -> bool:
        """Whether a process was killed for a signal that came to the command, or with its host."""
        member = self._by_pid.get(pid)
        return member is not None and member.killed

    def take_troubles(self) -> list[str]:
        """What went wrong and should not have, for whoever mends it."""
        troubles, self._troubles = self._troubles, []
        return troubles

    def start(self, resources: Resources) -> None:
        """Have the initial process made: `initial` is its Pid then, or `failure` says why not."""
        self._ask(None, 0, resources, wait=True)

    def signal(self, number: int) -> None:
        """Send a signal to the group of each process."""
        for member in list(self._members.values()):
            self._direct(member, Signal(number))

    def signal_initial(self, number: int) -> None:
        """Send a signal to the group of the initial process."""
        member = None if self.initial is None else self._by_pid.get(self.initial)
        if member is not None:
            self._direct(member, Signal(number))

    def kill(self, cause: str | None) -> bool:
        """Kill every process, and refuse new ones. Whether there was one left."""
        self._refusal = self._refusal or "the program is being ended"
        left = False
        for member in list(self._members.values()):
            left = left or not (member.dead or member.unwanted)
            if member.pid is None:
                self._fail(member, "SpawnError", self._refusal)
            else:
                member.killed, member.cause = not member.dead, cause
                self._direct(member, End())
        return left

    def kill_one(self, number: int, cause: str) -> None:
        """Kill a process, if there is one of this number."""
        member = self._members.get(number)
        if member is not None and member.pid is not None and not member.dead:
            member.killed, member.cause = True, cause
            self._direct(member, End())

    def blame(self, number: int, cause: str) -> None:
        """A process is being killed by others than the command, for this cause."""
        member = self._members.get(number)
        if member is not None and not member.dead:
            member.cause = member.cause or cause

    def examine(self, question: int) -> None:
        """Ask each process that runs what it waits for, if it does nothing else."""
        for member in list(self._members.values()):
            # Whoever waits for others has said so.
            if member.spoke and not (member.dead or member.unwanted):
                self._tell(member, Examine(question))

    def shut(self, fd: int) -> None:
        """Nobody reads what processes write to their descriptor `fd` any more."""
        self._shut.add(fd)
        for member in list(self._members.values()):
            self._direct(member, Shut(fd))

    def give_room(self) -> None:
        """More output may be taken in: let those go on that wait for it."""
        for member in list(self._owing):
            self._grant(member)

    # -- what places answer

    def placed(self, number: int, host: Host) -> None:
        """There is room for a process on this host."""
        member = self._members.get(number)
        if member is not None:
            member.host = host
            host.launch(number, initial=member.parent is None)

    def refused(self, number: int, kind: str, text: str) -> None:
        """There is no room for a process, and will not be, or it did not want to wait."""
        member = self._members.pop(number, None)
        if member is not None:
            self._refuse(member, kind, text)

    # -- what hosts tell

    def hear(self, message: FromHost, host: Host) -> None:
        """Take what a host tells."""
        match message:
            case Said(number, said):
                self._hear_process(self._members[number], said)
            case Told(number, told):
                self._hear_monitor(self._members[number], told)
            case Made(number, key, endpoint, ahead):
                self._made(self._members[number], Pid(key, endpoint), ahead)
            case Unmade(number, text):
                self._unmade(self._members[number], text)
            case Silent(number):
                self._silent(self._members[number])
            case Gone(number, reason):
                self._gone(self._members[number], reason)
            case Crippled(reason):
                self._crippled(host, reason)
            case Trouble(text):
                self._troubles.append(text)

    def _made(self, member: _Member, pid: Pid, ahead: bool) -> None:
        member.pid, member.ahead = pid, ahead
        self._by_pid[pid] = member
        if member.unwanted:
            self._direct(member, End())
            return
        parent = None if member.parent is None else self._members[member.parent].pid
        self._do(self._tree.placed(pid, parent, member.request))
        self._tell(member, adoption(parent, member.resources))
        for fd in self._shut:
            self._direct(member, Shut(fd))
        if member.parent is None:
            self.initial = pid
            self._do(self._tree.accept(pid))
        else:
            self._tell_number(member.parent, Placed(member.request, pid.key, pid.endpoint))

    def _unmade(self, member: _Member, text: str) -> None:
        del self._members[member.number]
        self._drop(member)
        self._refuse(member, "SpawnError", text)

    def _crippled(self, host: Host, reason: str) -> None:
        for member in list(self._members.values()):
            if member.host is host:
                member.killed, member.cause = not member.dead, member.cause or reason

    def _hear_monitor(self, member: _Member, message: FromMonitor) -> None:
        pid = member.pid
        assert pid is not None
        match message:
            case Output(fd, data):
                self._take_output(member, pid, fd, data)
            case Eof(fd):
                if not member.unwanted:
                    self._do(self._tree.eof(pid, fd))
            case Died(status, max_rss, cause):
                self._bury(member, pid, ExitStatus.from_wait(status, max_rss, cause))
            case Held():
                if not member.unwanted:
                    self._do(self._tree.drained(pid))
            case Failed(kind, text):
                member.unborn = kind == ProgramError.__name__
                self._refuse(member, kind, text)
            case Trouble(text):
                self._troubles.append(text)
            case Started():
                pass

    def _take_output(self, member: _Member, pid: Pid, fd: int, data: bytes) -> None:
        if not member.unwanted:
            self._do(self._tree.output(pid, fd, data))
        member.owed += len(data)
        if not self._may_grow():
            self._owing.add(member)
        elif member.owed >= _GRANT_AT:
            self._grant(member)

    def _grant(self, member: _Member) -> None:
        self._owing.discard(member)
        size, member.owed = member.owed, 0
        self._direct(member, Room(size))

    def _bury(self, member: _Member, pid: Pid, status: ExitStatus) -> None:
        """A process is dead."""
        self._die(member)
        # Where its host had killed it before, that is what it has died of.
        shot = status.signal == "SIGKILL" and status.cause is None
        member.killed = member.killed and shot
        if shot and member.cause is not None:
            status = dataclasses.replace(status, cause=member.cause)
        if status.cause is None:
            self._replace(member)
        how = str(status) if status.cause is None else f"{status}: {status.cause}"
        if status.signal == "SIGABRT":
            how += ", as libzmq ends a process where it can have no thread"
        self._refuse(member, "SpawnError", f"the new process ended before it could run: {how}")
        if member.unborn and status.success:
            # Without an error, and all the same it has not done what it was to do.
            status = ExitStatus(lost=_UNBORN, max_rss=status.max_rss)
        if not member.unwanted:
            self._do(self._tree.died(pid, status))

    def _gone(self, member: _Member, reason: str) -> None:
        """Nothing of a process is left: nothing more will come of it."""
        pid = member.pid
        assert pid is not None
        if not member.dead:
            self._die(member)
            self._replace(member)
            self._refuse(member, "SpawnError", f"the new process is lost: {reason}")
        if not member.unwanted:
            self._do(self._tree.monitor_lost(pid, reason))
        self._owing.discard(member)
        member.gone, member.host = True, None
        if not self._spawns.under_way(member.number):
            self._forget(member)

    def _forget(self, member: _Member) -> None:
        del self._members[member.number]
        if member.pid is not None:
            del self._by_pid[member.pid]

    def _die(self, member: _Member) -> None:
        if not member.dead:
            member.dead = True
            self._drop(member)

    # -- the processes

    def _hear_process(self, member: _Member, message: FromProcess) -> None:
        pid = member.pid
        assert pid is not None
        member.spoke = True
        match message:
            case Spawn():
                self._spawn(member, message)
            case Accept(request):
                self._accept(self._spawns.accept(member.number, request))
            case Cancel(request):
                self._abandon(self._spawns.cancel(member.number, request))
            case Ready():
                asked = self._spawns.ready(member.number)
                if asked is not None:
                    self._tell_number(asked[0], Spawned(asked[1]))
            case Unable(reason):
                self._refuse(member, "SpawnError", f"cannot start a process: {reason}")
            case Watch(key):
                self._do(self._tree.watch(key, pid))
            case Unwatch(key):
                self._tree.unwatch(key, pid)
            case Examined():
                self._take_examined(member, message)
            case Unreached(key, endpoint, reason):
                self._unreached(pid, Pid(key, endpoint), reason)
            case TurnedAway():
                pass  # it is for the node's log

    def _take_examined(self, member: _Member, examined: Examined) -> None:
        """A process does nothing but wait, as far as it knows."""

        def child(request: int) -> int | None:
            number = self._spawns.find(member.number, request)
            made = number is None or self._members[number].host is not None
            return None if made else number

        threads: list[Awaited] = []
        for thread in examined.threads:
            awaited = renumbered(thread, child)
            if awaited is None:
                return  # it goes on, and does not know that yet
            threads.append(awaited)
        if self._examined is not None and member.host is not None and threads:
            told = Examined(examined.question, tuple(threads), examined.progress)
            self._examined(member.number, member.host, told)

    def _unreached(self, pid: Pid, other: Pid, reason: str) -> None:
        """A process cannot connect to another one: the user hears of that once for two hosts."""
        member = self._by_pid.get(other)
        one, two = _host(pid), _host(other)
        if member is None or member.dead or (one, two) in self._unreached_hosts:
            return
        self._unreached_hosts.add((one, two))
        self._troubles.append(
            f"process {pid} on {one} cannot connect to process {other} at "
            f"{other.endpoint.removeprefix('tcp://')}: {reason}. Is a firewall between them?"
        )

    def _spawn(self, spawner: _Member, spawn: Spawn) -> None:
        known = self._spawns.find(spawner.number, spawn.request)
        if known is not None:
            pid = self._members[known].pid
            if pid is not None:
                self._tell(spawner, Placed(spawn.request, pid.key, pid.endpoint))
            return
        if self._refusal is not None:
            self._tell(spawner, Refused(spawn.request, "SpawnError", self._refusal))
            return
        resources = Resources(mem=Mem(spawn.mem), cpu=Cpu(spawn.cpu))
        self._ask(spawner.number, spawn.request, resources, wait=spawn.wait)

    def _ask(self, parent: int | None, request: int, resources: Resources, *, wait: bool) -> None:
        self._numbers += 1
        number = self._numbers
        self._members[number] = _Member(number, parent, request, resources, wait)
        if parent is not None:
            self._spawns.begin(parent, request, number)
        self._places.ask(number, resources, wait=wait)

    def _accept(self, number: int | None) -> None:
        member = None if number is None else self._members.get(number)
        if member is not None and member.pid is not None:
            self._do(self._tree.accept(member.pid))
            self._tell(member, Go())
            if member.gone:
                self._forget(member)

    def _abandon(self, number: int | None) -> None:
        member = None if number is None else self._members.get(number)
        if member is None:
            return
        if member.gone:
            assert member.pid is not None
            self._do(self._tree.abandon(member.pid))
            self._forget(member)
        elif member.host is None:
            del self._members[member.number]
            self._drop(member)
        elif member.pid is None:
            member.unwanted = True
        else:
            self._do(self._tree.abandon(member.pid))
            self._direct(member, End())

    def _silent(self, member: _Member) -> None:
        """A process says no more, and hears no more."""
        assert member.pid is not None
        self._tree.watcher_gone(member.pid)
        for child in self._spawns.spawner_gone(member.number):
            self._abandon(child)

    def _fail(self, member: _Member, kind: str, text: str) -> None:
        """A process that is not made yet shall not be."""
        self._refuse(member, kind, text)
        self._abandon(member.number)

    def _replace(self, member: _Member) -> None:
        """Have another process made for the spawn of one that was ready, and is dead or lost."""
        if not member.ahead or member.killed or self._refusal is not None:
            return
        asked = self._spawns.child_gone(member.number)
        if asked is not None:
            assert member.pid is not None
            self._do(self._tree.abandon(member.pid))
            self._ask(*asked, member.resources, wait=member.wait)

    def _refuse(self, member: _Member, kind: str, text: str) -> None:
        """A process is dead or could not be made: if it was not promised yet, it never was."""
        if member.parent is None and member.pid is None:
            self.failure = self.failure or text
            return
        asked = self._spawns.child_gone(member.number)
        if asked is not None:
            if member.pid is not None:
                self._do(self._tree.abandon(member.pid))
            self._tell_number(asked[0], Refused(asked[1], kind, text))

    # -- what goes out

    def _do(self, outputs: Iterable[Event | Notice]) -> None:
        events: list[Event] = []
        for output in outputs:
            if isinstance(output, Notice):
                status = None if output.status is None else Status.of(output.status)
                watcher = self._by_pid.get(output.watcher)
                if watcher is not None:
                    self._tell(watcher, Exited(output.key, status))
            else:
                events.append(output)
        if events:
            self._show(events)

    def _drop(self, member: _Member) -> None:
        self._places.drop(member.number)

    def _tell_number(self, number: int, message: ToProcess) -> None:
        member = self._members.get(number)
        if member is not None:
            self._tell(member, message)

    def _tell(self, member: _Member, message: ToProcess) -> None:
        # What is being killed does not hear of the deaths of others: it might end of them before it
        # is dead, as if nobody had killed it.
        if member.host is not None and not member.killed:
            member.host.tell(member.number, message)

    def _direct(self, member: _Member, message: ToMonitor) -> None:
        if member.host is not None and member.pid is not None:
            member.host.direct(member.number, message)


def _host(pid: Pid) -> str:
    return pid.endpoint.removeprefix("tcp://").rpartition(":")[0]
