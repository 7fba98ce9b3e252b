"""Operations: what ``spawn``, ``send`` and ``recv`` return.

An operation is a description of something that may have to wait. It starts when it is awaited or
blocked on, and it runs once. Every kind of operation says how to *attempt* itself without waiting;
this module has the one way to wait around that: blocking, awaiting, :func:`select` and
:func:`join` differ in who is woken, not in what they do.

The order of events that makes cancellation safe: being woken is only a hint. What is taken or given
(a value, a place in a window, a process) is taken by ``_attempt`` in the thread or task that asked,
after it woke, and nothing can cancel it between that and the return. So an operation that timed
out, was cancelled or lost a ``select`` has done nothing.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections import deque
from collections.abc import Callable, Generator, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NoReturn, Protocol, TypeVar

from constellation.awaited import Awaited, all_of, any_of
from constellation.deadline import Deadline
from constellation.errors import ConstellationError

if TYPE_CHECKING:
    import asyncio

__all__ = ["Examination", "Operation", "Waiter", "Waits", "join", "select", "without_internals"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_getframe = sys._getframe
_random = random.Random().random  # not the user's, who may have seeded that
_PACKAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


class Waiter(Protocol):
    """Somebody who waits: a blocked thread or a suspended task."""

    def notify(self) -> None:
        """Wake: something that was waited for may have happened. Takes no lock, never waits."""


class Waits(Protocol):
    """What a process waits with; the transport implements it."""

    def wait_blocking(self, operation: Operation[Any], deadline: Deadline) -> bool:
        """Attempt and wait until done (True) or until the deadline passed (False)."""

    def wait_async(self, operation: Operation[Any]) -> Generator[asyncio.Future[None], None, None]:
        """Attempt and suspend the current task until done."""


class Examination(Protocol):
    """Asks what the operations of a process wait for. The transport's lock is held."""

    def is_full(self, peer: Any, stream: Any) -> bool:
        """Whether a stream is certain to have no more room than is known here."""


class Operation(Generic[T_co]):
    """Something that may have to wait: ``await`` it, or ``block()`` on it, once.

    Made by ``spawn``, ``send``, ``recv`` and their like, never directly. One that is dropped
    without having been started gives a ``RuntimeWarning`` that names the line that made it.
    """

    __slots__ = ("_code", "_lasti", "_started")

    _code: CodeType
    _lasti: int  # set last: one that has it was made completely
    _started: bool | None  # None: it was, and has done nothing; it may be again
    # An operation is of its kind's class from when it is started. Until then it is of a subclass,
    # which says that it was not, and whose finalizer warns. Started ones have none: an interrupt
    # that comes in a finalizer is lost.
    _kind: ClassVar[type[Any]]
    _fresh: ClassVar[type[Any]]
    # Whether it is still enlisted when its waiter was notified. Most waits end then.
    _stays: ClassVar[bool] = False
    # The result, once an attempt succeeded. Whatever has one has a slot for it.
    _value: Any = None

    def block(self, timeout: float | None = None) -> T_co:
        """Run the operation from ordinary code and give its result.

        Args:
            timeout: The most seconds to wait; None waits for as long as it takes.

        Raises:
            TimeoutError: The time passed first; the operation has done nothing.
            RuntimeError: The operation was already started.
            ConstellationError: What the operation itself raises.
        """
        if self._started:
            self._refuse()
        self._start()
        try:
            if not self._attempt():
                self._block(timeout)
            result: T_co = self._value
            return result
        except ConstellationError as error:
            raise without_internals(error) from error.__cause__
        except BaseException:  # of whatever kind a signal handler's is
            # An interrupt may have come where nobody waits yet, or any more.
            self._abandon()
            raise

    def __await__(self) -> Generator[asyncio.Future[None], None, T_co]:
        if self._started:
            self._refuse()
        self._start()
        try:
            if not self._attempt():
                yield from self._waits().wait_async(self)
            result: T_co = self._value
            return result
        except ConstellationError as error:
            raise without_internals(error) from error.__cause__

    def _block(self, timeout: float | None) -> None:
        deadline = Deadline.NEVER if timeout is None else Deadline.after(timeout)
        if not self._waits().wait_blocking(self, deadline):
            raise TimeoutError(f"{self._describe()} did not complete within {timeout:g} seconds")

    # -- the rules of starting

    def __init_subclass__(cls) -> None:
        own = vars(cls)
        if "__del__" not in own:
            cls._kind = cls
            body = {"__slots__": (), "__module__": cls.__module__, "__del__": _warn}
            body["_started"] = False
            if "_block_fresh" in own:
                body["block"] = own["_block_fresh"]
            cls._fresh = type(cls.__name__, (cls,), body)

    def _make(self, depth: int) -> None:
        """Note the line that makes this operation: the frame ``depth`` calls above the caller."""
        frame = _getframe(depth + 1)
        self.__class__ = self._fresh
        self._code = frame.f_code
        self._lasti = frame.f_lasti

    def _start(self) -> None:
        """From here on it was started."""
        self.__class__ = self._kind
        self._started = True

    def _refuse(self) -> NoReturn:
        raise RuntimeError(f"{self._describe()} was already started: an operation runs once")

    def _line(self) -> int:
        for start, end, line in self._code.co_lines():
            if start <= self._lasti < end and line is not None:
                return line
        return self._code.co_firstlineno

    def __repr__(self) -> str:
        state = "started" if self._started else "not started"
        return f"<{self._describe()} made at {self._code.co_filename}:{self._line()}, {state}>"

    def __reduce__(self) -> NoReturn:
        # Who sends one has most often forgotten to wait for it.
        raise TypeError(
            f"cannot pickle the operation {self._describe()}: "
            "its result is what block() or await gives"
        )

    # -- what each kind of operation defines

    def _describe(self) -> str:
        """The call that made this operation, for messages: ``send() to 3fecd01``."""
        raise AssertionError("an operation describes itself")

    def _waits(self) -> Waits:
        """What to wait with."""
        raise AssertionError("an operation knows its process's transport")

    def _attempt(self) -> bool:
        """Complete without waiting, if that is possible now; raise what the operation raises."""
        raise AssertionError("an operation can be attempted")

    def _enlist(self, waiter: Waiter) -> bool:
        """Have ``waiter`` notified when an attempt may succeed. The transport's lock is held.

        Returns:
            Whether an attempt may succeed now; False saves it.
        """
        raise AssertionError("an operation can be waited for")

    def _delist(self, waiter: Waiter) -> None:
        """Undo ``_enlist``, also if that was undone. The transport's lock is held."""
        raise AssertionError("an operation can be waited for")

    def _undo(self) -> bool:
        """Give back what a successful attempt took; False if that cannot be done."""
        return False

    def _abandon(self) -> None:
        """Undo what waiting began: at a timeout, a cancellation or a lost ``select``.

        It may be called again, and when nothing was begun.
        """

    def _queue(self) -> object:
        """What this takes its turn at: of several operations with the same, the first is first.

        They are notified alike, so one of them that is enlisted is enough.
        """
        return self

    def _awaited(self, examination: Examination) -> Awaited | None:
        """What this waits for; None where that is not certain, or comes by itself.

        The transport's lock is held, and a thread or task waits for this that was not notified.
        """
        return None


