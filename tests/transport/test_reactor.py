"""Who waits and who is woken, around a service of toys: bytes that come over socket pairs."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import pytest

from constellation.operation import Operation, Waiter, select
from constellation.transport.lock import ForkedLock
from constellation.transport.reactor import _LEAD_GRACE, _LONGEST_GRACE, Reactor


class Box:
    """What came on one socket pair, and who waits for it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.outside, self.inside = socket.socketpair()
        self.inside.setblocking(False)
        self.values: deque[int] = deque()
        self.waiters: list[Waiter] = []
        with service.reactor.lock:  # the I/O thread may be serving
            service.boxes[self.inside.fileno()] = self
        service.reactor.watch(self.inside.fileno())

    def put(self, value: int) -> None:
        self.outside.send(bytes([value]))

    def take(self) -> Operation[int]:
        return Take(self)


class Take(Operation[int]):
    __slots__ = ("_value", "box")

    def __init__(self, box: Box) -> None:
        self.box = box
        self._make(2)

    def _describe(self) -> str:
        return "take()"

    def _waits(self) -> Reactor:
        return self.box.service.reactor

    def _attempt(self) -> bool:
        try:
            self._value = self.box.values.popleft()
        except IndexError:
            return False
        return True

    def _enlist(self, waiter: Waiter) -> bool:
        self.box.waiters.append(waiter)
        return bool(self.box.values)

    def _delist(self, waiter: Waiter) -> None:
        if waiter in self.box.waiters:
            self.box.waiters.remove(waiter)


class Service:
    def __init__(self) -> None:
        self.boxes: dict[int, Box] = {}
        self.flushed = 0
        self.timer: float | None = None
        self.rang = threading.Event()
        self.threads: set[int] = set()  # that have served
        self.reactor = Reactor(self.serve, self.flush, lambda: self.timer)

    def serve(self, ready: Collection[int]) -> bool:
        self.threads.add(threading.get_ident())
        if self.timer is not None and self.timer <= time.monotonic():
            self.timer = None
            self.rang.set()
        for box in self.boxes.values():
            try:
                data = box.inside.recv(100)
            except BlockingIOError:
                continue
            box.values.extend(data)
            for waiter in box.waiters:
                waiter.notify()
        return False

    def flush(self) -> None:
        self.flushed += 1

    def box(self) -> Box:
        return Box(self)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    made.reactor.start()
    yield made
    made.reactor.stop()
    for box in made.boxes.values():
        box.outside.close()
        box.inside.close()


def eventually(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.002)


def in_thread(call: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(call()), name="blocked")
    thread.start()
    return thread, results


def test_input_is_served_when_nobody_waits(service: Service) -> None:
    box = service.box()
    for value in range(10):
        box.put(value)
        eventually(lambda expected=value: list(box.values) == [*range(expected + 1)])
    assert len(service.threads - {threading.get_ident()}) == len(service.threads) == 1


def test_input_is_left_to_a_thread_that_looks_itself_and_served_when_it_does_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough for the steps below to come within it where the processor is busy.
    monkeypatch.setattr("constellation.transport.reactor._LEAD_GRACE", 0.5)
    monkeypatch.setattr("constellation.transport.reactor._RECENT", 5.0)
    box = service.box()
    reactor = service.reactor
    for value in range(3):
        eventually(lambda: reactor._armed)
        service.threads.clear()
        with reactor.lock:
            assert not reactor.look_again(), "nobody looks soon: the I/O thread sleeps"
            reactor.looked(False)
            assert not reactor._armed, "the I/O thread sleeps on, whatever comes"
            assert reactor.look_again(), "this thread has just looked"
            box.put(value)
        eventually(lambda expected=value: list(box.values) == [*range(expected + 1)])
        assert threading.get_ident() not in service.threads


def test_what_is_left_after_a_look_is_served(service: Service) -> None:
    """As of a socket whose edge the thread has taken: no descriptor shows what is left."""
    reactor = service.reactor
    eventually(lambda: reactor._armed)
    served = threading.Event()

    def serve(ready: Collection[int]) -> bool:
        served.set()
        return False

    with reactor.lock:
        reactor._service = serve
        reactor.looked(True)
    assert served.wait(20)


def test_a_blocked_thread_serves_itself(service: Service) -> None:
    box = service.box()
    thread, results = in_thread(box.take().block)
    eventually(lambda: service.reactor.lead)
    service.threads.clear()
    box.put(5)
    thread.join()
    assert results == [5]
    assert thread.ident in service.threads
    assert service.flushed > 0, "batches leave before a thread waits"
    assert service.reactor.lead is None


