"""Who may touch a batch: one thread at a time, with the lease or with the lock."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from constellation.channel.guard import ANYBODY, NOBODY, Guard


class Batch:
    """What a guard guards: notices when two are in at once."""

    def __init__(self) -> None:
        self.guard = Guard()
        self.inside = False
        self.count = 0
        self.by_lease = 0

    def add(self) -> None:
        assert not self.inside, "two are in"
        self.inside = True
        count = self.count
        for _ in range(3):
            self.look()
        self.count = count + 1
        self.inside = False

    def look(self) -> None:
        """Somewhere for the interpreter to go on with another thread."""

    def put(self, add: Callable[[], None] | None = None) -> bool:
        """As `Outlet.put` does it. Says whether that was without the lock."""
        guard = self.guard
        ident = threading.get_ident()
        if guard.lease == ident and not guard.inside:
            try:
                guard.inside = ident
                if not guard.shut:
                    (add or self.add)()
                    self.by_lease += 1
                    return True
            finally:
                guard.inside = 0
                if guard.gate is not None:
                    guard.let_in()
        guard.admit(add or self.add, lambda: False)
        return False


@pytest.fixture
def batch() -> Batch:
    return Batch()


@contextmanager
def thread(call: Callable[[], object]) -> Iterator[list[Any]]:
    """Run something in a thread while the block runs. Gives what it returns, or raises."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - for the test to look at
            results.append(error)

    started = threading.Thread(target=run)
    started.start()
    yield results
    started.join()


@contextmanager
def in_by_lease(batch: Batch) -> Iterator[threading.Event]:
    """A thread with the lease is in, until it is told to leave: at the end of the block at last."""
    came, leave = threading.Event(), threading.Event()

    def stay() -> None:
        came.set()
        assert leave.wait(20)

    def twice() -> list[bool]:
        return [batch.put(lambda: None), batch.put(stay)]

    with thread(twice) as results:
        assert came.wait(20)
        try:
            yield leave
        finally:
            leave.set()
    assert results == [[False, True]]


@contextmanager
def in_by_lock(guard: Guard) -> Iterator[None]:
    """A thread with the lock is in until the end of the block."""
    came, leave = threading.Event(), threading.Event()

    def stay() -> None:
        came.set()
        assert leave.wait(20)

    with thread(lambda: guard.run(stay)):
        assert came.wait(20)
        try:
            yield
        finally:
            leave.set()


