from __future__ import annotations

import asyncio
import os
import selectors
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from constellation.process.loops import is_idle, thread_of


class Running:
    """A loop that runs in a thread, and watches a descriptor as one with a transport does."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.reader, self.writer = os.pipe()
        self.loop.add_reader(self.reader, print)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.loop.run_forever()

    def do(self, action: Callable[..., object], *arguments: object) -> None:
        """Have the loop do something."""
        self.loop.call_soon_threadsafe(action, *arguments)

    def idle(self) -> bool:
        ident = self.thread.ident
        assert ident is not None
        return is_idle(self.loop, sys._current_frames()[ident], self.reader)

    def becomes(self, idle: bool) -> bool:
        """Whether it is so, after a moment at the latest, and stays so."""
        end = time.monotonic() + 20
        while self.idle() != idle and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.05)
        return self.idle() == idle

    def end(self) -> None:
        self.do(self.loop.stop)
        self.thread.join()
        self.loop.close()
        os.close(self.reader)
        os.close(self.writer)


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running(asyncio.SelectorEventLoop())
    yield made
    made.end()


def test_it_has_a_thread_while_it_runs() -> None:
    loop = asyncio.SelectorEventLoop()
    assert thread_of(loop) is None
    running = Running(loop)
    assert running.becomes(True)
    assert thread_of(loop) == running.thread.ident
    running.end()
    assert thread_of(loop) is None


def test_it_waits_for_nothing_else(running: Running) -> None:
    assert running.becomes(True)


def test_a_timer_and_its_end(running: Running) -> None:
    timers: list[asyncio.TimerHandle] = []
    running.do(lambda: timers.append(running.loop.call_later(100, print)))
    assert running.becomes(False)
    running.do(lambda: timers[0].cancel())
    assert running.becomes(True)


def test_another_descriptor(running: Running) -> None:
    reader, writer = os.pipe()
    running.do(running.loop.add_reader, reader, print)
    assert running.becomes(False)
    running.do(running.loop.remove_reader, reader)
    assert running.becomes(True)
    os.close(reader)
    os.close(writer)


def test_something_else_that_its_thread_does(running: Running) -> None:
    go_on = threading.Event()
    running.do(go_on.wait)
    assert running.becomes(False)
    go_on.set()
    assert running.becomes(True)


def test_another_wait_of_the_same_kind(running: Running) -> None:
    """A callback waits with a selector of its own."""
    reader, writer = os.pipe()

    def wait() -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ)
            selector.select()

    running.do(wait)
    assert running.becomes(False)
    os.write(writer, b"x")
    assert running.becomes(True)
    os.close(reader)
    os.close(writer)


def test_of_other_loops_nothing_is_known() -> None:
    class Own(asyncio.SelectorEventLoop):
        pass

    running = Running(Own())
    assert running.becomes(False)
    running.end()


def test_a_loop_that_does_not_run_in_that_frame() -> None:
    loop = asyncio.SelectorEventLoop()
    assert not is_idle(loop, sys._getframe(), 0)
    loop.close()
