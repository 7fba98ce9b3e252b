"""The launcher: makes the processes of one program on this machine, by way of the zygote.

It lives in the bridge natively and in the node on a cluster, is driven by that one's loop, and
never waits. What it hands out for each process are two control streams: to the process and to its
monitor.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from dataclasses import dataclass

import msgspec

from constellation.control.messages import (
    Fork,
    Forked,
    ForkFailed,
    FromMonitor,
    FromProcess,
    FromZygote,
    MonitorEnded,
)
from constellation.control.stream import MessageStream
from constellation.pid import Pid
from constellation.process import descriptors
from constellation.process.ports import Ports

_FORKS_AT_ONCE = 16
"""How many forks are asked of the zygote at a time. The kernel allows only so many descriptors to
be under way between two processes, and a stream holds only so much."""

_from_zygote = msgspec.msgpack.Decoder(FromZygote)
_from_process = msgspec.msgpack.Decoder(FromProcess)
_from_monitor = msgspec.msgpack.Decoder(FromMonitor)


@dataclass(frozen=True, slots=True, eq=False)
class Launched:
    """A process that is being made, and is nobody's until it is adopted.

    Attributes:
        number: What the launcher calls it in its events.
        pid: Its Pid, which can be connected to from now on.
        control: The stream to it.
        monitor: The stream to its monitor.
    """

    number: int
    pid: Pid
    control: MessageStream[FromProcess]
    monitor: MessageStream[FromMonitor]


class Launcher:
    """Makes processes.

    Args:
        zygote: The connection to the zygote.
        directory: The program's runtime directory.
        ports: Where processes listen that others reach over TCP; None: the program has no others.
    """

    def __init__(
        self, zygote: socket.socket, directory: str, *, ports: Ports | None = None
    ) -> None:
        self._directory = directory
        self._ports = ports
        self._numbers = 0
        self._waiting: deque[tuple[Fork, tuple[int, ...]]] = deque()
        self._under_way = 0
        # The zygote calls a monitor by its first process. What that is by now, and the other way.
        self._serves: dict[int, int] = {}
        self._monitors: dict[int, int] = {}
        self._stream: MessageStream[FromZygote] = MessageStream(zygote, _from_zygote)

    @property
    def stream(self) -> MessageStream[FromZygote]:
        """The connection to the zygote, for the loop to wait on."""
        return self._stream

    def launch(self, *, initial: bool = False, stdin: int | None = None) -> Launched:
        """Have a process made, which then waits to be adopted.

        Args:
            initial: Whether it is the initial process.
            stdin: The descriptor that becomes its standard input, the launcher's from here on.
                None: /dev/null.

        Raises:
            OSError: There are no descriptors left.
        """
        with contextlib.ExitStack() as undo:
            if stdin is not None:
                undo.callback(os.close, stdin)
            key = os.urandom(16)
            path = self._path(key)
            listeners = [undo.enter_context(descriptors.listen(path))]
            undo.callback(os.unlink, path)
            endpoint = f"ipc://{path}"
            if self._ports is not None:
                endpoint, far = self._ports.listen()
                listeners.insert(0, undo.enter_context(far))
            pid = Pid(key, endpoint)
            control, its_control = (undo.enter_context(end) for end in socket.socketpair())
            monitor, its_monitor = (undo.enter_context(end) for end in socket.socketpair())
            undo.pop_all()
        self._numbers += 1
        fork = Fork(
            number=self._numbers,
            key=key,
            endpoint=pid.endpoint,
            initial=initial,
            stdin=stdin is not None,
            near=len(listeners) > 1,
        )
        handed_on = [each.detach() for each in (listeners[0], its_control, its_monitor)]
        handed_on += [each.detach() for each in listeners[1:]]
        if stdin is not None:
            handed_on.append(stdin)
        self._waiting.append((fork, tuple(handed_on)))
        return Launched(
            number=fork.number,
            pid=pid,
            control=MessageStream(control, _from_process),
            monitor=MessageStream(monitor, _from_monitor),
        )

    def receive(self) -> list[FromZygote]:
        """Take what the zygote has told.

        Raises:
            EOFError: The zygote is gone.
        """
        messages = self._stream.receive()
        for message in messages:
            if isinstance(message, (Forked, ForkFailed)):
                self._under_way -= 1
        return [self._renamed(message) for message in messages]

    def _renamed(self, message: FromZygote) -> FromZygote:
        if isinstance(message, MonitorEnded):
            number = self._serves.pop(message.number, message.number)
            self._monitors.pop(number, None)
            return MonitorEnded(number, message.status)
        return message

    @property
    def waiting(self) -> bool:
        """Whether there are processes that nobody was asked for yet."""
        return bool(self._waiting)

    def reuse(self, number: int, stream: MessageStream[FromMonitor]) -> int | None:
        """Have the process that waits longest forked by a monitor that is idle, if that lives.

        Args:
            number: What the launcher called the monitor's process.
            stream: The stream to the monitor, which is of no more use after this.

        Returns:
            The number of the process; None: the monitor is gone.
        """
        fork, handed_on = self._waiting[0]
        if stream.offer(fork, handed_on):
            del self._waiting[0]
            monitor = self._monitors.pop(number, number)
            self._monitors[fork.number] = monitor
            self._serves[monitor] = fork.number
            return fork.number
        return None

    def ask(self) -> int | None:
        """Ask the zygote for the process that waits longest, if it is not busy with too many.

        Returns:
            The number of the process; None: the zygote is busy, or is gone.
        """
        if self._under_way >= _FORKS_AT_ONCE:
            return None
        fork, handed_on = self._waiting.popleft()
        self._under_way += 1
        # A zygote that is gone is noticed by who reads from it.
        with contextlib.suppress(ConnectionError):
            self._stream.post(fork, handed_on)
        return fork.number

    def forget(self, pid: Pid) -> None:
        """Remove the socket of a process that is dead."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(pid.key))

    def _path(self, key: bytes) -> str:
        return os.path.join(self._directory, key.hex())

    def close(self) -> None:
        """End the zygote, which ends when nothing of the program is left. Again it does nothing."""
        for _, handed_on in self._waiting:
            for descriptor in handed_on:
                os.close(descriptor)
        self._waiting.clear()
        self._stream.close()
