"""The monitor: one small process for each process of a program.

It forks the user's process, reads what that writes, knows the moment it dies, and adopts what its
descendants leave behind. It is single-threaded, never waits on anything but its poll, and never
runs the user's code. What it promises:

- *Output* goes to the bridge byte for byte and in order for each descriptor, no more of it than the
  bridge has given room for. While there is no room the pipes are not read, so `print` waits.
- *Died* goes out at once when the process is dead, whatever its pipes still hold.
- *Held* follows where a descendant of the dead process still has a pipe open a second later. A pipe
  that merely was not read for lack of room is not held.
- It *exits* when the process is dead, both pipes are at their end and no descendant is left; or
  when it was told to end, which kills all of them; or when it lost the zygote or the bridge, which
  does the same. So whoever outlives the command is found and killed, daemonised or not. In the
  first case it may serve again before it exits (`constellation.process.respite`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import select
import signal
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from constellation.control.messages import (
    Died,
    End,
    Eof,
    Failed,
    Fork,
    FromMonitor,
    Held,
    Output,
    Room,
    Shut,
    Signal,
    Started,
    ToMonitor,
    Trouble,
)
from constellation.control.stream import ControlError, MessageStream
from constellation.process import descriptors, forking, signals, system
from constellation.process.identity import Newborn
from constellation.process.origin import Origin
from constellation.process.respite import await_fork
from constellation.process.sigkill import OwnKill
from constellation.process.signals import Wakeup
from constellation.transport.descriptors import explained

if TYPE_CHECKING:
    from constellation.control.messages import Site
    from constellation.process.command import Command
    from constellation.process.deployed import Deployed
    from constellation.process.nursery import Nursery

OUTPUT_WINDOW = 1 << 16
"""How many bytes of output a monitor may send before it is given room for more."""
HELD_AFTER = 1.0
"""Seconds after a process's death until a pipe that is still open counts as held."""
KILL_LIMIT = 1.0
"""The most seconds that killing the descendants may take: some cannot be killed at once."""
_RESCAN = 0.02  # while killing: the list of children may miss one that is just being adopted
_READ = 1 << 16
_DEFAULT_PIPE_SIZE = 1 << 16

_LOST_ZYGOTE = "zygote killed"  # its launcher says so too, but may hear of the deaths first

_decoder = msgspec.msgpack.Decoder(ToMonitor)


@dataclass(slots=True)  # not frozen: see Newborn
class Task:
    """What a monitor is made for.

    Attributes:
        newborn: The process to fork.
        control: The descriptor of the monitor's own control stream.
        stdin: The descriptor that becomes the process's standard input; None: /dev/null.
        lifeline: The descriptor that reaches its end when the zygote dies.
        zygote: The zygote's process id.
        origin: The program at `init()`.
        directory: The program's runtime directory.
        command: What the process executes, to start fresh; None: it is a fork of the image.
        deployed: What a program has that runs on a cluster; None: it runs natively.
    """

    newborn: Newborn
    control: int
    stdin: int | None
    lifeline: int
    zygote: int
    origin: Origin
    directory: str
    command: Command | None
    deployed: Deployed | None

    @property
    def site(self) -> Site | None:
        """Where the program is deployed; None: it runs natively."""
        return None if self.deployed is None else self.deployed.site

    @property
    def may_be_followed(self) -> bool:
        """Whether its monitor is to serve again: not with what the initial process has."""
        return self.command is None and not self.newborn.initial

    def close_descriptors(self) -> None:
        """Close what is the process's, in another one than that."""
        self.newborn.listener.close()
        self.newborn.control.close()
        if self.newborn.network is not None:
            self.newborn.network.listener.close()
        if self.stdin is not None:
            os.close(self.stdin)

    def next(self, fork: Fork, stream: MessageStream[ToMonitor]) -> Task:
        """The task of the same monitor when it serves again.

        Args:
            fork: The process.
            stream: Where that was told.
        """
        newborn, control, _ = forking.take(fork, stream, self.directory, self.deployed)
        return dataclasses.replace(self, newborn=newborn, control=control, stdin=None)


