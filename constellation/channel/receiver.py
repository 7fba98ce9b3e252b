"""The receiving end of a channel."""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from constellation.awaited import Awaited, AwaitsValues
from constellation.channel import context
from constellation.channel.mailbox import Mailbox, Message, Opened
from constellation.channel.makefile import ReceiverFile
from constellation.channel.payload import Decoder, Undecodable
from constellation.channel.sender import check_remote, raise_in_use
from constellation.channel.types import Typed, matches
from constellation.deadline import Deadline
from constellation.errors import (
    ChannelClosed,
    ChannelError,
    ChannelTypeError,
    ConstellationError,
    ProcessExited,
    WouldBlock,
)
from constellation.operation import Examination, Operation, Waiter, Waits, without_internals
from constellation.transport.bulk import LONG, give_back
from constellation.transport.lock import refuse

if TYPE_CHECKING:
    from types import TracebackType

    from constellation.pid import Pid
    from constellation.transport.transport import Transport

__all__ = ["Receiver"]

_getframe = sys._getframe

T_co = TypeVar("T_co", covariant=True)

_NOTHING: deque[Any] = deque()


class Receiver(Generic[T_co]):
    """The end of a channel that values are taken from.

    Returns at once. `Receiver[int](pid)` says what is expected; a Sender of another type is an
    error, and what it sent stays for a Receiver of the right type.

    Args:
        remote: The process to receive from.
        name: Which of the channels from it.

    Raises:
        ChannelError: There is a Receiver from this process of this name already, or the process is
            this one.
        InitError: `init()` was not called yet.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_decoder",
        "_finished",
        "_mailbox",
        "_name",
        "_token",
        "_transport",
        "_type",
        "_values",
        "remote_pid",
    )

    if not TYPE_CHECKING:

        def __class_getitem__(cls, item: Any) -> Typed:
            return Typed(cls, item)

    def __init__(self, remote: Pid, *, name: str = "", _type: str = "") -> None:
        here = context.current()
        transport = here.transport
        check_remote("Receiver", remote, name, transport.pid)
        with transport.lock:
            transport.run_deferred()
            peer = transport.peer(remote)
            mailbox = transport.inlet(peer, name)
            assert isinstance(mailbox, Mailbox)
            if mailbox.owner is not None:
                raise_in_use("Receiver", "to", remote, name)
            self._token = mailbox.owner = object()
            mailbox.told = False
        self.remote_pid = remote
        self._name = name
        self._type = _type
        self._mailbox = mailbox
        self._transport = transport
        self._decoder = Decoder(here.image)
        self._closed = False
        self._finished = False
        self._values = _NOTHING  # those of the message that is being read

    @property
    def name(self) -> str:
        """The name of the channel."""
        return self._name

    def recv(self) -> Operation[T_co]:
        """An operation that gives the next value: in order, each exactly once.

        Raises (when it runs):
            ChannelClosed: The Sender was closed, and everything was received. Final for this
                Receiver.
            ProcessExited: The process at the other end has ended, and everything was received.
            ChannelTypeError: The Sender names another type. The value stays.
            SerializationError: The value cannot be decoded here. The next one can.
            ChannelError: This Receiver was closed.
        """
        # What `_make` does is done here: this is done for each value.
        operation: _Recv[T_co] = _new(_fresh_recv)
        frame = _getframe(1)
        operation._receiver = self
        operation._code = frame.f_code
        operation._lasti = frame.f_lasti
        return operation

    def try_recv(self) -> T_co:
        """The next value if one is there.

        Raises:
            WouldBlock: None is.
            ChannelError: As `recv`.
        """
        recv = _Recv(self)
        if not (recv._attempt() or (self._transport.look() and recv._attempt())):
            raise WouldBlock(f"nothing has come from pid {self.remote_pid}")
        value: T_co = recv._value
        return value

    def __iter__(self) -> Iterator[T_co]:
        return _Values(self)

    def __aiter__(self) -> AsyncIterator[T_co]:
        return _Values(self)

    def makefile(self) -> io.BufferedReader:
        """A binary file that reads this channel of bytes. Closing it closes the channel."""
        return io.BufferedReader(ReceiverFile(self), 64 << 10)  # type: ignore[arg-type]

    def close(self) -> None:
        """Close the channel's end. What was not received stays for the next Receiver."""
        self._closed = True
        self._values = _NOTHING
        transport = self._transport
        if transport.closed:
            return  # with the process
        if transport.lock.held():
            # A handler or a finalizer has interrupted this thread.
            transport.defer(partial(_release, transport, self._mailbox, self._token))
            return
        with transport.lock:
            _release(transport, self._mailbox, self._token)

    def __enter__(self) -> Receiver[T_co]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Receiver[T_co]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        mailbox = getattr(self, "_mailbox", None)  # none if the constructor raised
        if mailbox is not None and mailbox.owner is self._token:
            transport = self._transport
            if not transport.closed:  # at the end of the interpreter no global is left
                transport.defer(partial(_release, transport, mailbox, self._token))

    def __repr__(self) -> str:
        named = f" {self._name!r}" if self._name else ""
        return f"<Receiver from {self.remote_pid}{named}{', closed' if self._closed else ''}>"

    def __reduce__(self) -> Any:
        raise TypeError("cannot pickle a Receiver: a channel belongs to the process that made it")

    # -- for the operation

    def _take(self, recv: _Recv[Any]) -> bool | None:
        """Give an operation the value of the next message, if it has one.

        Returns:
            Whether there was a message; None if its values are in `_values` now.
        """
        mailbox, transport = self._mailbox, self._transport
        lock, guard = transport.lock, mailbox.guard
        if lock.held() or guard.held():
            refuse()  # before the guard: who has that may wait for the lock
        with guard.raw:
            if self._values:
                return None  # another thread was here
            with lock.raw:
                message = self._advance(mailbox)
                if message is None:
                    return False
                mailbox.reader = self._token
                if not message.taken:
                    message.taken = True
                    if message.stream.consumed(message.weight):
                        transport.acknowledge(mailbox.peer)
            values = message.values
            if values is None:
                codec = mailbox.codec
                if message.count == 1 and message.weight < LONG:
                    value = self._decoder.decode_one(message.parts, codec)
                    failed = type(value) is Undecodable
                    if failed:
                        self._blame(message, [value], codec)
                    # Taken by these lines together.
                    recv._value = value
                    message.parts = []
                    mailbox.items.popleft()
                    del value  # its error refers to this frame
                    if failed:
                        recv._fail()
                    return True
                decoded = self._decoder.decode(message.parts, message.count, codec)
                if Undecodable in map(type, decoded):
                    self._blame(message, decoded, codec)
                values = message.values = deque(decoded)
                parts, message.parts = message.parts, []
                del decoded
                give_back(parts)  # who is interrupted in this finds the values
            self._values = values
            return None

    def _blame(self, message: Message, decoded: list[Any], codec: str) -> None:
        """Raise what a signal handler raised while values were decoded, which are not to blame.

        Such a value can be decoded now. The message stays, for the next `recv`.
        """
        again = self._decoder.decode(message.parts, message.count, codec)
        pairs = zip(decoded, again)  # noqa: B905 - of one length
        # Nothing but this list keeps them: what was raised in decoding refers to this frame.
        errors = [one.error for one, two in pairs if _failed(one) and not _failed(two)]
        del decoded, again, pairs
        try:
            if errors:
                raise errors[0].__cause__ or errors[0]
        finally:
            del errors

    def _put_back(self, value: Any) -> None:
        """A value was taken, and is not wanted now."""
        mailbox = self._mailbox
        with mailbox.guard, self._transport.lock:
            mailbox.put_back(value)
            self._values = _NOTHING

    def _advance(self, mailbox: Mailbox) -> Message | None:
        """Go on to the next message. The lock is held."""
        if self._closed:
            raise ChannelError(f"recv() on a closed Receiver from pid {self.remote_pid}")
        if self._finished:
            self._raise_closed()
        items = mailbox.items
        while items:
            item = items[0]
            if type(item) is Message:
                if item.values is None or item.values:
                    if mailbox.type != self._type and not matches(mailbox.type, self._type):
                        raise ChannelTypeError(self._type, mailbox.type)
                    return None if item.missing else item
                items.popleft()
            elif isinstance(item, Opened):
                mailbox.type, mailbox.codec, mailbox.reader = item.type, item.codec, None
                items.popleft()
            else:
                told = mailbox.reader is None or mailbox.reader is self._token
                self._finished = told
                items.popleft()
                if told:
                    # Whoever comes next has no part in this Sender.
                    mailbox.reader = self._token
                    mailbox.told = True
                    self._raise_closed()
        if mailbox.over:
            raise ProcessExited(mailbox.peer.pid, mailbox.peer.status)
        return None

    def _raise_closed(self) -> NoReturn:
        raise ChannelClosed(self.remote_pid, self._name)


