"""What a process says of itself, whose threads are those that a test starts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from sides import Side, directory, sides

from constellation import Sender, join, select, spawn, try_spawn
from constellation.awaited import AwaitsAll, AwaitsAny, AwaitsRoom, AwaitsValues, AwaitsWindow
from constellation.channel.context import Context
from constellation.control.messages import Examine, Examined, Exited, Placed, Refused, Spawn
from constellation.errors import ConstellationError
from constellation.pid import Pid
from constellation.process.examiner import Examiner
from constellation.process.image import Image
from constellation.resources import Resources

__all__ = ["directory", "sides"]

LIMIT = 20.0
ROOM = Resources(mem="1 MiB", cpu=0.1)


class Process:
    """A process that is asked, and two others."""

    def __init__(self, sides: Callable[[int], list[Side]]) -> None:
        self.side, self.other, self.third = sides(3)
        self.threads: list[threading.Thread] = []
        self.spawns: list[int] = []
        self._examiner = Examiner(self.side.transport)
        self._done = threading.Event()
        self._question = 0
        self.side.transport.on_examine = self._asked
        self.ends = [self.side.receiver(remote) for remote in (self.other, self.third)]

    def _asked(self, question: int) -> None:
        self._examiner.asked(question)
        self.side.transport.reactor.put_off(self._done.set)

    def run(self, action: Callable[[], object], *, daemon: bool = False) -> threading.Thread:
        """Have a thread do something, until the end of the test at the latest."""

        def work() -> None:
            with contextlib.suppress(ConstellationError, TimeoutError):
                action()

        thread = threading.Thread(target=work, daemon=daemon)
        self.threads.append(thread)
        thread.start()
        return thread

    def run_loop(self, main: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self.run(lambda: asyncio.run(main()))

    def spawn(self, *, wait: bool = True) -> Any:
        """An operation of it, which gets no answer."""
        side = self.side
        side._context = Context(side.transport, Image.capture())
        return side._made(lambda: (spawn if wait else try_spawn)(print, resources=ROOM))

    def to_nowhere(self) -> Sender[int]:
        """A Sender that has sent something that nobody receives."""
        nowhere = Pid(os.urandom(16), f"{self.other.pid.endpoint}-none")
        sender: Sender[int] = self.side._made(lambda: Sender(nowhere))
        sender.send(1).block()
        return sender

    def ask(self) -> Examined | None:
        """What it answers."""
        self._question += 1
        self._done.clear()
        self.side.bridge.send(Examine(self._question))
        assert self._done.wait(LIMIT)
        found = None
        for message in self.side.bridge.receive():
            if isinstance(message, Examined):
                found = message
            elif isinstance(message, Spawn):
                self.spawns.append(message.request)
        return found

    def says(self) -> Examined:
        """What it answers as soon as it does nothing but wait."""
        end = time.monotonic() + LIMIT
        while (answer := self.ask()) is None:
            assert time.monotonic() < end
            self.hears_of_windows()
        return answer

    def is_at_rest(self) -> Examined:
        """What it answers when it did so twice without anything between them.

        What it is asked wakes its loop, which may not wait again yet when it answers.
        """
        end = time.monotonic() + LIMIT
        first, second = self.says(), self.says()
        while first.progress != second.progress:
            assert time.monotonic() < end
            first, second = second, self.says()
        return second

    def hears_of_windows(self) -> None:
        """Wait until the others have said how much room there is, if they were asked."""
        end = time.monotonic() + LIMIT
        while True:
            with self.side.transport.lock:
                streams = [s for p in self.side.transport.peers.values() for s in p.link.streams]
                if not any(stream.wanting for stream in streams):
                    return
            assert time.monotonic() < end
            time.sleep(0.01)

    def waits(self, count: int = 1) -> bool:
        """Whether so many threads and tasks wait."""
        with self.side.transport.lock:
            reactor = self.side.transport.reactor
            return len(reactor.blocked()) + len(reactor.suspended) >= count

    def is_silent(self, count: int = 1) -> bool:
        """Whether it waits and does not answer."""
        end = time.monotonic() + LIMIT
        while not self.waits(count):
            assert time.monotonic() < end
            time.sleep(0.01)
        for _ in range(10):
            time.sleep(0.02)
            if self.ask() is not None:
                return False
        return True

    def end(self) -> None:
        for remote in (self.other, self.third):
            self.side.hears_of(remote, None)
        self.ask()
        for request in self.spawns:
            self.side.bridge.send(Refused(request, "SpawnError", "over"))
        for thread in self.threads:
            if thread is not threading.main_thread():
                thread.join(LIMIT)
                assert not thread.is_alive()


@pytest.fixture
def process(
    sides: Callable[[int], list[Side]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Process]:
    made = Process(sides)
    # Those of the tests are none of the process.
    monkeypatch.setattr(threading, "enumerate", lambda: list(made.threads))
    yield made
    made.end()


def values(side: Side) -> AwaitsValues:
    return AwaitsValues(side.pid.key)


# -- what it waits for ----------------------------------------------------------------------------


def test_recv(process: Process) -> None:
    process.run(process.ends[0].recv().block)
    assert process.says().threads == (values(process.other),)


def test_select(process: Process) -> None:
    both = values(process.other), values(process.third)
    process.run(select(*(end.recv() for end in process.ends)).block)
    assert process.says().threads == (AwaitsAny(both),)


def test_join(process: Process) -> None:
    both = values(process.other), values(process.third)
    process.run(join(*(end.recv() for end in process.ends)).block)
    assert process.says().threads == (AwaitsAll(both),)
    sender = process.other.sender(process.side)
    sender.send(1).block()
    end = time.monotonic() + LIMIT
    while process.says().threads != (values(process.third),):
        assert time.monotonic() < end


def test_spawn(process: Process) -> None:
    process.run(process.spawn().block)
    (awaited,) = process.says().threads
    assert awaited == AwaitsRoom(process.spawns[0])


def test_all_threads(process: Process) -> None:
    for end in process.ends:
        process.run(end.recv().block)
    end_of = time.monotonic() + LIMIT
    while set(process.says().threads) != {values(process.other), values(process.third)}:
        assert time.monotonic() < end_of


def test_send(process: Process) -> None:
    sender = process.side.sender(process.other)

    def fill() -> None:
        while True:
            sender.send(bytes(1 << 20)).block()

    process.run(fill)
    answer = process.says()
    assert answer.threads == (AwaitsWindow(process.other.pid.key),)
    # It is certain since the last question but one: the other process has answered that.
    assert answer.question == process._question - 2
    end = time.monotonic() + LIMIT
    while (later := process.says()).progress != answer.progress:
        assert time.monotonic() < end, "something happens for ever"
        answer = later


def test_a_send_whose_window_is_not_known_is_not_certain(process: Process) -> None:
    sender = process.side.sender(process.other)

    def fill() -> None:
        while True:
            sender.send(bytes(1 << 20)).block()

    process.run(fill)
    process.says()
    process.hears_of_windows()
    with process.other.transport.lock:  # it answers nothing
        assert process.ask() is not None, "the question before was answered"
        assert process.ask() is None
    process.says()


async def suspended(process: Process) -> None:
    woken = asyncio.Event()

    async def take(end: Any) -> None:
        await end.recv()
        woken.set()

    tasks = [asyncio.create_task(take(end)) for end in process.ends]
    waits = asyncio.create_task(woken.wait())
    await asyncio.gather(*tasks, waits)


def test_a_loop(process: Process) -> None:
    process.run_loop(lambda: suspended(process))
    (awaited,) = process.says().threads
    assert isinstance(awaited, AwaitsAny)
    assert set(awaited.parts) == {values(process.other), values(process.third)}


def test_a_thread_that_blocks_in_its_loop(process: Process) -> None:
    async def main() -> None:
        task = asyncio.create_task(suspended(process))
        await asyncio.sleep(0)
        process.ends[1].close()
        process.side.receiver(process.third, name="x").recv().block()
        await task

    process.run_loop(main)
    end = time.monotonic() + LIMIT
    while process.says().threads != (values(process.third),):
        assert time.monotonic() < end


def test_daemon_threads_do_not_count(process: Process) -> None:
    process.run(process.ends[0].recv().block)
    go_on = threading.Event()
    process.run(go_on.wait, daemon=True)
    process.run(lambda: process.ends[1].recv().block(LIMIT), daemon=True)
    assert process.says().threads == (values(process.other),)
    go_on.set()


# -- what is not certain --------------------------------------------------------------------------


def test_a_timeout(process: Process) -> None:
    process.run(lambda: process.ends[0].recv().block(LIMIT))
    assert process.is_silent()


def test_a_thread_that_does_something_else(process: Process) -> None:
    process.run(process.ends[0].recv().block)
    process.says()
    go_on = threading.Event()
    process.run(go_on.wait)
    assert process.is_silent()
    go_on.set()


def test_no_thread_at_all(process: Process) -> None:
    assert process.is_silent(0)


@pytest.mark.parametrize("combine", [select, join])
def test_what_is_uncertain_in_a_combination(process: Process, combine: Any) -> None:
    """The first of the two is a spawn that does not wait for room."""
    process.run(combine(process.spawn(wait=False), process.ends[0].recv()).block)
    if combine is select:
        assert process.is_silent()
    else:
        assert process.says().threads == (values(process.other),)


def test_a_spawn_that_does_not_wait_for_room(process: Process) -> None:
    process.run(process.spawn(wait=False).block)
    assert process.is_silent()


def test_a_spawn_that_was_placed(process: Process) -> None:
    process.run(process.spawn().block)
    process.says()
    third = process.third.pid
    process.side.bridge.send(Placed(process.spawns[0], third.key, third.endpoint))
    assert process.is_silent()


def test_a_flush(process: Process) -> None:
    sender = process.to_nowhere()
    process.run(sender.flush().block)
    assert process.is_silent()
    process.side.bridge.send(Exited(sender.remote_pid.key))


def test_something_that_is_not_received(process: Process) -> None:
    process.run(process.ends[0].recv().block)
    process.says()
    sender = process.to_nowhere()
    assert process.is_silent()
    process.side.bridge.send(Exited(sender.remote_pid.key))


def test_a_process_that_has_exited(process: Process) -> None:
    process.run(process.ends[0].recv().block)
    before = process.says()
    with process.side.transport.lock:
        process.side.transport.peers[process.other.pid.key].exit_known = True
    assert process.is_silent()
    with process.side.transport.lock:
        process.side.transport.peers[process.other.pid.key].exit_known = False
    assert process.says().progress != before.progress


@pytest.mark.parametrize("kind", ["a timer", "another descriptor", "a timer that was cancelled"])
def test_what_else_a_loop_waits_for(process: Process, kind: str) -> None:
    reader, writer = os.pipe()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(LIMIT, print) if "timer" in kind else None
        if timer is None:
            loop.add_reader(reader, print)
        elif "cancelled" in kind:
            timer.cancel()
        await suspended(process)

    process.run_loop(main)
    if "cancelled" in kind:
        process.says()
    else:
        assert process.is_silent()
    process.end()
    os.close(reader)
    os.close(writer)


def test_a_loop_with_a_time_limit(process: Process) -> None:
    process.run_loop(lambda: asyncio.wait_for(suspended(process), LIMIT))
    assert process.is_silent()


def test_a_task_that_computes(process: Process) -> None:
    go_on = threading.Event()

    async def main() -> None:
        task = asyncio.create_task(suspended(process))
        await asyncio.sleep(0.1)
        go_on.wait()
        await task

    process.run_loop(main)
    assert process.is_silent()
    go_on.set()
    process.says()


def test_a_child_process(process: Process) -> None:
    process.run(process.ends[0].recv().block)
    process.says()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert process.is_silent()
        child.communicate(b"\n")
    process.says()


def test_a_timer_of_the_system(process: Process) -> None:
    process.run(process.ends[0].recv().block)
    process.says()
    signal.setitimer(signal.ITIMER_REAL, 100.0)
    try:
        assert process.is_silent()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
    process.says()


def test_a_signal_handler_that_interrupts_the_wait(process: Process) -> None:
    inside, go_on = threading.Event(), threading.Event()
    found: list[object] = []

    def handler(*_: object) -> None:
        if not inside.is_set():
            inside.set()
            go_on.wait()

    def drive() -> None:
        try:
            found.append(process.says())
            end = time.monotonic() + LIMIT
            # The question wakes that thread. One that is about to sleep again has looked already
            # whether there was a signal, and Python does not look once more.
            os.kill(os.getpid(), signal.SIGUSR1)
            while not inside.wait(0.1):
                assert time.monotonic() < end
                os.kill(os.getpid(), signal.SIGUSR1)
            found.append(process.is_silent())
            go_on.set()
            found.append(process.says())
        finally:
            go_on.set()
            process.side.hears_of(process.other, None)

    # It takes in what comes for the one that is in its handler.
    process.run(process.ends[1].recv().block, daemon=True)
    while not process.waits():
        time.sleep(0.01)
    before = signal.signal(signal.SIGUSR1, handler)
    driver = threading.Thread(target=drive)
    process.threads.append(threading.main_thread())
    driver.start()
    try:
        with pytest.raises(ConstellationError):
            process.ends[0].recv().block()
    finally:
        driver.join()
        signal.signal(signal.SIGUSR1, before)
    first, silent, last = found
    assert isinstance(first, Examined)
    assert silent is True
    assert isinstance(last, Examined)
    assert last.progress != first.progress


# -- progress -------------------------------------------------------------------------------------


def test_nothing_has_happened_between_two_answers(process: Process) -> None:
    process.run(process.ends[0].recv().block)
    first = process.says()
    second = process.says()
    assert (second.threads, second.progress) == (first.threads, first.progress)
    assert second.question > first.question


def check_that_only_progress_differs(process: Process, first: Examined) -> None:
    """Wait until it says that something has happened since."""
    end = time.monotonic() + LIMIT
    while (second := process.says()).progress == first.progress:
        assert time.monotonic() < end
    assert second.threads == first.threads


def test_another_wait_for_the_same(process: Process) -> None:
    def take() -> None:
        for _ in range(2):
            process.ends[0].recv().block()

    process.run(take)
    first = process.says()
    sender = process.other.sender(process.side)
    sender.send(1).block()
    check_that_only_progress_differs(process, first)


def test_what_a_daemon_thread_sends(process: Process) -> None:
    process.run(process.ends[0].recv().block)
    first = process.says()
    sender = process.side.sender(process.third)
    sender.send(1).block()
    check_that_only_progress_differs(process, first)


def test_a_loop_that_has_gone_round(process: Process) -> None:
    process.run_loop(lambda: _take_two(process))
    first = process.is_at_rest()
    sender = process.other.sender(process.side)
    sender.send(1).block()
    check_that_only_progress_differs(process, first)


async def _take_two(process: Process) -> None:
    for _ in range(2):
        await process.ends[0].recv()
