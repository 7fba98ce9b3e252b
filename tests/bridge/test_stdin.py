from __future__ import annotations

import os
import pty
import selectors
import signal
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation.bridge.stdin import TerminalRelay


class Terminal:
    """A pseudo-terminal: ``keyboard`` is where one types, ``fd`` what the command has as stdin."""

    def __init__(self) -> None:
        self.keyboard, self.fd = pty.openpty()
        self.selector = selectors.DefaultSelector()
        self.read, write = os.pipe()
        self.echoes = 0
        self.relay = TerminalRelay(self.selector, self.fd, write, lambda: 0.0, self.echoed)

    def echoed(self) -> None:
        self.echoes += 1

    def turn(self, seconds: float = 0.2) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for key, events in self.selector.select(0.01):
                key.data(events)

    def close(self) -> None:
        self.relay.close()
        for descriptor in (self.keyboard, self.fd, self.read):
            os.close(descriptor)
        self.selector.close()


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def test_lines_go_through(terminal: Terminal) -> None:
    os.write(terminal.keyboard, b"hello\nworld\n")
    terminal.turn()
    assert os.read(terminal.read, 100) == b"hello\nworld\n"


def test_a_line_that_the_terminal_shows_is_told(terminal: Terminal) -> None:
    os.write(terminal.keyboard, b"hello\n")
    terminal.turn()
    assert terminal.echoes == 1
    os.write(terminal.keyboard, b"part\x04")
    terminal.turn()
    assert terminal.echoes == 1
    attributes = termios.tcgetattr(terminal.fd)
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal.fd, termios.TCSANOW, attributes)
    os.write(terminal.keyboard, b"secret\n")
    terminal.turn()
    assert terminal.echoes == 1


def test_control_d_is_the_end_of_file(terminal: Terminal) -> None:
    os.write(terminal.keyboard, b"last\n\x04")
    terminal.turn()
    assert os.read(terminal.read, 100) == b"last\n"
    assert os.read(terminal.read, 100) == b""
    assert not terminal.selector.get_map()


def test_no_more_is_read_than_the_pipe_takes(terminal: Terminal) -> None:
    tty.setraw(terminal.fd, termios.TCSANOW)
    os.set_blocking(terminal.keyboard, False)
    os.set_blocking(terminal.read, False)
    sent = 0
    try:
        while True:
            sent += os.write(terminal.keyboard, bytes([sent % 251]) * 1000)
            terminal.turn(0.02)
    except BlockingIOError:
        pass
    assert 65_536 < sent < 200_000
    received = b""
    while len(received) < sent:
        try:
            received += os.read(terminal.read, 4096)
        except BlockingIOError:
            terminal.turn(0.02)
    assert len(received) == sent


def test_a_reader_that_is_gone_lets_the_terminal_be(terminal: Terminal) -> None:
    os.close(terminal.read)
    os.write(terminal.keyboard, b"hello\n")
    terminal.turn()
    assert not terminal.selector.get_map()
    terminal.read = os.open(os.devnull, os.O_RDONLY)


def test_the_terminal_stays_as_its_other_users_have_it(terminal: Terminal) -> None:
    assert os.get_blocking(terminal.fd)


def test_in_the_background_nothing_is_read(tmp_path: Path) -> None:
    """A session with two process groups, of which the other one is in the foreground."""
    keyboard, line = pty.openpty()
    report = tmp_path / "report"
    session = os.fork()
    if not session:
        os.setsid()
        os.login_tty(line) if hasattr(os, "login_tty") else _login(line)
        signal.signal(signal.SIGTTIN, signal.SIG_IGN)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        foreground = os.fork()
        if not foreground:
            os.setpgid(0, 0)
            signal.pause()
            os._exit(0)
        os.setpgid(foreground, foreground)
        os.tcsetpgrp(0, foreground)
        selector = selectors.DefaultSelector()
        read, write = os.pipe()
        os.set_blocking(read, False)
        now = 0.0
        relay = TerminalRelay(selector, 0, write, lambda: now)
        lines = [f"registered: {len(selector.get_map())}, again at {relay.deadline}"]
        os.write(keyboard, b"typed\n")
        os.tcsetpgrp(0, os.getpgrp())
        now = 0.1
        relay.tick()
        lines.append(f"too early: {len(selector.get_map())}")
        now = 0.25
        relay.tick()
        for key, events in selector.select(5):
            key.data(events)
        lines.append(f"in front: {os.read(read, 100)!r}")
        report.write_text("\n".join(lines))
        os.kill(foreground, signal.SIGKILL)
        os._exit(0)
    _, status = os.waitpid(session, 0)
    os.close(keyboard)
    os.close(line)
    assert report.read_text().splitlines() == [
        "registered: 0, again at 0.25",
        "too early: 0",
        r"in front: b'typed\n'",
    ]
    assert status == 0


def _login(line: int) -> None:
    import fcntl

    fcntl.ioctl(line, termios.TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        os.dup2(line, descriptor)
