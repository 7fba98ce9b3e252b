"""The lock: one thread at a time, and no thread twice."""

from __future__ import annotations

import gc
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from constellation.transport.lock import ClosedLock, Entry, ForkedLock, Lock


class Interrupt(Exception):
    pass


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Signals at random moments, whose handler raises."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise Interrupt

    before = signal.signal(signal.SIGALRM, handler)
    gc.disable()  # what is raised in a callback of the collector is lost
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    gc.enable()
    signal.signal(signal.SIGALRM, before)


def test_a_thread_that_has_it_is_refused() -> None:
    lock = Lock()
    assert not lock.held()
    with lock:
        assert lock.held()
        with pytest.raises(RuntimeError, match=r"^test_\w+\(\) at .* in the middle of"), lock:
            pytest.fail("it has the lock already")
        assert lock.held(), "it keeps it"
    assert not lock.held()
    with lock:
        pass


def test_other_threads_wait() -> None:
    lock = Lock()
    count = 0
    inside = 0

    def work() -> None:
        nonlocal count, inside
        for _ in range(500):
            with lock:
                inside += 1
                assert inside == 1
                seen = count
                time.sleep(0)
                count = seen + 1
                inside -= 1
            assert not lock.held()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 2000


def checked() -> tuple[Any, Callable[[], bool]]:
    lock = Lock()
    return lock, lock.held


def raw() -> tuple[Any, Callable[[], bool]]:
    lock = Lock()
    return lock.raw, lock.held


def entry() -> tuple[Any, Callable[[], bool]]:
    lock: Any = threading.RLock()
    return Entry(lock), lock._is_owned


def trial() -> tuple[Any, Callable[[], bool]]:
    lock: Any = threading.RLock()
    return Entry(lock, blocking=False), lock._is_owned


def take_again_and_again(lock: Any) -> None:
    """Not for ever: in CPython 3.11 a signal that a thread of a library took is noticed late.

    A function, since in 3.13 what comes at the end of a loop passes by a `try` around it.
    """
    limit = time.monotonic() + 0.01
    while time.monotonic() < limit:
        with lock:
            pass


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("make", [checked, raw, entry, trial])
def test_an_interrupt_never_leaves_it_locked(
    make: Callable[[], tuple[Any, Callable[[], bool]]],
) -> None:
    lock, held = make()
    interrupted = 0
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.00005 + random.random() * 0.0003)
            take_again_and_again(lock)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interrupt:
            interrupted += 1
            assert not held()
    assert interrupted > 10


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_ends_the_wait_for_it() -> None:
    lock = Lock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    with pytest.raises(Interrupt), lock:
        pytest.fail("the other thread has it")
    assert not lock.held()
    done.set()
    thread.join()
    with lock:
        pass


def test_trying_says_whether_it_got_the_lock() -> None:
    lock = threading.RLock()
    trying = Entry(lock, blocking=False)
    with trying as got:
        assert got
        seen: list[bool] = []

        def try_too() -> None:
            with pytest.raises(RuntimeError, match="un-acquired"), trying as got:
                seen.append(got)

        thread = threading.Thread(target=try_too)
        thread.start()
        thread.join()
        assert seen == [False]
    with trying as got:
        assert got


def test_nobody_holds_what_stands_in_for_it() -> None:
    for lock in (ForkedLock(), ClosedLock()):
        assert not lock.held()
        with pytest.raises(RuntimeError), lock:
            pass