def run(task: Task) -> Newborn:
    """Be the monitor of a new process. All signals are blocked.

    Returns:
        In the user's process only: what it knows of itself. In the monitor, and where the process
        starts fresh, it never returns.
    """
    monitor = os.getpid()
    wakeup = None
    while True:
        nursery = None
        # The process first: what the monitor needs it can make while that is already on its way.
        try:
            pipes = os.pipe(), os.pipe()
            if task.command is not None:
                # Imported only where processes start fresh: forks of the image go without.
                from constellation.process.nursery import Nursery

                nursery = Nursery(task, task.command, pipes[0][1], pipes[1][1])
            child = system.fork_process()
        except OSError as error:
            stream = _stream(task)
            with contextlib.suppress(ConnectionError):
                stream.send(Failed("SpawnError", f"cannot start a process: {explained(error)}"))
            os._exit(1)
        if child == 0:
            break
        stream = _stream(task)
        if wakeup is None:
            wakeup = Wakeup()
        task = _watch_over(child, task, stream, wakeup, pipes, nursery)
    _set_apart(monitor)
    if wakeup is not None:
        wakeup.close()
    if nursery is not None:
        nursery.run_program()
    os.close(task.control)
    os.close(task.lifeline)
    _connect_streams(task, pipes)
    return task.newborn


def _stream(task: Task) -> MessageStream[ToMonitor]:
    return MessageStream(descriptors.adopt_socket(task.control), _decoder, descriptors=True)


def _set_apart(monitor: int) -> None:
    """In the fork that becomes the user's process: its death with the monitor, its session."""
    if not system.set_parent_death_signal(signal.SIGKILL, monitor):
        os._exit(1)
    os.setsid()