def test_each_of_many_threads_gets_its_own(service: Service) -> None:
    boxes = [service.box() for _ in range(8)]
    for turn in range(30):
        blocked = [in_thread(box.take().block) for box in boxes]
        order = boxes[turn % 8 :] + boxes[: turn % 8]
        for box in order:
            box.put(boxes.index(box))
        for index, (thread, results) in enumerate(blocked):
            thread.join()
            assert results == [index]
    assert service.reactor.lead is None
    assert service.reactor._sleeping == []
    assert all(box.waiters == [] for box in boxes)


def test_what_the_io_thread_leaves_is_taken_by_the_lead(service: Service) -> None:
    """As of a socket whose edge the I/O thread has taken: no descriptor shows what is left."""
    box = service.box()
    hidden = [7]

    def serve(ready: Collection[int]) -> bool:
        service.serve(ready)
        if threading.get_ident() != thread.ident:
            return bool(hidden)
        while hidden:
            box.values.append(hidden.pop())
            for waiter in box.waiters:
                waiter.notify()
        return False

    thread, results = in_thread(box.take().block)
    eventually(lambda: service.reactor.lead)
    with service.reactor.lock:
        service.reactor._service = serve
        service.timer = time.monotonic()
        service.reactor.set_timer(service.timer)
    assert service.rang.wait(20), "the I/O thread has served"
    thread.join(5)
    box.put(0)  # for one that was not woken
    thread.join()
    assert results == [7]


def test_the_lead_hands_the_wait_on_when_its_time_is_over(service: Service) -> None:
    box, other = service.box(), service.box()

    def times_out() -> bool:
        try:
            other.take().block(timeout=0.1)
        except TimeoutError:
            return True
        return False

    first, timed = in_thread(times_out)
    eventually(lambda: service.reactor.lead)
    second, results = in_thread(box.take().block)
    eventually(lambda: service.reactor._sleeping)
    first.join()
    eventually(lambda: service.reactor.lead)  # the second
    box.put(3)
    second.join()
    assert (timed, results) == ([True], [3])


def test_many_threads_on_one_box_share_what_comes(service: Service) -> None:
    box = service.box()
    blocked = [in_thread(box.take().block) for _ in range(6)]
    for value in range(6):
        box.put(value)
    for thread, _ in blocked:
        thread.join()
    assert sorted(results[0] for _, results in blocked) == [*range(6)]


def test_timers_are_rung_whoever_waits(service: Service) -> None:
    box = service.box()
    for waits in (False, True):
        thread, results = in_thread(box.take().block) if waits else (None, [])
        if waits:
            eventually(lambda: service.reactor.lead)
        service.rang.clear()
        with service.reactor.lock:
            service.timer = time.monotonic() + 0.01
            service.reactor.set_timer(service.timer)
        assert service.rang.wait(20)
        if thread is not None:
            box.put(1)
            thread.join()
            assert results == [1]


def test_loops_and_threads_together(service: Service) -> None:
    box, other = service.box(), service.box()

    async def echo() -> list[int]:
        return [await box.take() for _ in range(50)]

    tasks, results = in_thread(lambda: asyncio.run(echo()))
    thread, values = in_thread(lambda: [other.take().block() for _ in range(50)])
    for value in range(50):
        box.put(value)
        other.put(100 + value)
        if value % 10 == 0:
            time.sleep(0.01)
    tasks.join()
    thread.join()
    assert results == [[*range(50)]]
    assert values == [[100 + value for value in range(50)]]
    assert not service.reactor.suspended


def test_input_for_a_loop_that_does_not_come_is_served_all_the_same(service: Service) -> None:
    box, other = service.box(), service.box()
    held, go = threading.Event(), threading.Event()

    async def busy() -> int:
        task = asyncio.ensure_future(_awaited(box.take()))
        await asyncio.sleep(0)
        held.set()
        go.wait()
        return await task

    thread, results = in_thread(lambda: asyncio.run(busy()))
    held.wait()
    for value in range(5):
        other.put(value)
        eventually(lambda expected=value: list(other.values) == [*range(expected + 1)])
    box.put(7)
    eventually(lambda: box.values)
    go.set()
    thread.join()
    assert results == [7]


async def _awaited(operation: Operation[Any]) -> Any:
    return await operation


def test_a_closed_loop_resumes_nobody_and_disturbs_nobody(service: Service) -> None:
    box, other = service.box(), service.box()
    loop = asyncio.new_event_loop()
    task = loop.create_task(_awaited(box.take()))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    for value in range(3):
        box.put(value)
        other.put(value)
        assert other.take().block(timeout=20) == value
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    task.get_coro().close()  # type: ignore[union-attr]
    assert not service.reactor.suspended
    assert box.take().block(timeout=20) == 0


