"""The processes of one program on this machine: their streams, and the order of what these bring.

It is in the bridge natively and in an agent of the node on a cluster, and is driven by that one's
loop. What a process, its monitor or the zygote says it tells as :data:`~constellation.control.
messages.FromHost`, in an order that makes each word final:

===============================================  ==================================================
what happens                                     what is known then
===============================================  ==================================================
``Died``                                         everything the process ever wrote to its control
                                                 stream is in the kernel: it is told first, so that
                                                 a spawn accepted with the last breath has happened
``Idle``                                         the monitor has told everything of this process,
                                                 and no process below it is left
``MonitorEnded``, of the zygote                  everything the monitor ever wrote is in the kernel,
                                                 and no process below it is alive: what it did not
                                                 tell is lost
the end of a monitor's stream                    the same, where the zygote is gone; else the
                                                 zygote's word is awaited
===============================================  ==================================================

A program that spawns once will spawn again, and most of what that takes is forking. So when a spawn
has happened and no other is under way, a *spare* is made: a process with its monitor like any
other, but nobody's. The next launch takes it, at whatever stage it is. A program that does not
spawn has none, and one that spawns many at once gets one at the end: a spare saves nobody work, it
is done earlier. Nothing is told of it, and if it dies, the next launch does without. That it has
died may be known only after the launch, which therefore says that it was the spare (`Made.ahead`).
Where processes start fresh there is no spare: it would run the program's own code up to `init()`,
and nobody has asked for that.

A monitor whose process is over is *idle* (`constellation.process.respite`), and forks the next one,
so that many processes after each other take half of the forks. What is launched while others are
being made waits its turn (`constellation.process.pace`), which may be until a monitor is idle.
"""

from __future__ import annotations

import contextlib
import functools
import os
import selectors
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from constellation.control.messages import (
    Crippled,
    Died,
    End,
    Failed,
    Forked,
    ForkFailed,
    FromHost,
    FromMonitor,
    FromProcess,
    FromZygote,
    Go,
    Gone,
    Idle,
    Made,
    MonitorEnded,
    Said,
    Signal,
    Silent,
    Started,
    Told,
    ToMonitor,
    ToProcess,
    Trouble,
    Unmade,
)
from constellation.control.stream import ControlError, MessageStream
from constellation.pid import Pid
from constellation.process.launcher import Launched, Launcher
from constellation.process.pace import Pace
from constellation.transport.descriptors import explained

_STOPPING = (signal.SIGSTOP, signal.SIGCONT)
_LOST_MONITOR = "monitor killed"
_LOST_ZYGOTE = "zygote killed"


@dataclass(slots=True, eq=False)
class _Local:
    """A process, from the moment it is asked of the zygote until its monitor is gone.

    Attributes:
        number: What the bridge calls it; None: it is the spare.
        fork: What the launcher calls it.
        started: What its monitor has told of its start, while it was the spare.
    """

    number: int | None
    fork: int
    pid: Pid
    control: MessageStream[FromProcess] | None
    monitor: MessageStream[FromMonitor] | None
    started: Started | None = None
    awaited: bool = False  # launched, and neither running nor dead
    dead: bool = False


