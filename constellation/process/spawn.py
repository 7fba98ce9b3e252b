r"""Spawning: the side that asks for a process, and the new process's side.

::

    asked --Placed--> placed: the closure is on its way --Spawned--> spawned --attempt--> accepted
      \--Refused--> refused

The spawn has happened when the asker accepts it, in the thread or task that waits for it. Whatever
ends the wait before that (a timeout, a cancellation, a lost `select`, the asker's death) leaves no
process behind: the new one runs nothing before the bridge tells it that it was accepted.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import constellation.errors
from constellation.awaited import Awaited, AwaitsRoom
from constellation.channel.context import Context, current
from constellation.channel.mailbox import Mailbox, Message
from constellation.channel.payload import Buffer, Part, dump_call, load_call
from constellation.control.messages import Accept, Cancel, Ready, Spawn, Unable
from constellation.errors import NoCapacity, SpawnError
from constellation.operation import Examination, Operation, Waiter, Waits
from constellation.process import environment
from constellation.resources import RESOURCES_DEFAULT, Resources
from constellation.transport.descriptors import explained

if TYPE_CHECKING:
    from constellation.pid import Pid
    from constellation.process.image import Image
    from constellation.transport.transport import Transport

__all__ = ["receive", "spawn", "try_spawn"]

_STREAM = "\0spawn"
_requests = itertools.count(1)


def spawn(
    start: Callable[..., object],
    /,
    *args: Any,
    resources: Resources | None = None,
    **kwargs: Any,
) -> Operation[Pid]:
    """An operation that starts a new process and gives its Pid.

    The new process runs `start(parent, *args, **kwargs)`, where `parent` is the Pid of this one,
    and then exits with 0. It waits until the resources can be given.

    Args:
        start: A function, closure, bound method, `functools.partial`, or a coroutine function,
            which is run with `asyncio.run`.
        args: For it.
        resources: What the process needs; None: `RESOURCES_DEFAULT`.
        kwargs: For it.

    Raises (when it runs):
        SerializationError: Something in it cannot be pickled; the text names the path to it.
        NoCapacity: No node could ever give the resources.
        SpawnDeadlock: All that could make room for it waits for room itself.
        SpawnError: The process could not be started.
        InitError: `init()` was not called yet.
    """
    return _Spawn(start, args, kwargs, resources, wait=True)


def try_spawn(
    start: Callable[..., object],
    /,
    *args: Any,
    resources: Resources | None = None,
    **kwargs: Any,
) -> Operation[Pid]:
    """As `spawn`, but without waiting for room.

    Raises (when it runs):
        NoCapacity: No node has room now.
        SpawnError: As `spawn`.
    """
    return _Spawn(start, args, kwargs, resources, wait=False)


class _Spawn(Operation["Pid"]):
    """What becomes of one request. Replies come with the transport's lock held."""

    __slots__ = (
        "_args",
        "_context",
        "_error",
        "_kwargs",
        "_parts",
        "_pid",
        "_ready",
        "_request",
        "_resources",
        "_start_function",
        "_value",
        "_wait_for_room",
        "_waiter",
    )

    def __init__(
        self,
        start: Callable[..., object],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        resources: Resources | None,
        *,
        wait: bool,
    ) -> None:
        self._started = True  # silent if the next lines raise
        self._context = current()
        if not callable(start):
            raise TypeError(
                f"spawn() takes something to call, not {start!r}: write spawn(work, 1) and not "
                "spawn(work(1)), which calls it here"
            )
        if resources is not None and not isinstance(resources, Resources):
            raise TypeError(f"resources is Resources(mem=..., cpu=...), not {resources!r}")
        self._start_function = start
        self._args = args
        self._kwargs = kwargs
        self._resources = RESOURCES_DEFAULT if resources is None else resources
        self._wait_for_room = wait
        self._waiter: Waiter | None = None
        self._reset()
        self._make(2)

    def _reset(self) -> None:
        self._request = 0
        self._parts: list[Part] = []
        self._pid: Pid | None = None
        self._ready = False
        self._error: SpawnError | None = None

    # -- the operation

    def _describe(self) -> str:
        name = getattr(self._start_function, "__qualname__", repr(self._start_function))
        return f"spawn() of {name}"

    def _waits(self) -> Waits:
        return self._context.transport.reactor

    def _attempt(self) -> bool:
        if not self._request:
            self._ask()
        transport = self._context.transport
        with transport.lock:
            if self._error is not None:
                del transport.spawns[self._request]
                error, self._error = self._error, None
                raise error  # which refers to this operation, by the frames it goes through
            if not self._ready:
                return False
            transport.tell(Accept(self._request))
            del transport.spawns[self._request]
            self._value = self._pid
            return True

    def _enlist(self, waiter: Waiter) -> bool:
        self._waiter = waiter
        return True

    def _delist(self, waiter: Waiter) -> None:
        self._waiter = None

    def _awaited(self, examination: Examination) -> Awaited | None:
        # One that was placed comes without anybody's doing.
        waits = self._wait_for_room and self._pid is None and self._error is None
        return AwaitsRoom(self._request) if waits and self._request else None

    def _abandon(self) -> None:
        if not self._request:
            return  # it was not begun
        transport = self._context.transport
        with transport.lock:
            if transport.spawns.pop(self._request, None) is not None:
                transport.tell(Cancel(self._request))
        self._reset()

    def _ask(self) -> None:
        image: Any = self._context.image
        call = dump_call(image, self._start_function, self._args, self._kwargs)
        self._parts = [environment.difference(image), *call]
        transport = self._context.transport
        with transport.lock:
            try:
                transport.prepare()  # since the process gets its closure over a connection
            except OSError as error:
                raise SpawnError(f"no process can be made: {explained(error)}") from None
            self._request = next(_requests)
            transport.spawns[self._request] = self
            needs = self._resources
            transport.tell(
                Spawn(self._request, int(needs.mem), float(needs.cpu), self._wait_for_room)
            )

    # -- the replies

    def placed(self, pid: Pid) -> None:
        """The process exists: send it the closure.

        Another one, if the first is dead, and has done nothing.
        """
        if self._pid == pid:
            return  # a repeated answer
        self._pid = pid
        transport = self._context.transport
        peer = transport.peer(pid)
        stream = peer.link.outbound(_STREAM)
        stream.open("", "raw")
        stream.push(list(self._parts), 1, sum(map(len, self._parts)))
        stream.close()
        transport.transmit(peer)
        transport.released(peer)

    def spawned(self) -> None:
        """The process has the closure."""
        self._parts = []
        self._ready = True
        self._wake()

    def refused(self, kind: str, message: str) -> None:
        """There will be no process."""
        error = getattr(constellation.errors, kind, SpawnError)
        if not issubclass(error, SpawnError):
            error = SpawnError
        if error is NoCapacity and not message:
            message = "no room for the process"
        self._error = error(message)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.notify()