def test_select_waits_for_several(service: Service) -> None:
    boxes = [service.box() for _ in range(3)]
    for turn in range(30):
        thread, results = in_thread(select(*(box.take() for box in boxes)).block)
        boxes[turn % 3].put(turn)
        thread.join()
        assert results == [(turn % 3, turn)]
    assert all(box.waiters == [] for box in boxes)


def test_no_timeout_is_too_long(service: Service) -> None:
    box = service.box()
    for timeout in (1e7, 1e12):
        threading.Timer(0.02, box.put, [1]).start()
        assert box.take().block(timeout=timeout) == 1


def test_what_was_put_off_is_done_in_its_order_and_an_error_of_it_is_logged(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "logThreads", False)  # the I/O thread has no name to log
    done: list[int] = []
    last = threading.Event()

    def fail() -> None:
        raise ValueError("of what was put off")

    service.reactor.put_off(partial(done.append, 1))
    service.reactor.put_off(fail)
    service.reactor.put_off(partial(done.append, 2))
    service.reactor.put_off(last.set)
    assert last.wait(30)
    assert done == [1, 2]
    assert "of what was put off" in caplog.text
    caplog.clear()


def test_a_fork_is_told_so() -> None:
    with pytest.raises(RuntimeError, match="was forked from a constellation process"), ForkedLock():
        pass


# -- The I/O thread starts and ends ---------------------------------------------------------------


def test_a_reactor_whose_thread_could_not_be_started_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    reactor = Service().reactor
    with pytest.raises(OSError, match="can't start new thread"):
        reactor.start()
    reactor.stop()


def test_a_reactor_whose_thread_has_died_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(str(args.exc_value)))

    calls: list[None] = []

    def broken() -> float | None:
        calls.append(None)
        if len(calls) == 2:  # where nothing is caught any more
            raise ValueError("a defect")
        return None

    reactor = Reactor(lambda ready: False, lambda: None, broken)
    reactor.start()
    eventually(lambda: told)
    reactor.stop()
    assert told == ["a defect"]


class Interrupted(Exception):
    pass


def test_a_reactor_whose_start_was_interrupted_stops() -> None:
    armed = False

    def interrupt(*_: object) -> None:
        if armed:  # else another thread took the signal late
            raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    gc.disable()  # what is raised in a callback of the collector is lost
    try:
        for _ in range(500):
            reactor = Service().reactor
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 60e-6))
                reactor.start()
                armed = False
            except Interrupted:
                armed = False
                interrupted += 1
            reactor.stop()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert interrupted


def test_a_wait_that_ends_when_the_io_thread_is_woken(service: Service) -> None:
    """It waits for input no more for a moment, and must do so again after that."""
    box = service.box()
    reactor = service.reactor
    eventually(lambda: reactor._armed)
    with reactor.lock:
        box.put(1)
        time.sleep(0.05)  # it is woken by that, and waits for the lock
        # As where the last await of a loop ends. The wake-up is taken with that for the input.
        reactor._led_at = time.monotonic()
    eventually(lambda: list(box.values) == [1])
    box.put(2)
    eventually(lambda: list(box.values) == [1, 2])


def test_where_threads_come_again_and_again_the_io_thread_looks_less_often(
    service: Service,
) -> None:
    box = service.box()
    reactor = service.reactor
    limit = time.monotonic() + 20
    while reactor._grace < _LONGEST_GRACE:
        assert time.monotonic() < limit
        box.put(1)
        assert box.take().block(20) == 1
    # Nobody comes any more: it waits for the input itself, and looks as soon as at first again.
    box.put(2)
    eventually(lambda: list(box.values) == [2])
    eventually(lambda: reactor._armed and reactor._grace == _LEAD_GRACE)
    box.put(3)
    eventually(lambda: list(box.values) == [2, 3])


def test_a_loop_that_awaits_again_and_again_does_not_wake_the_io_thread_each_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = service.box()
    reactor = service.reactor
    woken = 0
    wake = reactor._io_wakeup.set

    def count() -> None:
        nonlocal woken
        woken += 1
        wake()

    monkeypatch.setattr(reactor._io_wakeup, "set", count)

    async def come_again() -> None:
        limit = time.monotonic() + 20
        quiet = 0
        while quiet < 20:  # in a row, once it is waited for as long as it ever is
            assert time.monotonic() < limit, "it is woken by each await"
            before = woken
            box.put(1)
            assert await box.take() == 1
            await asyncio.sleep(0.0005)  # in which it may run, and wait again
            quiet = quiet + 1 if reactor._grace == _LONGEST_GRACE and woken == before else 0

    asyncio.run(come_again())