class Host:
    """The processes of one program on this machine.

    Args:
        selector: The loop's. Its data for each stream is what to call when that is ready.
        launcher: Makes the processes.
        hear: Told what they say, from within the loop and from within `launch`.
        stdin: The descriptor that becomes the initial process's standard input, the host's from
            here on. None: /dev/null.
        spares: Whether to have a process made ahead of the next spawn.
        pace: How many are made at a time; None: as many as suits the machine.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        launcher: Launcher,
        hear: Callable[[FromHost], None],
        *,
        stdin: int | None = None,
        spares: bool = True,
        pace: Pace | None = None,
    ) -> None:
        self._selector = selector
        self._launcher = launcher
        self._hear = hear
        self._stdin = stdin
        self._spares = spares
        self._spare: _Local | None = None
        self._pace = Pace() if pace is None else pace
        self._idle: dict[int, MessageStream[FromMonitor]] = {}  # by what their last one was
        self._by_number: dict[int, _Local] = {}
        self._by_fork: dict[int, _Local] = {}
        self._awaited = 0  # processes that are launched, and neither running nor dead
        self._zygote_alive = True
        self._ending = False
        selector.register(launcher.stream, selectors.EVENT_READ, self._zygote_ready)

    # -- what it is told to do

    def launch(self, number: int, *, initial: bool = False) -> None:
        """Have a process made. It is told as `Made` before this returns, or as `Unmade`.

        Args:
            number: What it is called from here on, never used twice.
            initial: Whether it is the initial process.
        """
        if not self._zygote_alive:
            self._hear(Unmade(number, f"no process can be made: {_LOST_ZYGOTE}"))
            return
        try:
            local = None if initial else self._take_spare()
            ahead = local is not None
            if local is None:
                stdin, self._stdin = (self._stdin, None) if initial else (None, self._stdin)
                local = self._add(self._launcher.launch(initial=initial, stdin=stdin))
                self._dispatch()
        except OSError as error:
            self._hear(Unmade(number, f"no process can be made: {explained(error)}"))
            return
        local.number = number
        self._by_number[number] = local
        if not initial:
            local.awaited = True
            self._awaited += 1
        self._hear(Made(number, local.pid.key, local.pid.endpoint, ahead))
        if local.started is not None:
            self._hear(Told(number, local.started))

    def tell(self, number: int, message: ToProcess) -> None:
        """Say something to a process."""
        local = self._by_number.get(number)
        if local is None:
            return
        self._post(local.control, message)
        if isinstance(message, Go):
            self._settle(local)
            self._make_spare()

    def direct(self, number: int, message: ToMonitor) -> None:
        """Say something to the monitor of a process."""
        local = self._by_number.get(number)
        if local is not None:
            self._post(local.monitor, message)
        if isinstance(message, Signal) and message.number in _STOPPING and self._spare is not None:
            # A program that stops does so with all that is there.
            self._post(self._spare.monitor, message)

    def end(self) -> None:
        """End whatever is left, and make no process any more."""
        self._ending = True
        for number in list(self._idle):
            self._let_go(number)
        for local in list(self._by_fork.values()):
            self._post(local.monitor, End())

    @property
    def deadline(self) -> float | None:
        """When to call `tick` (monotonic seconds); None: not before something else happens."""
        return self._pace.deadline if self._launcher.waiting and self._zygote_alive else None

    def tick(self) -> None:
        """Time has passed."""
        self._dispatch()

    @property
    def empty(self) -> bool:
        """Whether every monitor is gone."""
        return not self._by_fork

    def close(self) -> None:
        """End the zygote, which ends when nothing of the program is left. Again it does nothing."""
        if self._zygote_alive:
            self._zygote_alive = False
            self._selector.unregister(self._launcher.stream)
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None
        self._launcher.close()

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
        if self._zygote_alive:
            self._dispatch()
            self._await_room(self._launcher.stream)

    def _hear_zygote(self, message: FromZygote) -> None:
        match message:
            case Forked():
                pass
            case ForkFailed(fork, text):
                local = self._by_fork[fork]
                if local.number is not None:
                    self._hear(Told(local.number, Failed("SpawnError", text)))
                self._conclude(local, text)
            case MonitorEnded(fork, _):
                ended = self._by_fork.get(fork)
                if ended is not None:
                    self._conclude(ended, _LOST_MONITOR)
            case Trouble():
                self._hear(message)

    def _lose_zygote(self) -> None:
        # It holds the ends of monitors that were not handed on: their streams would never end.
        self.close()
        self._hear(Crippled(_LOST_ZYGOTE))
        for local in list(self._by_fork.values()):
            # Their monitors have noticed too, and kill; what they cannot tell any more is lost.
            if local.monitor is None:
                self._conclude(local, _LOST_ZYGOTE)

    # -- the monitors

    def _monitor_ready(self, local: _Local, events: int) -> None:
        if local.monitor is None:
            return  # its end was met earlier in this round of the loop
        self._read_monitor(local)
        if local.monitor is not None:
            self._flush(local.monitor, events)
        elif not self._zygote_alive:
            self._conclude(local, _LOST_ZYGOTE)

    def _read_monitor(self, local: _Local) -> bool:
        """Take what a monitor has said. Whether there may be more."""
        if local.monitor is None:
            return False
        try:
            messages = local.monitor.receive()
        except (EOFError, ControlError):
            self._close(local.monitor)
            local.monitor = None
            self._lose_spare(local)
            return False
        for message in messages:
            self._hear_monitor(local, message)
        return bool(messages)

    def _hear_monitor(self, local: _Local, message: FromMonitor) -> None:
        if isinstance(message, Trouble):
            self._hear(message)
            return
        if isinstance(message, Idle):
            self._rest(local)
            return
        if isinstance(message, Died):
            while self._read_control(local):
                pass
            self._lose_control(local)
            self._bury(local)
        if local.number is not None:
            self._hear(Told(local.number, message))
        elif isinstance(message, Started):
            local.started = message
        else:
            self._lose_spare(local)

    def _bury(self, local: _Local) -> None:
        if not local.dead:
            local.dead = True
            self._launcher.forget(local.pid)
            self._settle(local)

    def _conclude(self, local: _Local, reason: str) -> None:
        """A monitor is gone, and every process below it: nothing more will come of it."""
        while self._read_monitor(local):
            pass
        while self._read_control(local):
            pass
        self._lose_control(local)
        self._bury(local)
        self._lose_spare(local)
        if local.monitor is not None:
            self._close(local.monitor)
            local.monitor = None
        del self._by_fork[local.fork]
        if local.number is not None:
            del self._by_number[local.number]
            self._hear(Gone(local.number, reason))

    # -- the monitors that are idle

    def _rest(self, local: _Local) -> None:
        """A monitor could serve again: all of its process is over, and told."""
        stream, local.monitor = local.monitor, None
        assert stream is not None
        ready = functools.partial(self._idle_ready, local.fork)
        self._selector.modify(stream, selectors.EVENT_READ, ready)
        self._idle[local.fork] = stream
        self._conclude(local, _LOST_MONITOR)
        # It may have been given the next process by now.
        if local.fork in self._idle and (self._ending or len(self._idle) > self._pace.most):
            self._let_go(local.fork)

    def _idle_ready(self, number: int, events: int) -> None:
        # It says that it has waited for long, or it is gone.
        if number in self._idle:
            self._let_go(number)

    def _let_go(self, number: int) -> None:
        self._close(self._idle.pop(number))

    def _dispatch(self) -> None:
        """See that what was launched is forked: by monitors that are idle, or by new ones.

        To be called whenever one of these has come, or one that was being made is there.
        """
        launcher = self._launcher
        while launcher.waiting and self._pace.has_room():
            if self._idle:
                number, stream = self._idle.popitem()
                begun = launcher.reuse(number, stream)
                self._close(stream)
            else:
                begun = launcher.ask()
                if begun is None:
                    return
            if begun is not None:
                self._pace.begin(begun)

    # -- the processes

    def _control_ready(self, local: _Local, events: int) -> None:
        self._read_control(local)
        if local.control is not None:
            self._flush(local.control, events)

    def _read_control(self, local: _Local) -> bool:
        """Take what a process has said. Whether there may be more."""
        if local.control is None:
            return False
        try:
            messages = local.control.receive()
        except EOFError:
            self._lose_control(local)
            return False
        except ControlError as error:
            self._hear(Trouble(f"from process {local.pid}: {error}"))
            self._lose_control(local)
            return False
        for message in messages:
            if local.number is not None:
                self._hear(Said(local.number, message))
        return bool(messages)

    def _lose_control(self, local: _Local) -> None:
        """A process says no more, and hears no more."""
        if local.control is not None:
            self._close(local.control)
            local.control = None
            self._lose_spare(local)
            if local.number is not None:
                self._hear(Silent(local.number))

    def _add(self, launched: Launched) -> _Local:
        """Take in a process that is nobody's yet."""
        local = _Local(None, launched.number, launched.pid, launched.control, launched.monitor)
        self._by_fork[launched.number] = local
        control_ready = functools.partial(self._control_ready, local)
        monitor_ready = functools.partial(self._monitor_ready, local)
        self._selector.register(launched.control, selectors.EVENT_READ, control_ready)
        self._selector.register(launched.monitor, selectors.EVENT_READ, monitor_ready)
        return local

    def _settle(self, local: _Local) -> None:
        """A process that was launched runs, or is dead."""
        self._pace.end(local.fork)
        if local.awaited:
            local.awaited = False
            self._awaited -= 1
        self._dispatch()

    # -- the spare

    def _make_spare(self) -> None:
        wanted = self._spares and self._zygote_alive and not (self._ending or self._awaited)
        if wanted and self._spare is None:
            # Where there is no room for one, a spawn is told so, and not this.
            with contextlib.suppress(OSError):
                self._spare = self._add(self._launcher.launch())
                self._dispatch()

    def _take_spare(self) -> _Local | None:
        """The spare, if there is one and it lives."""
        if self._spare is not None:
            self._read_monitor(self._spare)
        spare, self._spare = self._spare, None
        return spare

    def _lose_spare(self, local: _Local) -> None:
        """A process that nobody wanted yet is dead, or is not as it should be."""
        if self._spare is local:
            self._spare = None
            self._post(local.monitor, End())

    # -- what goes out

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