def _warn(unstarted: Operation[Any], *, warn: Callable[..., None] = warnings.warn_explicit) -> None:
    """The finalizer of operations that were not started.

    One that a global holds comes here when the interpreter has emptied modules, this one too: so it
    uses none of its globals.
    """
    if not hasattr(unstarted, "_lasti"):
        return  # its maker did not come to its end
    warn(
        f"{unstarted._describe()} was never awaited nor blocked on",
        RuntimeWarning,
        unstarted._code.co_filename,
        unstarted._line(),
    )


def without_internals(error: ConstellationError) -> ConstellationError:
    """An error as its user sees it: where it came up in the library is nothing to them."""
    cause = error.__cause__
    if cause is not None:
        trace = cause.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            trace = trace.tb_next
        cause.__traceback__ = trace
    return error.with_traceback(None)


class _Combined(Operation[T_co]):
    """Several operations as one."""

    __slots__ = ("_begun", "_failed", "_name", "_operations", "_value")

    def __init__(self, name: str, operations: Sequence[Operation[Any]]) -> None:
        self._started = True  # silent if the next lines raise
        self._name = name
        for index, operation in enumerate(operations):
            if not isinstance(operation, Operation):
                raise TypeError(
                    f"{name}() takes operations, such as receiver.recv(); "
                    f"argument {index} is {type(operation).__name__}"
                )
        if len(set(map(id, operations))) < len(operations):
            raise ValueError(f"{name}() was given the same operation twice")
        self._operations = list(operations)
        self._failed: int | None = None
        self._begun = False
        self._make(3)

    def _describe(self) -> str:
        return f"{self._name}() of {len(self._operations)} operations"

    def _waits(self) -> Waits:
        return self._operations[0]._waits()

    def _begin(self) -> None:
        """Start the operations, before the first of them is attempted."""
        waiting = self._waiting()
        for operation in waiting:
            if operation._started:
                operation._refuse()
        self._begun = True
        for operation in waiting:
            operation._start()
            if isinstance(operation, _Combined):
                operation._begin()

    def _waiting(self) -> list[Operation[Any]]:
        """Those that have not completed."""
        return self._operations

    def _try(self, index: int) -> bool:
        """Attempt one of the operations; an error says which it was."""
        try:
            return self._operations[index]._attempt()
        except Exception as error:
            self._failed = index
            self._release()
            error.index = index  # type: ignore[attr-defined]
            raise

    def _release(self, *used: int) -> None:
        """Give the operations that did nothing back: they may be used again."""
        for index, operation in enumerate(self._operations):
            if index not in used and index != self._failed and operation._started:
                operation._abandon()
                operation._started = None

    def _abandon(self) -> None:
        self._release()
        self._begun = False