def _failed(value: Any) -> bool:
    return type(value) is Undecodable


class _Values(Generic[T_co]):
    """What a Receiver gives until its Sender is closed. It goes on after an error or a timeout."""

    __slots__ = ("_receiver",)

    def __init__(self, receiver: Receiver[T_co]) -> None:
        self._receiver = receiver

    def __iter__(self) -> _Values[T_co]:
        return self

    def __next__(self) -> T_co:
        try:
            return self._receiver.recv().block()
        except ChannelClosed:
            raise StopIteration from None

    def __aiter__(self) -> _Values[T_co]:
        return self

    async def __anext__(self) -> T_co:
        try:
            return await self._receiver.recv()
        except ChannelClosed:
            raise StopAsyncIteration from None


def _release(transport: Transport, mailbox: Mailbox, token: object) -> bool:
    """The handle with this token is closed. The lock is held. Says that it is done."""
    if mailbox.owner is token:
        mailbox.owner = None
        mailbox.wake()
    transport.released(mailbox.peer)
    return True


class _Recv(Operation[T_co]):
    __slots__ = ("_receiver", "_value")

    def __init__(self, receiver: Receiver[T_co]) -> None:
        """One that is started already."""
        self._started = True
        self._receiver = receiver

    def _block_fresh(self, timeout: float | None = None) -> T_co:
        # As `block`, with `_start` and `_attempt`, in short: this is done for each value.
        self.__class__ = _Recv
        self._started = True
        receiver = self._receiver
        values = receiver._values
        try:
            if values:
                try:
                    value: Any = values.popleft()
                except IndexError:
                    pass  # another thread has taken it
                else:
                    if type(value) is Undecodable:
                        self._value = value
                        del value
                        self._fail()
                    taken: T_co = value
                    return taken
            if self._attempt():
                pass
            elif timeout is None:
                receiver._transport.reactor.wait_blocking(self, Deadline.NEVER)
            else:
                self._block(timeout)
            result: T_co = self._value
            return result
        except ConstellationError as error:
            raise without_internals(error) from error.__cause__

    def _describe(self) -> str:
        return f"recv() from {self._receiver.remote_pid}"

    def _waits(self) -> Waits:
        return self._receiver._transport.reactor

    def _attempt(self) -> bool:
        receiver = self._receiver
        mailbox = receiver._mailbox
        while True:
            values = receiver._values
            if values:
                try:
                    self._value = values.popleft()
                except IndexError:
                    continue  # another thread has taken it
                if type(self._value) is Undecodable:
                    self._fail()
                return True
            if not (mailbox.items or mailbox.over or receiver._closed or receiver._finished):
                return False
            taken = receiver._take(self)
            if taken is not None:
                return taken

    def _fail(self) -> NoReturn:
        """Raise why the value could not be decoded, and let go of it.

        What was raised then refers to the frames of this operation's user. If this operation or one
        of its frames referred to that, the Receiver would not be closed when it is dropped.
        """
        failed, self._value = self._value, None
        raise failed.error

    def _undo(self) -> bool:
        self._receiver._put_back(self._value)
        return True

    def _queue(self) -> object:
        return self._receiver

    def _enlist(self, waiter: Waiter) -> bool:
        receiver = self._receiver
        mailbox = receiver._mailbox
        mailbox.waiters.append(waiter)
        return bool(mailbox.items) or mailbox.over or receiver._closed or receiver._finished

    def _delist(self, waiter: Waiter) -> None:
        waiters = self._receiver._mailbox.waiters
        if waiter in waiters:
            waiters.remove(waiter)

    def _awaited(self, examination: Examination) -> Awaited | None:
        receiver = self._receiver
        mailbox = receiver._mailbox
        peer = mailbox.peer
        more = mailbox.items or receiver._values or mailbox.over
        if more or receiver._closed or receiver._finished or peer.exit_known or peer.left:
            return None
        return AwaitsValues(peer.pid.key)


_fresh_recv = _Recv._fresh
_new = object.__new__