def eventually(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


def is_free(guard: Guard) -> bool:
    return not (guard.inside or guard.shut or guard.held()) and guard.attempt(lambda: None)


def test_the_first_thread_gets_the_lease_and_needs_no_lock_then(batch: Batch) -> None:
    assert batch.guard.lease == ANYBODY
    assert [batch.put() for _ in range(3)] == [False, True, True]
    assert batch.count == 3
    assert is_free(batch.guard)


def test_a_guard_may_be_without_a_lease() -> None:
    batch = Batch()
    batch.guard = Guard(NOBODY)
    assert [batch.put() for _ in range(3)] == [False] * 3


def test_without_the_lock_of_the_interpreter_nobody_gets_the_lease(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("constellation.channel.guard._LEASES", False)
    assert [batch.put() for _ in range(3)] == [False] * 3
    assert batch.count == 3


def test_the_lease_stays_where_nobody_has_to_wait_for_it(batch: Batch) -> None:
    batch.put()
    with thread(batch.put) as results:
        pass
    assert results == [False]
    assert batch.put(), "the other one took the lock, and has left"


@pytest.mark.parametrize("how", ["admit", "run"])
def test_who_waits_for_the_one_with_the_lease_takes_it_back(batch: Batch, how: str) -> None:
    guard = batch.guard
    call = batch.put if how == "admit" else partial(guard.run, batch.add)
    with in_by_lease(batch) as leave, thread(call) as results:
        eventually(lambda: guard.gate is not None)
        assert results == []
        assert guard.lease == NOBODY
        leave.set()
    assert results == [False if how == "admit" else None]
    assert batch.count == 1
    assert not batch.put(), "from now on all take the lock"
    assert is_free(guard)


def test_who_only_tries_gives_up(batch: Batch) -> None:
    guard = batch.guard
    with in_by_lease(batch):
        assert not guard.attempt(batch.add)
    lease = guard.lease
    assert guard.attempt(batch.add)
    assert guard.lease == lease, "nobody had to wait"
    with in_by_lock(guard):
        assert not guard.attempt(batch.add)
    assert batch.count == 1


def test_who_must_not_wait_is_refused(batch: Batch) -> None:
    guard = batch.guard
    with in_by_lease(batch), pytest.raises(RuntimeError, match="in the middle of another use"):
        guard.admit(batch.add, lambda: True)
    with in_by_lock(guard), pytest.raises(RuntimeError, match="in the middle of another use"):
        guard.admit(batch.add, lambda: True)
    assert batch.count == 0
    guard.admit(batch.add, lambda: True)  # there is nobody to wait for
    assert batch.count == 1
    assert is_free(guard)


def test_who_is_in_is_told_so_also_when_the_lease_was_taken_back(batch: Batch) -> None:
    guard = batch.guard
    held: list[bool] = []
    batch.put(lambda: held.append(guard.held()))
    batch.put(lambda: held.append(guard.held()))
    guard.run(lambda: held.append(guard.held()))
    assert guard.attempt(lambda: held.append(guard.held()))
    assert held == [True] * 4

    def waits_until_taken_back() -> None:
        eventually(lambda: guard.gate is not None)
        held.append(guard.held())
        held.append(guard.attempt(batch.add))

    def other() -> None:
        eventually(lambda: guard.inside)
        guard.run(batch.add)

    with thread(other):
        assert batch.put(waits_until_taken_back)
    assert held[4:] == [True, False]
    assert batch.count == 1
    assert not guard.held()


def fail() -> None:
    raise RuntimeError("of the action")


def test_what_an_action_raises_leaves_nobody_in(batch: Batch) -> None:
    guard = batch.guard
    calls: list[Callable[[], object]] = [
        lambda: batch.put(fail),
        lambda: batch.put(fail),
        lambda: guard.run(fail),
        lambda: guard.attempt(fail),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="of the action"):
            call()
        assert is_free(guard)
    assert guard.lease == threading.get_ident()


def test_never_are_two_in(batch: Batch) -> None:
    """Many threads, which come with the lease, with the lock, and only try; it is given anew."""
    guard = batch.guard
    done = threading.Event()
    tried = 0

    def put() -> None:
        for _ in range(300):
            batch.put()

    def run() -> None:
        for _ in range(300):
            guard.run(batch.add)

    def attempt() -> None:
        nonlocal tried
        while not done.is_set():
            tried += guard.attempt(batch.add)

    def renew() -> None:
        while not done.is_set():
            guard.run(lambda: setattr(guard, "lease", ANYBODY))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with thread(attempt) as attempted, thread(renew) as renewed:
            try:
                working = [threading.Thread(target=work) for work in (put, put, put, run)]
                for each in working:
                    each.start()
                for each in working:
                    each.join()
            finally:
                done.set()
    finally:
        sys.setswitchinterval(before)
    assert (attempted, renewed) == ([None], [None])
    assert batch.count == 4 * 300 + tried
    assert batch.by_lease > 0
    assert is_free(guard)


class Interrupted(BaseException):
    pass


def test_interrupts_leave_nobody_in(batch: Batch) -> None:
    """At any moment, in the thread with the lease and in one that takes the lock."""
    guard = batch.guard
    interrupted = 0
    armed = False

    def handler(number: int, frame: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Interrupted

    calls: list[Callable[[], object]] = [
        batch.put,
        partial(guard.run, batch.add),
        partial(guard.attempt, batch.add),
    ]
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for turn in range(3000):
            batch.inside = False
            guard.lease = random.choice((ANYBODY, threading.get_ident(), NOBODY))
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 30e-6))
                for _ in range(20):
                    calls[turn % 3]()
                armed = False
            except Interrupted:
                interrupted += 1
            assert is_free(guard)
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 100
