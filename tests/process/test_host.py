"""The processes of a program on one machine, with a zygote and monitors that are the test's."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterator

import msgspec
import pytest

from constellation.control.messages import FromHost, FromMonitor, FromProcess, Go, Gone, Made
from constellation.control.stream import MessageStream
from constellation.pid import Pid
from constellation.process.host import Host
from constellation.process.launcher import Launched, Launcher


class FakeLauncher(Launcher):
    """Makes streams, whose other ends are the test's."""

    def __init__(self) -> None:
        self.zygote, ours = socket.socketpair()
        super().__init__(ours, "/nowhere")
        self.controls: list[socket.socket] = []
        self.monitors: list[socket.socket] = []

    def launch(self, *, initial: bool = False, stdin: int | None = None) -> Launched:
        control, its_control = socket.socketpair()
        monitor, its_monitor = socket.socketpair()
        self.controls.append(its_control)
        self.monitors.append(its_monitor)
        return Launched(
            len(self.monitors),
            Pid(os.urandom(16), "ipc:///nowhere/socket"),
            MessageStream(control, msgspec.msgpack.Decoder(FromProcess)),
            MessageStream(monitor, msgspec.msgpack.Decoder(FromMonitor)),
        )

    def end(self) -> None:
        for each in (self.zygote, *self.controls, *self.monitors):
            each.close()


@pytest.fixture
def launcher() -> Iterator[FakeLauncher]:
    launcher = FakeLauncher()
    yield launcher
    launcher.end()


def test_a_spawn_in_the_round_in_which_zygote_and_spare_are_lost(launcher: FakeLauncher) -> None:
    heard: list[FromHost] = []
    with selectors.DefaultSelector() as selector:
        host = Host(selector, launcher, heard.append)
        host.launch(1, initial=True)
        host.launch(2)
        host.tell(2, Go())
        assert len(launcher.monitors) == 3, "there is a spare"
        launcher.zygote.close()
        launcher.monitors[2].close()
        ready = selector.select(0)
        assert len(ready) == 2
        host.launch(3)  # what a process asked for earlier in the round; it finds the spare dead
        for key, events in ready:
            key.data(events)
        launcher.end()
        while not host.empty:
            for key, events in selector.select(0):
                key.data(events)
    gone = [message.number for message in heard if isinstance(message, Gone)]
    assert sorted(gone) == [1, 2, 3]


def test_what_was_there_before_it_was_wanted_is_told_as_such(launcher: FakeLauncher) -> None:
    heard: list[FromHost] = []
    with selectors.DefaultSelector() as selector:
        host = Host(selector, launcher, heard.append)
        host.launch(1, initial=True)
        for number in (2, 3):
            host.launch(number)
            host.tell(number, Go())
        host.launch(4)  # takes the spare, of which there is one at a time
        host.launch(5)
        launcher.end()
        while not host.empty:
            for key, events in selector.select(0):
                key.data(events)
    made = [message for message in heard if isinstance(message, Made)]
    assert [(each.number, each.ahead) for each in made] == [
        (1, False),
        (2, False),
        (3, True),
        (4, True),
        (5, False),
    ]
