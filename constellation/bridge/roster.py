"""The processes of one program, as the bridge knows them: their streams, and what these bring.

What a monitor, a process or the zygote says goes from here into the program tree, which owns the
rules of what is shown, and into the spawns under way, which own the rules of the handshake. What
these two answer goes out from here.

===============================================  ==================================================
what happens                                     what is known then
===============================================  ==================================================
``Died``                                         everything the process ever wrote to its control
                                                 stream is in the kernel: it is read to the end
                                                 first, so that a spawn accepted with the last
                                                 breath has happened
``MonitorEnded``, of the zygote                  everything the monitor ever wrote is in the kernel,
                                                 and no process below it is alive: what it did not
                                                 tell is lost
the end of a monitor's stream                    the same, where the zygote is gone; else the
                                                 zygote's word is awaited
===============================================  ==================================================

A program that spawns once will spawn again, and most of what that takes is forking. So when a spawn
has happened and no other is under way, a *spare* is made: a process with its monitor like any
other, but nobody's. The next spawn adopts it, at whatever stage it is, and a new one is made. A
program that does not spawn has none, and one that spawns many at once gets one at the end: a spare
saves nobody work, it is done earlier. It is a member here, and so is stopped and ended with the
others. But the tree does not know it: it holds up no end and shows nothing, and if it dies, the
next spawn does without. Where processes start fresh there is no spare: it would run the program's
own code up to `init()`, and nobody has asked for that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import selectors
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from constellation.bridge.events import Event
from constellation.bridge.spawns import Spawns
from constellation.bridge.tree import Notice, ProgramTree
from constellation.control.messages import (
    Accept,
    Cancel,
    Died,
    End,
    Eof,
    Exited,
    Failed,
    Forked,
    ForkFailed,
    FromMonitor,
    FromProcess,
    FromZygote,
    Go,
    Held,
    MonitorEnded,
    Output,
    Placed,
    Ready,
    Refused,
    Room,
    Shut,
    Signal,
    Spawn,
    Spawned,
    Started,
    Status,
    ToProcess,
    Trouble,
    Unwatch,
    Watch,
)
from constellation.control.stream import ControlError, MessageStream
from constellation.errors import ProgramError
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.process import system
from constellation.process.launcher import Launched, Launcher, adoption
from constellation.process.monitor import OUTPUT_WINDOW
from constellation.resources import Resources
from constellation.units import Cpu, Mem

_LOST_MONITOR = "monitor killed"
_LOST_ZYGOTE = "zygote killed"
_UNBORN = "the program ended before it reached init() again"
_GRANT_AT = OUTPUT_WINDOW // 4  # room is given back in pieces of this, not for every line


@dataclass(slots=True, eq=False)
class _Member:
    """A process of the program, from the moment it is asked for until its monitor is gone."""

    pid: Pid
    number: int
    control: MessageStream[FromProcess] | None
    monitor: MessageStream[FromMonitor] | None
    owed: int = 0  # bytes of output that its monitor was not given room for again
    dead: bool = False
    killed: bool = False  # by the command, for a signal that came to it
    unborn: bool = False  # it ended before it reached `init()`
    adopted: bool = False  # it is a process of the program, or is becoming one


class Roster:
    """The processes of one program.

    Args:
        selector: The loop's. Its data for each stream is what to call when that is ready.
        launcher: Makes the processes.
        show: Takes what is to be shown, in order.
        may_grow: Whether more output may be taken in now.
        spares: Whether to have a process made ahead of the next spawn.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        launcher: Launcher,
        show: Callable[[Iterable[Event]], None],
        may_grow: Callable[[], bool],
        *,
        spares: bool = True,
    ) -> None:
        self._spares = spares
        self._selector = selector
        self._launcher = launcher
        self._show = show
        self._may_grow = may_grow
        self._tree = ProgramTree()
        self._spawns = Spawns()
        self._members: dict[Pid, _Member] = {}
        self._by_number: dict[int, _Member] = {}
        self._owing: set[_Member] = set()  # those to be given room when there is
        self._shut: set[int] = set()  # descriptors that nobody reads any more
        self._refusal: str | None = None  # why no process may be spawned any more
        self._cause: str | None = None
        self._spare: _Member | None = None
        self._zygote_alive = True
        self._troubles: list[str] = []
        selector.register(launcher.stream, selectors.EVENT_READ, self._zygote_ready)

    # -- what the loop asks

    @property
    def finished(self) -> bool:
        """Whether every process has exited, and none is being made."""
        return self._tree.finished and not self._spawns

    @property
    def empty(self) -> bool:
        """Whether every monitor is gone too."""
        return not self._members

    @property
    def zygote_alive(self) -> bool:
        """Whether the zygote could still be asked for a process."""
        return self._zygote_alive

    def was_killed(self, pid: Pid) -> bool:
        """Whether the command killed a process, for a signal that came to it."""
        member = self._members.get(pid)
        return member is not None and member.killed

    def take_troubles(self) -> list[str]:
        """What went wrong and should not have, for whoever mends it."""
        troubles, self._troubles = self._troubles, []
        return troubles

    def start(self, resources: Resources, stdin: int) -> Pid:
        """Have the initial process made."""
        member = self._add(self._launcher.launch(initial=True, stdin=stdin))
        self._adopt(member, None, 0, resources)
        self._do(self._tree.accept(member.pid))
        return member.pid

    def signal(self, number: int, pid: Pid | None = None) -> None:
        """Send a signal to the group of a process, or of each."""
        members = list(self._members.values()) if pid is None else [self._members.get(pid)]
        for member in members:
            if member is not None:
                self._post(member.monitor, Signal(number))

    def kill(self, cause: str | None) -> None:
        """Kill every process, and refuse new ones."""
        self._refusal = self._refusal or "the program is being ended"
        self._cause = cause
        for member in list(self._members.values()):
            member.killed = not member.dead
            self._post(member.monitor, End())

    def end(self) -> None:
        """All have exited: have what is left of them ended."""
        for member in list(self._members.values()):
            self._post(member.monitor, End())

    def shut(self, fd: int) -> None:
        """Nobody reads what processes write to their descriptor `fd` any more."""
        self._shut.add(fd)
        for member in list(self._members.values()):
            self._post(member.monitor, Shut(fd))

    def give_room(self) -> None:
        """More output may be taken in: let those go on that wait for it."""
        for member in list(self._owing):
            self._grant(member)

    # -- the zygote

    def _zygote_ready(self, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._launcher.stream.flush()
            messages = self._launcher.receive()
        except (EOFError, ConnectionError, ControlError):
            self._lose_zygote()
            return
        for message in messages:
            self._hear_zygote(message)
        self._await_room(self._launcher.stream)

    def _hear_zygote(self, message: FromZygote) -> None:
        match message:
            case Forked():
                pass
            case ForkFailed(number, text):
                member = self._by_number[number]
                self._refuse(member, "SpawnError", text)
                self._conclude(member, text)
            case MonitorEnded(number, _):
                ended = self._by_number.get(number)
                if ended is not None:
                    self._conclude(ended, _LOST_MONITOR)
            case Trouble(text):
                self._troubles.append(text)

    def _lose_zygote(self) -> None:
        self._zygote_alive = False
        self._selector.unregister(self._launcher.stream)
        self._refusal = "the program's zygote was killed"
        self._cause = self._cause or _LOST_ZYGOTE
        # It holds the ends of monitors that were not handed on: their streams would never end.
        self._launcher.close()
        for member in list(self._members.values()):
            # Their monitors have noticed too, and kill; what they cannot tell any more is lost.
            member.killed = not member.dead
            if member.monitor is None:
                self._conclude(member, _LOST_ZYGOTE)

    # -- the monitors

    def _monitor_ready(self, member: _Member, events: int) -> None:
        self._read_monitor(member)
        if member.monitor is not None:
            self._flush(member.monitor, events)
        elif not self._zygote_alive:
            self._conclude(member, _LOST_ZYGOTE)

    def _read_monitor(self, member: _Member) -> bool:
        """Take what a monitor has said. Whether there may be more."""
        if member.monitor is None:
            return False
        try:
            messages = member.monitor.receive()
        except (EOFError, ControlError):
            self._close(member.monitor)
            member.monitor = None
            self._owing.discard(member)
            self._lose_spare(member)
            return False
        for message in messages:
            self._hear_monitor(member, message)
        return bool(messages)

    def _hear_monitor(self, member: _Member, message: FromMonitor) -> None:
        if not member.adopted and not isinstance(message, (Started, Trouble)):
            self._lose_spare(member)
            return
        pid = member.pid
        match message:
            case Output(fd, data):
                self._do(self._tree.output(pid, fd, data))
                member.owed += len(data)
                if not self._may_grow():
                    self._owing.add(member)
                elif member.owed >= _GRANT_AT:
                    self._grant(member)
            case Eof(fd):
                self._do(self._tree.eof(pid, fd))
            case Died(status, max_rss):
                self._bury(member, ExitStatus.from_wait(status, max_rss))
            case Held():
                self._do(self._tree.drained(pid))
            case Failed(kind, text):
                member.unborn = kind == ProgramError.__name__
                self._refuse(member, kind, text)
            case Trouble(text):
                self._troubles.append(text)
            case Started():
                pass

    def _grant(self, member: _Member) -> None:
        self._owing.discard(member)
        size, member.owed = member.owed, 0
        self._post(member.monitor, Room(size))

    def _bury(self, member: _Member, status: ExitStatus) -> None:
        """A process is dead."""
        while self._read_control(member):
            pass
        member.dead = True
        self._lose_control(member)
        self._launcher.forget(member.pid)
        self._refuse(member, "SpawnError", f"the new process ended before it could run: {status}")
        member.killed = member.killed and status.signal == "SIGKILL"
        if member.killed:
            status = dataclasses.replace(status, cause=self._cause)
        elif member.unborn and status.success:
            # Without an error, and all the same it has not done what it was to do.
            status = ExitStatus(lost=_UNBORN, max_rss=status.max_rss)
        self._do(self._tree.died(member.pid, status))

    def _conclude(self, member: _Member, reason: str) -> None:
        """A monitor is gone, and every process below it: nothing more will come of it."""
        while self._read_monitor(member):
            pass
        while self._read_control(member):
            pass
        self._lose_control(member)
        if not member.dead:
            self._launcher.forget(member.pid)
            self._refuse(member, "SpawnError", f"the new process is lost: {reason}")
        if member.adopted:
            self._do(self._tree.monitor_lost(member.pid, reason))
        else:
            self._lose_spare(member)
        if member.monitor is not None:
            self._close(member.monitor)
        self._owing.discard(member)
        del self._members[member.pid], self._by_number[member.number]

    # -- the processes

    def _control_ready(self, member: _Member, events: int) -> None:
        self._read_control(member)
        if member.control is not None:
            self._flush(member.control, events)

    def _read_control(self, member: _Member) -> bool:
        """Take what a process has said. Whether there may be more."""
        if member.control is None:
            return False
        try:
            messages = member.control.receive()
        except EOFError:
            self._lose_control(member)
            return False
        except ControlError as error:
            self._troubles.append(f"from process {member.pid}: {error}")
            self._lose_control(member)
            return False
        for message in messages:
            self._hear_process(member, message)
        return bool(messages)

    def _hear_process(self, member: _Member, message: FromProcess) -> None:
        match message:
            case Spawn():
                self._spawn(member, message)
            case Accept(request):
                child = self._spawns.accept(member.pid, request)
                if child is not None:
                    self._do(self._tree.accept(child))
                    self._tell(child, Go())
                    self._make_spare()
            case Cancel(request):
                child = self._spawns.cancel(member.pid, request)
                if child is not None:
                    self._abandon(child)
            case Ready():
                asked = self._spawns.ready(member.pid)
                if asked is not None:
                    self._tell(asked[0], Spawned(asked[1]))
            case Watch(key):
                self._do(self._tree.watch(key, member.pid))
            case Unwatch(key):
                self._tree.unwatch(key, member.pid)

    def _spawn(self, spawner: _Member, spawn: Spawn) -> None:
        known = self._spawns.find(spawner.pid, spawn.request)
        if known is not None:
            self._tell(spawner.pid, Placed(spawn.request, known.key, known.endpoint))
            return
        if self._refusal is not None:
            self._tell(spawner.pid, Refused(spawn.request, "SpawnError", self._refusal))
            return
        try:
            member = self._take_spare() or self._add(self._launcher.launch())
        except OSError as error:
            text = f"no process can be made: {system.explained(error)}"
            self._tell(spawner.pid, Refused(spawn.request, "SpawnError", text))
            return
        pid = member.pid
        self._spawns.begin(spawner.pid, spawn.request, pid)
        resources = Resources(mem=Mem(spawn.mem), cpu=Cpu(spawn.cpu))
        self._adopt(member, spawner.pid, spawn.request, resources)
        self._tell(spawner.pid, Placed(spawn.request, pid.key, pid.endpoint))

    def _add(self, launched: Launched) -> _Member:
        """Take in a process that is nobody's yet."""
        member = _Member(launched.pid, launched.number, launched.control, launched.monitor)
        self._members[launched.pid] = self._by_number[launched.number] = member
        control_ready = functools.partial(self._control_ready, member)
        monitor_ready = functools.partial(self._monitor_ready, member)
        self._selector.register(launched.control, selectors.EVENT_READ, control_ready)
        self._selector.register(launched.monitor, selectors.EVENT_READ, monitor_ready)
        for fd in self._shut:
            self._post(launched.monitor, Shut(fd))
        return member

    def _adopt(
        self, member: _Member, parent: Pid | None, request: int, resources: Resources
    ) -> None:
        """Make a process one of the program's."""
        member.adopted = True
        self._do(self._tree.placed(member.pid, parent, request))
        self._tell(member.pid, adoption(parent, resources))

    # -- the spare

    def _make_spare(self) -> None:
        if self._spares and self._spare is None and self._refusal is None and not self._spawns:
            # Where there is no room for one, a spawn is told so, and not this.
            with contextlib.suppress(OSError):
                self._spare = self._add(self._launcher.launch())

    def _take_spare(self) -> _Member | None:
        """The spare, if there is one and it lives."""
        spare = self._spare
        if spare is not None:
            self._read_monitor(spare)
            spare, self._spare = self._spare, None
        return spare

    def _lose_spare(self, member: _Member) -> None:
        """A process that nobody wanted yet is dead, or is not as it should be."""
        if self._spare is member:
            self._spare = None
            self._post(member.monitor, End())

    def _refuse(self, member: _Member, kind: str, text: str) -> None:
        """A process is dead or could not be made: if it was not promised yet, it never was."""
        asked = self._spawns.child_gone(member.pid)
        if asked is not None:
            self._do(self._tree.abandon(member.pid))
            self._tell(asked[0], Refused(asked[1], kind, text))

    def _abandon(self, pid: Pid) -> None:
        self._do(self._tree.abandon(pid))
        member = self._members.get(pid)
        if member is not None:
            self._post(member.monitor, End())

    def _lose_control(self, member: _Member) -> None:
        """A process says no more, and hears no more."""
        if member.control is not None:
            self._close(member.control)
            member.control = None
            self._lose_spare(member)
            self._tree.watcher_gone(member.pid)
            for child in self._spawns.spawner_gone(member.pid):
                self._abandon(child)

    # -- what goes out

    def _do(self, outputs: Iterable[Event | Notice]) -> None:
        events: list[Event] = []
        for output in outputs:
            if isinstance(output, Notice):
                status = None if output.status is None else Status.of(output.status)
                self._tell(output.watcher, Exited(output.key, status))
            else:
                events.append(output)
        if events:
            self._show(events)

    def _tell(self, pid: Pid, message: ToProcess) -> None:
        member = self._members.get(pid)
        if member is not None:
            self._post(member.control, message)

    def _post(self, stream: MessageStream[Any] | None, message: object) -> None:
        if stream is None:
            return
        # Whoever is gone is noticed by its end-of-file, after everything that it said.
        with contextlib.suppress(ConnectionError):
            stream.post(message)
            self._await_room(stream)

    def _flush(self, stream: MessageStream[Any], events: int) -> None:
        if events & selectors.EVENT_WRITE:
            with contextlib.suppress(ConnectionError):
                stream.flush()
            self._await_room(stream)

    def _await_room(self, stream: MessageStream[Any]) -> None:
        key = self._selector.get_key(stream)
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if stream.unsent else 0)
        if key.events != wanted:
            self._selector.modify(stream, wanted, key.data)

    def _close(self, stream: MessageStream[Any]) -> None:
        self._selector.unregister(stream)
        stream.close()
