"""Who forks what is launched, and when: with a zygote and monitors that are the test's."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from constellation.control.messages import (
    Died,
    Fork,
    Forked,
    FromHost,
    Go,
    Gone,
    Idle,
    MonitorEnded,
    ToMonitor,
    ToZygote,
)
from constellation.control.stream import MessageStream
from constellation.process import descriptors
from constellation.process.host import Host
from constellation.process.launcher import Launcher
from constellation.process.pace import Pace

MOST = 5


class Stage:
    """A host, the streams of the roles that it tells what to do, and what it has told."""

    def __init__(self, directory: Path) -> None:
        ours, theirs = socket.socketpair()
        self.selector = selectors.DefaultSelector()
        self.launcher = Launcher(ours, str(directory))
        self.heard: list[FromHost] = []
        self.now = 100.0
        self.host = Host(
            self.selector,
            self.launcher,
            self.heard.append,
            spares=False,
            pace=Pace(MOST, lambda: self.now),
        )
        self.zygote: MessageStream[ToZygote] = MessageStream(
            theirs, msgspec.msgpack.Decoder(ToZygote), descriptors=True
        )
        self.monitors: dict[int, MessageStream[ToMonitor]] = {}  # by what the zygote calls them

    def asked(self) -> list[int]:
        """What the zygote is asked for, as it does it."""
        numbers = []
        for message in self.zygote.receive():
            numbers.append(message.number)
            self.monitors[message.number] = self.take(message, self.zygote)
            self.zygote.post(Forked(message.number, 1))
        return numbers

    def take(
        self, fork: Fork, stream: MessageStream[ToZygote] | MessageStream[ToMonitor]
    ) -> MessageStream[ToMonitor]:
        """Take what comes with a fork. Gives the stream of its monitor."""
        taken = stream.take_descriptors(3 + fork.stdin)
        for each in taken[:2] + taken[3:]:
            descriptors.adopt_socket(each).close()
        decoder = msgspec.msgpack.Decoder(ToMonitor)
        return MessageStream(descriptors.adopt_socket(taken[2]), decoder, descriptors=True)

    def serve(self) -> None:
        """Let the host take what there is."""
        while ready := self.selector.select(0):
            for key, events in ready:
                key.data(events)

    def rest(self, number: int) -> None:
        """The process of a monitor is over, and the monitor idle."""
        for message in (Died(0, 1), Idle()):
            self.monitors[number].post(message)
        self.serve()

    def gone(self) -> list[int]:
        return [message.number for message in self.heard if isinstance(message, Gone)]

    def close(self) -> None:
        self.host.close()
        self.serve()
        for stream in (self.zygote, *self.monitors.values()):
            stream.close()
        self.serve()
        self.selector.close()
        assert self.host.empty


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def test_a_few_processes_are_made_at_a_time(stage: Stage) -> None:
    for number in range(1, MOST + 6):
        stage.host.launch(number)
    assert stage.asked() == list(range(1, MOST + 1))
    assert stage.host.deadline is not None
    stage.host.tell(1, Go())
    assert stage.asked() == [MOST + 1], "one that runs makes room for another"
    stage.monitors[2].post(Died(0, 1))
    stage.serve()
    assert stage.asked() == [MOST + 2], "as does one that is dead"


def test_nobody_waits_for_the_spawner_of_another(stage: Stage) -> None:
    for number in range(1, MOST + 4):
        stage.host.launch(number)
    assert stage.asked() == list(range(1, MOST + 1))
    deadline = stage.host.deadline
    assert deadline is not None
    stage.host.tick()
    assert stage.asked() == []
    stage.now = deadline
    stage.host.tick()
    assert stage.asked() == list(range(MOST + 1, MOST + 4))
    assert stage.host.deadline is None


def test_a_monitor_that_is_idle_makes_the_next_process(stage: Stage) -> None:
    stage.host.launch(1)
    assert stage.asked() == [1]
    stage.rest(1)
    assert stage.gone() == [1]
    stage.host.launch(2)
    assert stage.asked() == []
    (fork,) = stage.monitors[1].receive()
    assert isinstance(fork, Fork)
    old, stage.monitors[1] = stage.monitors[1], stage.take(fork, stage.monitors[1])
    with pytest.raises(EOFError):
        old.receive()
    old.close()
    stage.rest(1)
    assert stage.gone() == [1, 2]


def test_what_waits_goes_to_the_monitor_that_is_idle_first(stage: Stage) -> None:
    for number in range(1, MOST + 2):
        stage.host.launch(number)
    assert stage.asked() == list(range(1, MOST + 1))
    stage.monitors[3].post(Idle())
    stage.serve()
    assert stage.asked() == []
    (fork,) = stage.monitors[3].receive()
    assert isinstance(fork, Fork)
    assert fork.number == MOST + 1
    stage.take(fork, stage.monitors[3]).close()


def test_the_end_of_a_monitor_is_that_of_its_present_process(stage: Stage) -> None:
    stage.host.launch(1)
    assert stage.asked() == [1]
    for number in (2, 3):
        stage.rest(1)
        stage.host.launch(number)
        (fork,) = stage.monitors[1].receive()
        assert isinstance(fork, Fork)
        old, stage.monitors[1] = stage.monitors[1], stage.take(fork, stage.monitors[1])
        old.close()
    stage.monitors[1].close()
    stage.serve()
    assert stage.gone() == [1, 2], "what it may have told last is awaited"
    stage.zygote.post(MonitorEnded(1, 9))
    stage.serve()
    assert stage.gone() == [1, 2, 3]


def test_one_that_ends_while_it_is_idle_is_the_end_of_nothing(stage: Stage) -> None:
    stage.host.launch(1)
    assert stage.asked() == [1]
    stage.rest(1)
    stage.monitors[1].close()
    stage.zygote.post(MonitorEnded(1, 9))
    stage.serve()
    stage.host.launch(2)
    assert stage.asked() == [2]
    assert stage.gone() == [1]


def test_one_that_has_died_unseen_is_passed_over(stage: Stage) -> None:
    stage.host.launch(1)
    assert stage.asked() == [1]
    stage.rest(1)
    stage.monitors[1].close()
    stage.host.launch(2)
    assert stage.asked() == [2]


def test_one_that_was_idle_for_long_is_let_go(stage: Stage) -> None:
    stage.host.launch(1)
    assert stage.asked() == [1]
    stage.rest(1)
    stage.monitors[1].post(Idle())
    stage.serve()
    with pytest.raises(EOFError):
        stage.monitors[1].receive()
    stage.host.launch(2)
    assert stage.asked() == [2]


def test_a_few_are_kept(stage: Stage) -> None:
    for number in range(1, MOST + 3):
        stage.host.launch(number)
        stage.host.tell(number, Go())
    assert stage.asked() == list(range(1, MOST + 3))
    for number in range(1, MOST + 3):
        stage.rest(number)
    left = 0
    for monitor in stage.monitors.values():
        try:
            monitor.receive()
            left += 1
        except EOFError:
            pass
    assert left == MOST


def test_at_the_end_none_is_kept(stage: Stage) -> None:
    for number in (1, 2):
        stage.host.launch(number)
    assert stage.asked() == [1, 2]
    stage.rest(1)
    stage.host.end()
    with pytest.raises(EOFError):
        stage.monitors[1].receive()
    stage.rest(2)
    stage.monitors[2].receive()  # what it was told while it had a process
    with pytest.raises(EOFError):
        stage.monitors[2].receive()
    assert stage.host.empty
