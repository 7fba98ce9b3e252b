"""The sending end of a channel."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from constellation.awaited import Awaited, AwaitsWindow
from constellation.channel import context
from constellation.channel.makefile import SenderFile
from constellation.channel.outlet import Outlet, Packed
from constellation.channel.types import Typed
from constellation.errors import ChannelError, ConstellationError, WouldBlock
from constellation.operation import Examination, Operation, Waiter, Waits, without_internals
from constellation.transport.lock import stay_at_exit

if TYPE_CHECKING:
    import asyncio
    from types import TracebackType

    from constellation.pid import Pid

__all__ = ["Sender"]

_getframe = sys._getframe

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

CODECS = ("pickle", "raw", "json", "msgpack")


class Sender(Generic[T_contra]):
    """The end of a channel that values are sent into.

    Returns at once and connects when it is first needed. `Sender[int](pid)` says what is sent; the
    other end checks that it expects the same.

    Args:
        remote: The process to send to.
        name: Which of the channels to it.
        codec: How values become bytes: `pickle`, `raw` (bytes only), `json` or `msgpack`.

    Raises:
        ChannelError: There is a Sender to this process of this name already, or the process is this
            one.
        ValueError: The codec is unknown.
        InitError: `init()` was not called yet.
    """

    __slots__ = ("__weakref__", "_name", "_outlet", "_token", "_transport", "remote_pid")

    if not TYPE_CHECKING:

        def __class_getitem__(cls, item: Any) -> Typed:
            return Typed(cls, item)

    def __init__(
        self, remote: Pid, *, name: str = "", codec: str = "pickle", _type: str = ""
    ) -> None:
        if codec not in CODECS:
            raise ValueError(f"codec is one of {', '.join(CODECS)}, not {codec!r}")
        here = context.current()
        transport = here.transport
        check_remote("Sender", remote, name, transport.pid)
        with transport.lock:
            transport.run_deferred()
            peer = transport.peer(remote)
            outlet = peer.outlets.get(name)
            if outlet is None:
                outlet = peer.outlets[name] = Outlet(here, peer, name)
            assert isinstance(outlet, Outlet)
            if outlet.owner is not None:
                raise_in_use("Sender", "to", remote, name)
            self._token = object()
            outlet.open(self._token, _type, codec)
        self.remote_pid = remote
        self._name = name
        self._outlet = outlet
        self._transport = transport

    @property
    def name(self) -> str:
        """The name of the channel."""
        return self._name

    def send(self, value: T_contra) -> Operation[None]:
        """An operation that sends a value.

        It takes the value when it starts: what becomes of it later is not seen by the receiver. It
        is done when the value is in the channel's window, and waits while that is full.

        Raises (when it runs):
            SerializationError: The value cannot be encoded.
            ProcessExited: The process at the other end is gone.
            ChannelError: This Sender was closed.
        """
        # What `_make` does is done here: this is done for each value.
        operation: _Send = _new(_fresh_send)
        frame = _getframe(1)
        operation._sender = self
        operation._payload = value
        operation._code = frame.f_code
        operation._lasti = frame.f_lasti
        return operation

    def send_many(self, values: Iterable[T_contra]) -> Operation[None]:
        """An operation that sends all values of an iterable, in order, for less than one by one.

        Raises (when it runs):
            ConstellationError: As `send`.

        Whatever ends it early, an error of the iterable or a cancellation too, has as its
        attribute `sent` how many values had gone.
        """
        return _SendMany(self, values)

    def try_send(self, value: T_contra) -> None:
        """Send a value if that needs no waiting.

        Raises:
            WouldBlock: It would.
            ChannelError: As `send`.
        """
        send = _Send(self, value)
        if not (send._attempt() or (self._transport.look() and send._attempt())):
            send._abandon()
            raise WouldBlock(f"the window of the channel to pid {self.remote_pid} is full")

    def flush(self) -> Operation[None]:
        """An operation that is done when the remote runtime has received all that was sent.

        Raises (when it runs):
            ProcessExited: The process at the other end is gone.
        """
        return _Flush(self)

    def makefile(self) -> io.BufferedWriter:
        """A binary file that writes into this channel of bytes. Closing it closes the channel.

        Raises:
            ChannelError: The codec does not take bytes.
        """
        if self._outlet.codec not in ("pickle", "raw"):
            raise ChannelError(f"a file writes bytes, which the codec {self._outlet.codec!r} lacks")
        end = partial(self._outlet.close, self._token, by_file=True)
        return io.BufferedWriter(SenderFile(self, end), 64 << 10)  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the channel's end: the receiver is told, after everything that was sent."""
        self._outlet.close(self._token)

    def __enter__(self) -> Sender[T_contra]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Sender[T_contra]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        outlet = getattr(self, "_outlet", None)  # none if the constructor raised
        if outlet is not None and outlet.owner is self._token:
            token = self._token
            self._transport.defer(lambda: outlet.close_deferred(token))

    def __repr__(self) -> str:
        state = "" if self._outlet.owner is self._token else ", closed"
        return f"<Sender to {self.remote_pid}{f' {self._name!r}' if self._name else ''}{state}>"

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle a Sender: a channel belongs to the process that made it")


