"""Who waits on the process's descriptors, and how waiting operations are woken.

One lock guards everything of the transport: socket, links, routes, mailboxes. Three kinds of
threads wait. The I/O thread waits when nobody else does, and always for timers. A thread blocked in
an operation takes that wait over (it becomes the *lead*), so that what arrives wakes it and nobody
else; further blocked threads sleep until their own operation may complete or the lead is handed to
them. A running asyncio loop with suspended operations has the descriptors among its own.

States of the wait (all under the lock):

=============  =====================  ==============================================
lead           loops with awaits      who is woken by input
=============  =====================  ==============================================
none           none                   the I/O thread (its poller is *armed*)
a thread       any                    that thread (and the loops)
none           some                   the loops; the I/O thread in their place if they do not come
=============  =====================  ==============================================

The I/O thread is armed only when there was no lead for a moment: a thread that blocks again and
again, as in a ping-pong, would have it woken each time for nothing. Input that is for a loop wakes
it too, but it looks only after a while whether the loop was there: one that is held up by a task,
or does not run any more, must not keep the process from receiving.

Whoever is woken services the transport under the lock, which notifies the waiters concerned.
A waiter is notified only under the lock, and goes to sleep only after it looked at its flag under
the lock: no wake-up is lost.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Generator
from functools import cached_property, partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from constellation.deadline import Deadline
from constellation.operation import Operation
from constellation.transport.descriptors import Poller, Wakeup
from constellation.transport.lock import ClosedLock, ForkedLock, Lock, refuse, stay_at_exit
from constellation.transport.spinning import Spinning

if TYPE_CHECKING:
    import asyncio

__all__ = ["Reactor"]

logger = logging.getLogger(__name__)

_get_ident = threading.get_ident

_LONGEST = 3600.0
"""The longest that anybody sleeps in one go, seconds: systems refuse larger timeouts."""

_LEAD_GRACE = 0.002
_LONGEST_GRACE = 0.008
_LOOP_GRACE = 0.05
_RECENT = 0.02
"""Seconds: since a thread has seen to the input after which the I/O thread waits for it; until it
looks for that, where threads have come again each time; that a loop has to come for its input; and
since when no thread has seen to the input for the I/O thread to look at that again by itself."""


class ThreadWaiter(msgspec.Struct, eq=False):  # made for each wait, in C
    """A thread blocked in an operation.

    Attributes:
        ident: The thread.
        operation: What it is blocked in.
        deadline: How long it waits at most.
        notified: Whether what it waits for may have happened.
        listed: Whether it may be enlisted with its operation.
        over: It waits no more, or is about to leave.
        beneath: The lead in the same thread, which a signal handler has interrupted that waits
            itself.
        gate: What it sleeps on, if it does.
        seen: When it was last examined, as the process counts that.
    """

    reactor: Reactor
    ident: int
    operation: Operation[Any]
    deadline: Deadline
    notified: bool = False
    listed: bool = False
    over: bool = False
    beneath: ThreadWaiter | None = None
    gate: threading.Lock | None = None
    seen: int = 0

    def notify(self) -> None:
        """Wake the thread. The lock is held."""
        # Also if it is notified already: the one who did that may have been interrupted.
        self.notified = True
        if self.reactor.lead is not self:
            self.open_gate()
        elif _get_ident() != self.ident:
            self.reactor.wake_lead()

    def close_gate(self) -> threading.Lock:
        """What to sleep on until it is opened."""
        gate = self.gate = threading.Lock()
        gate.acquire()
        return gate

    def open_gate(self) -> None:
        """Let the thread go on: it was notified, or may take the lead."""
        gate = self.gate
        if gate is not None:
            self.gate = None
            gate.release()


class LoopWaiter:
    """A task suspended in an operation."""

    __slots__ = ("_future", "_ident", "loop", "notified", "seen")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.seen = 0
        self._ident = _get_ident()
        self.notified = False
        self._future: asyncio.Future[None] | None = None

    def rearm(self) -> asyncio.Future[None]:
        """Be ready to be notified again. Gives what is done then."""
        self.notified = False
        if self._future is None:
            self._future = self.loop.create_future()
        return self._future

    def notify(self) -> None:
        """Resume the task. The lock is held."""
        if not self.notified:
            self.notified = True
            if _get_ident() == self._ident:
                self._resume()
            else:
                # A closed loop resumes nobody: its tasks are gone, whether they ended or not.
                with contextlib.suppress(RuntimeError):
                    self.loop.call_soon_threadsafe(self._resume)

    def _resume(self) -> None:
        future = self._future
        if future is not None and not future.done() and not self.loop.is_closed():
            # A future refers to the task until that has run, and a loop that was closed runs none.
            self._future = None
            future.set_result(None)


class Reactor:
    """Waits for the transport; see the module's text.

    Args:
        service: Called with the lock held and the descriptors that have input; does all there is to
            do and returns whether input is left.
        flush: Called with the lock held when a thread is about to wait.
        next_timer: Called with the lock held; when the service must be called next (monotonic
            seconds) or None.
    """

    def __init__(
        self,
        service: Callable[[Collection[int]], bool],
        flush: Callable[[], None],
        next_timer: Callable[[], float | None],
    ) -> None:
        self.lock: Any = Lock()
        self._service = service
        self._flush = flush
        self._next_timer = next_timer
        self._inner = Poller()  # the descriptors
        self._spinning = Spinning(self._inner.wait)  # the lead's
        self._outer = Poller()  # what the I/O thread waits on: the inner one and its own wake-up
        self._lead_wakeup = Wakeup()
        self._io_wakeup = Wakeup()
        self._inner.add(self._lead_wakeup.fileno())
        self._outer.add(self._inner.fileno())
        self._outer.add(self._io_wakeup.fileno())
        # All guarded by the lock:
        self.lead: ThreadWaiter | None = None
        self._sleeping: list[ThreadWaiter] = []
        self.suspended: dict[LoopWaiter, Operation[Any]] = {}
        self._armed = True
        self._led_at = 0.0  # when the last lead left
        self._grace = _LEAD_GRACE  # until the I/O thread looks whether another has come
        self._loop_at = 0.0  # when a loop came for input last
        self._left_at: float | None = None  # since when there is input that is left to the loops
        self._more = False
        self._io_due = 0.0  # when the I/O thread will look at the timers by itself
        self._stopping = False
        self._put_off: deque[Callable[[], None]] = deque()  # for the I/O thread
        self._started = False
        self._ended = threading.Lock()  # free when the I/O thread has come to its end
        self._ended.acquire()

    def watch(self, fd: int) -> None:
        """Add a descriptor whose input the service handles."""
        self._inner.add(fd)

    def unwatch(self, fd: int) -> None:
        """Leave a descriptor out from now on."""
        self._inner.remove(fd)

    def start(self) -> None:
        """Start the I/O thread.

        Without the objects of `threading`: nobody needs them, and each process would make them
        with pages of its own, and wait until the thread has said that it runs.

        Raises:
            OSError: The system has no more threads.
        """
        try:
            # Together, as far as signal handlers can tell: nothing comes between the two.
            self._started = True
            _thread.start_new_thread(self._run, ())
        except RuntimeError as error:
            self._started = False
            raise OSError(errno.EAGAIN, str(error)) from None

    def stop(self) -> None:
        """End the I/O thread, and close what the reactor opened.

        Daemon threads that wait stay where they are, as at the end of any Python process.
        """
        with self.lock:
            self._stopping = True
            self._io_wakeup.set()
        if self._started:
            self._ended.acquire()
        # For good: who waits for it stays there too.
        self.lock.__enter__()
        self.lock = ClosedLock()
        for closable in (self._outer, self._inner, self._lead_wakeup, self._io_wakeup):
            closable.close()

    def after_fork(self) -> None:
        """In a forked child: make every later use raise instead of touching anything."""
        self.lock = ForkedLock()

    # -- who waits

    def blocked(self) -> list[ThreadWaiter]:
        """The threads that are blocked, or about to be. The lock is held."""
        found = list(self._sleeping)
        lead = self.lead
        while lead is not None:
            if not lead.over:
                found.append(lead)
            lead = lead.beneath
        return found

    @property
    def descriptor(self) -> int:
        """What loops with suspended operations wait on."""
        return self._inner.fileno()

    # -- wake-ups

    def look_again(self) -> bool:
        """There may be input that no descriptor shows; says whether somebody will look for it soon.

        The lock is held.
        """
        if self.suspended:
            return False
        if self.lead is None:
            soon = not self._armed and monotonic() - self._led_at < _LEAD_GRACE
        else:
            soon = self.leads()
        if soon:
            self._more = True  # for the next lead, or for the I/O thread after the grace
        return soon

    def leads(self) -> bool:
        """Whether the calling thread is the one that waits on the descriptors. The lock is held."""
        return self.lead is not None and self.lead.ident == _get_ident()

    def looked(self, more: bool) -> None:
        """A thread that does not wait has taken what had arrived; says whether there may be more.

        It sends or asks again soon, most likely, and looks again then. Where nobody waits for input
        the I/O thread is not to be woken for each message meanwhile, only to take the processor and
        the interpreter from it: it comes after the grace. The lock is held.
        """
        if self.suspended or self.lead is not None:
            if more:
                self.wake_io()
            return
        self._more = more
        now = self._led_at = monotonic()
        if self._armed:
            self._arm(now)
            self.set_timer(now + _LEAD_GRACE)

    def wake_lead(self) -> None:
        """Have the thread that waits on the descriptors look at its operation again."""
        self._lead_wakeup.set()

    def wake_io(self) -> None:
        """Have the I/O thread service the transport. From anywhere, without the lock."""
        self._io_wakeup.set()

    def put_off(self, action: Callable[[], None]) -> None:
        """Have the I/O thread do something, without the lock. From anywhere, without the lock."""
        self._put_off.append(action)
        self._io_wakeup.set()

    def set_timer(self, when: float) -> None:
        """See that the service is called by ``when``. The lock is held."""
        if when < self._io_due:
            self._io_due = when
            self._io_wakeup.set()

    # -- the I/O thread

    def _run(self) -> None:
        try:
            self._serve_until_stopped()
        finally:
            self._ended.release()

    def _serve_until_stopped(self) -> None:
        woken = False  # by input
        while True:
            self._do_put_off()
            with self.lock:
                if self._stopping:
                    return
                try:
                    if not self._leave_to_loops(woken):
                        self._serve(self._inner.wait(0))
                except Exception:
                    # The one place where nobody else could be told. What failed is a defect, but
                    # the other channels of the process go on.
                    logger.exception("constellation-io: unexpected error")
                due = self._next_timer()
                now = monotonic()
                # First, since one that is disarmed here has to come back soon.
                self._arm(now)
                self._io_due = now + _LONGEST if due is None else due
                if self._armed:
                    self._grace = _LEAD_GRACE
                elif now - self._led_at < _RECENT:
                    self._io_due = min(self._io_due, now + self._grace)
                    self._grace = min(2 * self._grace, _LONGEST_GRACE)
                if self._left_at is not None:
                    self._io_due = min(self._io_due, self._left_at + _LOOP_GRACE)
                timeout = 0.0 if self._more and self._armed else min(self._io_due - now, _LONGEST)
            woken = self._inner.fileno() in self._outer.wait(max(timeout, 0.0))
            self._io_wakeup.clear()

    def _do_put_off(self) -> None:
        while self._put_off:
            action = self._put_off.popleft()
            try:
                action()
            except Exception:
                # As below: whoever put it off is long gone.
                logger.exception("constellation-io: unexpected error")

    def _leave_to_loops(self, woken: bool) -> bool:
        """Whether what there is to do is for a loop, as far as is known. The lock is held."""
        now = monotonic()
        since = self._left_at
        if since is not None and (not self.suspended or now >= since + _LOOP_GRACE):
            self._left_at = None
            left = bool(self.suspended) and self._loop_at > since
        else:
            left = woken and bool(self.suspended) and self.lead is None
            if left and since is None:
                self._left_at = now
        due = self._next_timer()
        return left and (due is None or due > now)

    def _serve(self, ready: Collection[int]) -> None:
        others = self.lead is not None and self.lead.ident != _get_ident()
        # The wake-up is the lead's: if somebody else took it, the lead would sleep on.
        if self._lead_wakeup.pending and not others:
            self._lead_wakeup.clear()
        self._more = self._service(ready)
        if self._more and others:
            self.wake_lead()  # which sleeps, and no descriptor need show what is left

    def _arm(self, now: float) -> None:
        """Decide whether the I/O thread is woken by input. The lock is held."""
        settled = self._left_at is None and now - self._led_at >= _LEAD_GRACE
        wanted = self.lead is None and settled
        if wanted != self._armed:
            self._armed = wanted
            self._outer.arm(self._inner.fileno(), wanted)
            if wanted and self._more:
                self._io_wakeup.set()

    # -- blocked threads

    def wait_blocking(self, operation: Operation[Any], deadline: Deadline) -> bool:
        """Attempt and wait until done (True) or until the deadline passed (False)."""
        waiter = ThreadWaiter(self, _get_ident(), operation, deadline)
        if self.lock.held():
            refuse()
        lock = self.lock.raw
        done = False
        try:
            with lock:
                waiter.listed = True
                maybe = operation._enlist(waiter)
                gate = None if maybe else self._take_place(waiter)
            while True:
                if maybe:
                    done = operation._attempt()
                    if done:
                        return True
                    with lock:
                        gate = self._take_place(waiter)
                if gate is None:
                    self._wait_leading(operation, waiter, deadline)
                if not waiter.notified and not self._wait(operation, waiter, gate, deadline):
                    return False
                # Before the attempt, which sees what is told of from here on.
                waiter.notified = False
                done = operation._attempt()
                if done:
                    return True
                with lock:
                    maybe = not waiter.listed
                    if maybe:
                        waiter.listed = True
                        maybe = operation._enlist(waiter)
                    gate = None if maybe else self._take_place(waiter)
        finally:
            waiter.over = True
            if waiter.listed or self._sleeping or self.lead is waiter:
                with self.lock.raw:
                    if waiter.listed:
                        operation._delist(waiter)
                    self._gone(waiter)
            if not done:
                operation._abandon()

    def _gone(self, waiter: ThreadWaiter) -> None:
        """A thread waits no more. An interrupt may have kept it from leaving its place."""
        if waiter in self._sleeping:
            self._sleeping.remove(waiter)
            if self.lead is None:
                self._lead_left()
        elif self.lead is waiter:
            self._more = True  # what it was about to do
            self._lead_left(waiter)

    def _wait(
        self,
        operation: Operation[Any],
        waiter: ThreadWaiter,
        gate: threading.Lock | None,
        deadline: Deadline,
    ) -> bool:
        """Wait until notified (True) or until the deadline passed (False)."""
        limit = deadline.at
        while True:
            if gate is not None:
                self._wait_sleeping(waiter, gate, deadline)
            if waiter.notified:
                return True
            if limit is not None and monotonic() >= limit:
                return False
            with self.lock.raw:
                gate = self._take_place(waiter)
            if gate is None:
                self._wait_leading(operation, waiter, deadline)

    def _take_place(self, waiter: ThreadWaiter) -> threading.Lock | None:
        """Take the lead, or give what to sleep on; neither if it was notified. The lock is held.

        None is for `_wait_leading`, which does nothing where it was notified.
        """
        self._flush()
        lead = self.lead
        if lead is None:
            if self._more:
                self._serve(())
            if waiter.notified:
                return None
            self.lead = waiter
        elif waiter.notified:
            return None
        elif lead.over or lead.ident == waiter.ident:
            if lead is not waiter:
                # One that is over is one that an interrupt kept from leaving.
                waiter.beneath = None if lead.over else lead
            self.lead = waiter
        else:
            gate = waiter.close_gate()
            self._sleeping.insert(self._place_of(waiter), waiter)
            return gate
        if self._armed:
            self._arm(0.0)
        return None

    def _place_of(self, waiter: ThreadWaiter) -> int:
        """Its place among those who sleep.

        Before what it has interrupted in its own thread, which could not take the lead before it.
        """
        idents = [each.ident for each in self._sleeping]
        return idents.index(waiter.ident) if waiter.ident in idents else len(idents)

    def _wait_leading(
        self, operation: Operation[Any], waiter: ThreadWaiter, deadline: Deadline
    ) -> None:
        limit = deadline.at
        wanted = None
        lock = self.lock.raw
        try:
            while not waiter.notified:
                if limit is not None:
                    wanted = min(limit - monotonic(), _LONGEST)
                    if wanted <= 0:
                        return
                ready = () if self._more else self._spinning.wait(wanted)
                with lock:
                    if self._lead_wakeup.pending:
                        self._lead_wakeup.clear()
                    self._more = self._service(ready)
                    if waiter.notified:
                        if not operation._stays:
                            # It is enlisted again if it has to wait again.
                            operation._delist(waiter)
                            waiter.listed = False
                        self._lead_left(waiter)
        except BaseException:  # an interrupt, of whatever kind
            if self._stopping:
                stay_at_exit()  # what it waited on was closed
            self._more = True  # what it was doing when it was interrupted
            raise
        finally:
            if self.lead is waiter:
                with self.lock.raw:
                    self._lead_left(waiter)

    def _lead_left(self, waiter: ThreadWaiter | None = None) -> None:
        """Nobody waits on the descriptors: have the next one do it. The lock is held.

        Who is interrupted in here has the lead still, and leaves it again.
        """
        beneath = None if waiter is None else waiter.beneath
        if beneath is not None:
            # It waits on the descriptors, and may have what it waits for, or input left to take.
            self.wake_lead()
        elif self._sleeping:
            self._sleeping[0].open_gate()
        else:
            self._let_wait()
        self.lead = beneath

    def _let_wait(self) -> None:
        """Nobody waits for input: leave that to the I/O thread, after the grace. The lock is held.

        Each time as much of it, or one who comes again and again would wake that thread each time.
        """
        now = self._led_at = monotonic()
        self.set_timer(now + self._grace)

    def _wait_sleeping(
        self, waiter: ThreadWaiter, gate: threading.Lock, deadline: Deadline
    ) -> None:
        remaining = deadline.remaining()
        try:
            gate.acquire(timeout=-1 if remaining is None else min(remaining, _LONGEST))
        finally:
            with self.lock:
                self._sleeping.remove(waiter)
                # It may have been this one that was to take the lead, and be leaving now. If it
                # is not, the other one finds the lead taken and sleeps again.
                if self.lead is None:
                    self._lead_left()

    # -- asyncio

    def wait_async(self, operation: Operation[Any]) -> Generator[asyncio.Future[None], None, None]:
        """Attempt and suspend the current task until done."""
        from asyncio import get_running_loop  # imported by whoever awaits already

        loop = get_running_loop()
        waiter = LoopWaiter(loop)
        future = waiter.rearm()
        done = False
        with self.lock:
            maybe = operation._enlist(waiter)
            self._attach(loop)
            self.suspended[waiter] = operation
        try:
            while not done:
                if maybe:
                    future = waiter.rearm()
                    done = operation._attempt()
                maybe = True
                if not done:
                    self._flush_soon(loop)
                    yield from future
        finally:
            if self.lock.held():
                # A task that is dropped is ended by its finalizer, which runs anywhere.
                self.put_off(partial(self._end_await, operation, waiter, done))
            else:
                self._end_await(operation, waiter, done)

    def _end_await(self, operation: Operation[Any], waiter: LoopWaiter, done: bool) -> None:
        with self.lock:
            operation._delist(waiter)
            del self.suspended[waiter]
            if not self.suspended:
                self._let_wait()
        if not done:
            operation._abandon()

    @cached_property
    def _loops(self) -> weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, bool]:
        """The loops that have the descriptors, and whether a flush is scheduled there."""
        return weakref.WeakKeyDictionary()

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop not in self._loops:
            self._loops[loop] = False
            loop.add_reader(self._inner.fileno(), self._loop_ready, loop)

    def _flush_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Flush once the loop has run what is ready: several sends share a frame."""
        if not self._loops[loop]:
            self._loops[loop] = True
            loop.call_soon(self._loop_flush, loop)

    def _loop_flush(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loops[loop] = False
        with self.lock:
            self._flush()

    def _loop_ready(self, loop: asyncio.AbstractEventLoop) -> None:
        with self.lock:
            if self._stopping:
                loop.remove_reader(self._inner.fileno())
                return
            self._loop_at = monotonic()
            self._serve(self._inner.wait(0))
            if self._more:
                loop.call_soon(self._loop_ready, loop)