class _FromSpawner(Operation[None]):
    """In a new process: what it waits for before it runs."""

    __slots__ = ("_transport", "_waiter")

    def __init__(self, transport: Transport) -> None:
        self._started = False
        self._transport = transport
        self._waiter: Waiter | None = None

    def _describe(self) -> str:
        return "starting"

    def _waits(self) -> Waits:
        return self._transport.reactor

    def _enlist(self, waiter: Waiter) -> bool:
        self._waiter = waiter
        return True

    def _delist(self, waiter: Waiter) -> None:
        self._waiter = None


class _Closure(_FromSpawner):
    """Done when the closure has come."""

    __slots__ = ("_mailbox", "parts")

    def __init__(self, transport: Transport, mailbox: Mailbox) -> None:
        super().__init__(transport)
        self._mailbox = mailbox
        self.parts: list[Buffer] = []

    def _attempt(self) -> bool:
        mailbox = self._mailbox
        with self._transport.lock:
            message = next((item for item in mailbox.items if type(item) is Message), None)
            if message is None:
                return False
            message.stream.consumed(message.weight)
            self.parts, message.parts = message.parts, []
            mailbox.items.clear()
            mailbox.owner = None
            self._transport.acknowledge(mailbox.peer)
            return True

    def _enlist(self, waiter: Waiter) -> bool:
        self._mailbox.waiters.append(waiter)
        return True

    def _delist(self, waiter: Waiter) -> None:
        if waiter in self._mailbox.waiters:
            self._mailbox.waiters.remove(waiter)


class _Acceptance(_FromSpawner):
    """Done when the spawner has accepted this process."""

    __slots__ = ("_accepted",)

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._accepted = False

    def go(self) -> None:
        """It has. The lock is held."""
        self._accepted = True
        if self._waiter is not None:
            self._waiter.notify()

    def _attempt(self) -> bool:
        return self._accepted


def _start(transport: Transport) -> None:
    """Start the transport, and say whether this process can run. If it cannot, it ends."""
    try:
        transport.start()
    except OSError as error:
        transport.tell(Unable(explained(error)))
        os._exit(1)
    with transport.lock:
        transport.tell(Ready())


def receive(context: Context, image: Image, parent: Pid) -> Callable[[], object]:
    """In a new process: wait for what it was spawned for. Starts the transport.

    Returns:
        What to call.
    """
    transport = context.transport
    acceptance = _Acceptance(transport)
    with transport.lock:
        mailbox = transport.inlet(transport.peer(parent), _STREAM)
        assert isinstance(mailbox, Mailbox)
        mailbox.owner = object()
        transport.on_go = acceptance.go
    closure = _Closure(transport, mailbox)
    closure.block()
    _start(transport)
    acceptance.block()
    difference, *call = closure.parts
    environment.apply(difference, image)
    start, args, kwargs = load_call(call, image)
    # No frame of ours between the caller and what it is to call.
    return functools.partial(start, parent, *args, **kwargs)