class _ToOutlet(Operation[None]):
    """An operation of a Sender."""

    __slots__ = ("_place", "_sender")

    _sender: Sender[Any]
    _place: _Place | None  # made only where it has to wait

    def _start(self) -> None:
        self.__class__ = self._kind
        self._started = True
        self._place = None

    def _waits(self) -> Waits:
        return self._sender._transport.reactor

    def _enlist(self, waiter: Waiter) -> bool:
        place = self._place
        if place is None:
            place = self._place = _Place()
        place.waiter = waiter
        return not place.queued or self._sender._outlet.may_admit(place)

    def _delist(self, waiter: Waiter) -> None:
        if self._place is not None:
            self._place.waiter = None

    def _awaited(self, examination: Examination) -> Awaited | None:
        sender, place = self._sender, self._place
        waits = place is not None and place.queued and sender._outlet.owner is sender._token
        if waits and sender._outlet.is_full(examination):
            return AwaitsWindow(sender.remote_pid.key)
        return None

    def _abandon(self) -> None:
        if self._place is not None and self._place.queued:
            self._sender._outlet.withdraw(self._place)
        self._place = None

    def _admit(self, packed: Packed | None) -> bool:
        """Send what found no room at first, or see to it that it waits.

        Where the process leaves, and has closed the Sender by that, a daemon thread stays in here.
        """
        place = self._place
        if place is None:
            place = self._place = _Place()
        if packed is not None:
            place.packed = packed
        try:
            if not self._sender._outlet.admit(place):
                return False
        except ChannelError:
            if self._sender._transport.leaving:
                stay_at_exit()
            raise
        place.packed = None
        return True

    def _put(self, value: object) -> bool:
        """Send a value, or see to it that it waits."""
        place = self._place
        if place is not None and place.packed is not None:
            return self._admit(None)
        sender = self._sender
        packed = sender._outlet.put(value, sender._token)
        return packed is None or self._admit(packed)


class _Place:
    """Where a value waits for its turn and for room.

    Attributes:
        packed: The value.
        queued: Whether it has a turn.
        waiter: Who is to be woken.
    """

    __slots__ = ("packed", "queued", "waiter")

    def __init__(self) -> None:
        self.packed: Packed | None = None
        self.queued = False
        self.waiter: Waiter | None = None

    def wake(self) -> None:
        """It may be its turn."""
        if self.waiter is not None:
            self.waiter.notify()


class _Send(_ToOutlet):
    __slots__ = ("_payload",)

    def __init__(self, sender: Sender[Any], payload: object) -> None:
        """One that is started already."""
        self._started = True
        self._sender = sender
        self._place = None
        self._payload = payload

    def _block_fresh(self, timeout: float | None = None) -> None:
        # As `block`, with `_start` and `_attempt`, in short: this is done for each value.
        self.__class__ = _Send
        self._started = True
        sender = self._sender
        try:
            packed = sender._outlet.put(self._payload, sender._token)
        except ConstellationError as error:
            raise without_internals(error) from error.__cause__
        if packed is not None:
            self._await_room(packed, timeout)

    def _await_room(self, packed: Packed, timeout: float | None) -> None:
        self._place = None
        try:
            if not self._admit(packed):
                self._block(timeout)
        except ConstellationError as error:
            raise without_internals(error) from error.__cause__
        except BaseException:  # a timeout or an interrupt: the value is not to be sent later
            self._abandon()
            raise

    def _describe(self) -> str:
        return f"send() to {self._sender.remote_pid}"

    def _attempt(self) -> bool:
        return self._put(self._payload)