class _Select(_Combined["tuple[int, Any]"]):
    __slots__ = ()

    def __init__(self, operations: Sequence[Operation[Any]]) -> None:
        if not operations:
            self._started = True
            raise ValueError("select() needs at least one operation")
        super().__init__("select", operations)

    def _attempt(self) -> bool:
        if not self._begun:
            self._begin()
        count = len(self._operations)
        # A random first one: no operation that can always complete starves the others.
        first = int(_random() * count)
        for step in range(count):
            index = (first + step) % count
            if self._try(index):
                self._value = index, self._operations[index]._value
                self._release(index)
                return True
        return False

    def _enlist(self, waiter: Waiter) -> bool:
        maybe = False
        for operation in self._operations:
            maybe = operation._enlist(waiter) or maybe
        return maybe

    def _delist(self, waiter: Waiter) -> None:
        for operation in self._operations:
            operation._delist(waiter)

    def _awaited(self, examination: Examination) -> Awaited | None:
        return any_of([operation._awaited(examination) for operation in self._operations])


class _Turn:
    """Operations of a join that take their turns at the same thing: one waits for all of them.

    Attributes:
        left: The indices of those that have not completed, in order.
        notified: Whether an attempt of the first may succeed.
    """

    __slots__ = ("_enlisted", "_waiter", "left", "notified")

    def __init__(self) -> None:
        self.left: deque[int] = deque()
        self.notified = True
        self._enlisted: Operation[Any] | None = None
        self._waiter: Waiter | None = None

    def enlist(self, operation: Operation[Any], waiter: Waiter) -> None:
        self._waiter = waiter
        self._enlisted = operation
        if operation._enlist(self):
            self.notified = True

    def delist(self) -> None:
        if self._enlisted is not None:
            self._enlisted._delist(self)
        # A waiter refers to the join. What is dropped after that is freed at once, as users expect
        # of a Receiver, and not when the garbage collector comes by.
        self._enlisted = self._waiter = None

    def notify(self) -> None:
        self.notified = True
        if self._waiter is not None:
            self._waiter.notify()


class _Join(_Combined["list[Any]"]):
    """Done when all are.

    Once it waits, only those are attempted that were notified since, and they stay enlisted: of a
    thousand operations that complete one by one each is attempted two or three times, and not a
    thousand times.
    """

    __slots__ = ("_done", "_turns")

    _stays = True

    def __init__(self, operations: Sequence[Operation[Any]]) -> None:
        super().__init__("join", operations)
        self._done: dict[int, None] = {}  # in the order in which they completed
        self._turns: list[_Turn] = []

    def _waiting(self) -> list[Operation[Any]]:
        return [one for index, one in enumerate(self._operations) if index not in self._done]

    def _begin(self) -> None:
        super()._begin()
        turns: dict[object, _Turn] = {}
        for index, operation in enumerate(self._operations):
            if index not in self._done:
                turns.setdefault(operation._queue(), _Turn()).left.append(index)
        self._turns = list(turns.values())

    def _attempt(self) -> bool:
        if not self._begun:
            self._begin()
        for turn in self._turns:
            if turn.notified:
                # Before it is attempted: it is notified again of what comes from here on.
                turn.notified = False
                self._take(turn.left)
        if len(self._done) < len(self._operations):
            return False
        self._value = [operation._value for operation in self._operations]
        return True

    def _take(self, left: deque[int]) -> None:
        """Complete those that can be, until one cannot: what came since is not for the next."""
        while left and self._try(left[0]):
            self._done[left[0]] = None
            left.popleft()

    def _release(self, *used: int) -> None:
        super()._release(*used, *self._done)
        for index in reversed(list(self._done)):
            operation = self._operations[index]
            if operation._undo():
                del self._done[index]
                operation._started = None

    def _enlist(self, waiter: Waiter) -> bool:
        for turn in self._turns:
            if turn.left:
                turn.enlist(self._operations[turn.left[0]], waiter)
        return any(turn.notified for turn in self._turns)

    def _delist(self, waiter: Waiter) -> None:
        for turn in self._turns:
            turn.delist()

    def _awaited(self, examination: Examination) -> Awaited | None:
        return all_of([operation._awaited(examination) for operation in self._waiting()])


def select(*operations: Operation[Any]) -> Operation[tuple[int, Any]]:
    """An operation giving ``(index, value)`` of the first of several that completes.

    Fair among several that could. The others have consumed nothing and may be used again. If one
    fails, its error is raised, with ``error.index`` saying which.

    Raises:
        ValueError: No operation was given, or one twice.
        TypeError: An argument is not an operation.
    """
    return _Select(operations)


def join(*operations: Operation[Any]) -> Operation[list[Any]]:
    """An operation giving the results of several, in the order they were given.

    If one fails, its error is raised, with ``error.index`` saying which. After that, a timeout or
    a cancellation, what was received is there to be received again, what was sent stays sent, and
    the operations that had not completed may be used again.

    Raises:
        ValueError: An operation was given twice.
        TypeError: An argument is not an operation.
    """
    return _Join(operations)