def _connect_streams(task: Task, pipes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """In the fork that becomes the user's process: its standard streams."""
    if task.stdin is not None:
        os.dup2(task.stdin, 0)
        os.close(task.stdin)
    for target, (read, write) in enumerate(pipes, start=1):
        os.dup2(write, target)
        os.close(read)
        os.close(write)


def _watch_over(
    child: int,
    task: Task,
    stream: MessageStream[ToMonitor],
    wakeup: Wakeup,
    pipes: tuple[tuple[int, int], tuple[int, int]],
    nursery: Nursery | None,
) -> Task:
    """In the monitor: watch until nothing is left to do, then exit.

    Returns:
        What else there is to do, if it is to serve again. All signals are blocked then.
    """
    code = 1
    try:
        system.set_name("cst-monitor")
        system.become_subreaper()
        for _, write in pipes:
            os.close(write)
        reads = {read: descriptor for descriptor, (read, _) in enumerate(pipes, start=1)}
        if task.may_be_followed:
            # What the image had open the next process is to have too.
            task.close_descriptors()
        else:
            kept = {0, 1, 2, stream.fileno(), task.lifeline, *wakeup.descriptors, *reads}
            descriptors.close_all_but(kept if nursery is None else kept.union(nursery.descriptors))
        orphaned = not system.set_parent_death_signal(signal.SIGTERM, task.zygote)
        signals.restore_mask(())
        watch = _Monitor(child, task, stream, wakeup, reads, nursery, orphaned)
        watch.loop()
        if watch.can_serve_again and task.may_be_followed:
            fork = await_fork(stream, wakeup, task.lifeline, task.zygote)
            if fork is not None:
                task = task.next(fork, stream)
                stream.close()
                signals.block_all()
                return task
        code = 0
    except BaseException:  # noqa: BLE001 - told to the bridge
        text = f"in the monitor of {task.newborn.pid}:\n{traceback.format_exc()}"
        with contextlib.suppress(ConnectionError):
            stream.send(Trouble(text))
    os._exit(code)


class _Monitor:
    """The monitor's state and its loop."""

    def __init__(
        self,
        child: int,
        task: Task,
        stream: MessageStream[ToMonitor],
        wakeup: Wakeup,
        pipes: dict[int, int],
        nursery: Nursery | None,
        orphaned: bool,
    ) -> None:
        self._child = child
        self._nursery = nursery  # until the process has reached `init()`
        self._zygote = task.zygote
        self._lifeline = task.lifeline
        self._stream = stream
        self._connected = True
        self._wakeup = wakeup
        self._pipes = pipes  # our descriptor -> the process's
        self._reading = False  # whether the poll looks at the pipes
        self._writing = False  # whether it looks for room in the stream
        self._room = OUTPUT_WINDOW
        self._childless = False
        self._died_at: float | None = None
        self._held = False
        self._read_since_death = 0
        self._read_to_be_sure = _DEFAULT_PIPE_SIZE
        self._killing_until: float | None = None
        self._cause: str | None = None  # why it is killed
        self._own_kill: OwnKill | None = None  # whether it has died of that
        self._poll = select.poll()
        for descriptor in (stream.fileno(), self._lifeline, wakeup.fileno()):
            self._poll.register(descriptor, select.POLLIN)
        if nursery is not None:
            self._poll.register(nursery.fileno(), select.POLLIN)
        self._tell(Started(child))
        if orphaned:
            self._end()

    def loop(self) -> None:
        """Run until nothing is left to do."""
        self._reap()  # it may have died while signals were blocked
        while not self._finished():
            self._adjust()
            ready = self._poll.poll(self._timeout())
            for descriptor, _ in ready:
                if descriptor in self._pipes:
                    self._read(descriptor)
                elif descriptor == self._wakeup.fileno():
                    self._wakeup.take()
                    self._reap()
                    if os.getppid() != self._zygote:
                        self._end(_LOST_ZYGOTE)
                elif descriptor == self._lifeline:
                    self._poll.unregister(descriptor)
                    self._end(_LOST_ZYGOTE)
                elif descriptor != self._stream.fileno():
                    self._look_into_nursery()
                else:
                    self._converse()
            self._pass_time()

    @property
    def can_serve_again(self) -> bool:
        """Whether the monitor is as it was before."""
        return self._connected and self._killing_until is None

    # -- what there is to wait for

    def _finished(self) -> bool:
        if not self._gone():
            return False
        return not self._connected or not (self._pipes or self._stream.unsent)

    def _gone(self) -> bool:
        """Whether the process and its descendants are dead, or cannot be killed."""
        # A busy machine may not run the process, whose priority may be low, for long until it has
        # died of its kill; its pipes may be at their end by then. Who listens is to be told how.
        if self._died_at is None and self._connected:
            return False
        if self._killing_until is not None and time.monotonic() >= self._killing_until:
            return True
        return self._died_at is not None and self._childless

    def _adjust(self) -> None:
        """See that the poll looks at the pipes iff there is room, and at the stream as needed."""
        reading = self._room > 0 and self._connected and not self._stream.unsent
        if self._nursery is not None:
            reading = False  # nothing can be in the pipes, and their end says nothing yet
        if reading != self._reading:
            self._reading = reading
            for descriptor in self._pipes:
                if reading:
                    self._poll.register(descriptor, select.POLLIN)
                else:
                    self._poll.unregister(descriptor)
        writing = self._connected and self._stream.unsent
        if writing != self._writing:
            self._writing = writing
            if self._connected:
                wanted = select.POLLIN | (select.POLLOUT if writing else 0)
                self._poll.modify(self._stream.fileno(), wanted)

    def _timeout(self) -> float | None:
        if self._killing_until is not None and not self._gone():
            return _RESCAN * 1000
        if not self._reading or not self._pipes or self._died_at is None:
            return None
        if self._killing_until is not None:
            return 0
        if self._held:
            return None
        return max(0.0, self._died_at + HELD_AFTER - time.monotonic()) * 1000 + 1

    def _pass_time(self) -> None:
        if self._killing_until is not None and not self._gone():
            self._kill()
        if not self._reading or not self._pipes or self._died_at is None:
            return
        if self._killing_until is not None:
            # None of ours holds a pipe any more: what is in it now is all that counts.
            if self._gone() and self._said_its_last():
                for descriptor in list(self._pipes):
                    self._close_pipe(descriptor)
        elif (
            not self._held
            and time.monotonic() >= self._died_at + HELD_AFTER
            and self._said_its_last()
        ):
            self._held = True
            self._tell(Held())

    def _said_its_last(self) -> bool:
        """Whether what the dead process wrote has been read: the rest is its descendants'."""
        return self._read_since_death > self._read_to_be_sure or self._all_empty()

    def _all_empty(self) -> bool:
        poll = select.poll()
        for descriptor in self._pipes:
            poll.register(descriptor, select.POLLIN)
        return not poll.poll(0)

    # -- output

    def _read(self, descriptor: int) -> None:
        if self._room <= 0:
            return  # the other pipe has just used it up
        data = os.read(descriptor, min(_READ, self._room))
        if not data:
            self._close_pipe(descriptor)
            return
        self._room -= len(data)
        if self._died_at is not None:
            self._read_since_death += len(data)
        self._tell(Output(self._pipes[descriptor], data))

    def _close_pipe(self, descriptor: int) -> None:
        if self._reading:
            self._poll.unregister(descriptor)
        os.close(descriptor)
        self._tell(Eof(self._pipes.pop(descriptor)))

    # -- the bridge

    def _converse(self) -> None:
        try:
            self._stream.flush()
            for message in self._stream.receive():
                self._obey(message)
        except (EOFError, ConnectionError, ControlError):
            self._disconnect()

    def _obey(self, message: ToMonitor) -> None:
        match message:
            case Room(size):
                self._room += size
            case Shut(fd):
                for descriptor, name in list(self._pipes.items()):
                    if name == fd:
                        self._close_pipe(descriptor)
            case Signal(number):
                self._signal(number)
            case End(cause):
                self._end(cause)

    def _tell(self, message: FromMonitor) -> None:
        if self._connected:
            try:
                self._stream.post(message)
            except ConnectionError:
                self._disconnect()

    def _disconnect(self) -> None:
        """The bridge is gone: nothing of its program may remain."""
        self._connected = False
        self._poll.unregister(self._stream.fileno())
        self._end()

    # -- the process before `init()`, where it starts fresh

    def _look_into_nursery(self) -> None:
        """See whether the process has reached `init()`."""
        nursery = self._nursery
        if nursery is None or nursery.silent:
            return
        born = nursery.born()
        if not (born or nursery.silent):
            return
        self._poll.unregister(nursery.fileno())
        if born:
            self._nursery = None
            nursery.close()
            for number in nursery.signals:
                self._signal(number)

    def _lose_unborn(self, nursery: Nursery, status: int) -> None:
        """The process is dead, and has not reached `init()`: show what it wrote in vain."""
        self._nursery = None
        if not nursery.silent:
            self._poll.unregister(nursery.fileno())  # a fork of the process holds the other end
        if self._killing_until is not None:
            nursery.close()
            return
        self._tell(Failed("ProgramError", nursery.obituary(status)))
        written = nursery.take_files()
        self._read_to_be_sure = sum(os.fstat(file).st_size for file in written.values())
        for pipe, number in list(self._pipes.items()):
            os.close(pipe)
            del self._pipes[pipe]
            self._pipes[written[number]] = number

    # -- the process and its descendants

    def _signal(self, number: int) -> None:
        if self._nursery is not None and self._nursery.hold(number):
            return
        if self._died_at is None:
            # Not reaped, so the number is still its own; before its setsid() it has no group.
            try:
                os.killpg(self._child, number)
            except ProcessLookupError:
                os.kill(self._child, number)
        else:
            for child in system.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, number)

    def _reap(self) -> None:
        """Take the statuses of the dead: the process itself, or a descendant that we adopted."""
        while not self._childless:
            try:
                reaped = system.reap(self._before_reaping)
            except ChildProcessError:
                self._childless = True
                return
            if reaped is None:
                return
            dead, status, usage = reaped
            if dead == self._child:
                self._died_at = time.monotonic()
                if self._killing_until is not None:
                    self._killing_until = self._died_at + KILL_LIMIT
                self._read_to_be_sure = self._pipe_size()
                self._look_into_nursery()
                if self._nursery is not None:
                    self._lose_unborn(self._nursery, status)
                killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
                cause = self._cause if killed else None
                self._tell(Died(status, system.max_rss_bytes(usage), cause))

    def _before_reaping(self, dying: int) -> None:
        """What dies is about to be reaped, after which its number may be another's."""
        if dying != self._child:
            return
        if self._own_kill is None or not self._own_kill.was_it():
            self._cause = None
        if self._killing_until is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child, signal.SIGKILL)

    def _pipe_size(self) -> int:
        # The process may have made it larger.
        if not self._pipes or not system.LINUX:
            return _DEFAULT_PIPE_SIZE
        return sum(fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) for pipe in self._pipes)

    def _end(self, cause: str | None = None) -> None:
        if self._killing_until is None:
            self._killing_until = time.monotonic() + KILL_LIMIT
            if cause is not None and self._died_at is None:
                self._cause = cause
                self._own_kill = OwnKill(self._child)
            self._kill()

    def _kill(self) -> None:
        """Kill every child. What these leave behind is adopted before their death is told."""
        if self._died_at is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child, signal.SIGKILL)
        for child in system.children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        self._reap()