_fresh_send = _Send._fresh
_new = object.__new__


class _SendMany(_ToOutlet):
    __slots__ = ("_held", "_holds", "_iterator", "_sent", "_values")

    def __init__(self, sender: Sender[Any], values: Iterable[object]) -> None:
        self._sender = sender
        self._place = None
        self._make(2)
        self._values = values
        self._iterator: Any = None
        self._held: object = None
        self._holds = False  # a value was taken from the iterator that is not sent yet
        self._sent = 0

    def _describe(self) -> str:
        return f"send_many() to {self._sender.remote_pid}"

    def block(self, timeout: float | None = None) -> None:
        try:
            super().block(timeout)
        except BaseException as error:
            self._note(error)
            raise

    def __await__(self) -> Generator[asyncio.Future[None], None, None]:
        try:
            yield from super().__await__()
        except BaseException as error:
            self._note(error)
            raise

    def _attempt(self) -> bool:
        try:
            if self._iterator is None:
                self._iterator = iter(self._values)
            if self._holds:
                if not self._put(self._held):
                    return False
                self._holds = False
                self._held = None
                self._sent += 1
            for value in self._iterator:
                if not self._put(value):
                    self._held = value
                    self._holds = True
                    return False
                self._sent += 1
        except BaseException as error:
            self._note(error)  # here too: it may be one of a select
            raise
        return True

    def _note(self, error: BaseException) -> None:
        error.sent = self._sent  # type: ignore[attr-defined]


class _Flush(_ToOutlet):
    __slots__ = ("_number",)

    def __init__(self, sender: Sender[Any]) -> None:
        self._sender = sender
        self._place = None
        self._make(2)
        self._number: int | None = None

    def _describe(self) -> str:
        return f"flush() to {self._sender.remote_pid}"

    def _attempt(self) -> bool:
        if self._number is None:
            self._number = self._sender._outlet.flush_all()
        return self._sender._outlet.delivered(self._number)

    def _enlist(self, waiter: Waiter) -> bool:
        self._sender._outlet.receipts.append(waiter)
        return True

    def _delist(self, waiter: Waiter) -> None:
        receipts = self._sender._outlet.receipts
        if waiter in receipts:
            receipts.remove(waiter)

    def _abandon(self) -> None:
        self._number = None

    def _awaited(self, examination: Examination) -> Awaited | None:
        return None  # the other runtime receives, whatever its process does


def check_remote(handle: str, remote: Pid, name: str, own: Pid) -> None:
    """Refuse what is no other process, or no name.

    Raises:
        TypeError: Of the wrong type.
        ChannelError: The process is this one.
    """
    from constellation.pid import Pid as PidClass

    if not isinstance(remote, PidClass):
        raise TypeError(f"{handle}() takes the Pid of a process, not {remote!r}")
    if not isinstance(name, str):
        raise TypeError(f"the name of a channel is a string, not {name!r}")
    if name.startswith("\0"):
        raise ValueError("names of channels that begin with a NUL are reserved")
    if remote.key == own.key:
        raise ChannelError(
            f"{handle}() called with process's own pid. "
            "A process cannot create a channel to itself."
        )


def raise_in_use(handle: str, direction: str, remote: Pid, name: str) -> None:
    """Refuse a second handle.

    Raises:
        ChannelError: Always.
    """
    named = f" named {name!r}" if name else ""
    error = ChannelError(
        f"{handle}() called for pid {remote} "
        f"when a {handle} {direction} this pid{named} already exists"
    )
    if sys.version_info >= (3, 11):  # the words above are documented
        error.add_note("Use that one, or give another channel a name=, the same at both ends.")
    try:
        raise error
    finally:
        del error  # it refers to this frame, and that to the caller's, who may drop the first one
