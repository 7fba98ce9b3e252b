from __future__ import annotations

import os
import pty
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from constellation.cli.stdin import InputSource
from constellation.control.deployment import INPUT_WINDOW
from constellation.session.loop import Loop

LIMIT = 20.0


@contextmanager
def standard_input(descriptor: int) -> Iterator[None]:
    """Have this as the standard input."""
    saved = os.dup(0)
    os.dup2(descriptor, 0)
    os.close(descriptor)
    try:
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)


class Read:
    """A source, and what it has read."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.pieces: list[bytes] = []
        self.echoes = 0
        self.source = InputSource(loop, self.pieces.append, self._echoed)

    def _echoed(self) -> None:
        self.echoes += 1

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def ended(self) -> bool:
        return self.pieces[-1:] == [b""]

    def until(self, condition: Callable[[], bool]) -> None:
        assert self.loop.run(condition, LIMIT)

    def for_a_while(self) -> None:
        self.loop.run(lambda: False, 0.2)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_a_pipe_is_read_to_its_end_as_fast_as_it_is_taken(loop: Loop) -> None:
    read, write = os.pipe()
    with standard_input(read):
        source = Read(loop)
        os.write(write, b"hello")
        source.until(lambda: source.data == b"hello")
        assert not source.ended
        os.close(write)
        source.until(lambda: source.ended)
        assert source.pieces == [b"hello", b""]


def test_no_more_is_read_than_there_is_room_for(loop: Loop, tmp_path: os.PathLike[str]) -> None:
    data = random.Random(1).randbytes(5 * INPUT_WINDOW)
    path = os.path.join(tmp_path, "input")
    with open(path, "wb") as file:
        file.write(data)
    with standard_input(os.open(path, os.O_RDONLY)):
        source = Read(loop)
        source.until(lambda: len(source.data) == INPUT_WINDOW)
        source.for_a_while()
        assert len(source.data) == INPUT_WINDOW
        taken = 0
        while not source.ended:
            size, taken = len(source.data) - taken, len(source.data)
            source.source.taken(size, closed=False)
            source.until(lambda taken=taken: len(source.data) > taken or source.ended)
            assert len(source.data) <= taken + INPUT_WINDOW
        assert source.data == data


def test_nothing_is_read_for_who_takes_no_more(loop: Loop) -> None:
    read, write = os.pipe()
    with standard_input(read):
        source = Read(loop)
        os.write(write, b"one")
        source.until(lambda: source.data == b"one")
        source.source.taken(3, closed=True)
        source.source.taken(0, closed=True)
        os.write(write, b"two")
        source.for_a_while()
        assert source.pieces == [b"one"]
        os.close(write)


def test_an_input_that_is_not_there_is_at_its_end(loop: Loop) -> None:
    directory = os.open("/", os.O_RDONLY)  # it cannot be read
    with standard_input(directory):
        source = Read(loop)
        source.until(lambda: source.ended)
        assert source.pieces == [b""]


def test_a_terminal_is_read_by_lines(loop: Loop) -> None:
    master, terminal = pty.openpty()
    with standard_input(terminal):
        source = Read(loop)
        os.write(master, b"typed\n")
        source.until(lambda: source.data == b"typed\n")
        assert source.echoes == 1
        os.write(master, b"\x04")
        source.until(lambda: source.ended)
        source.source.close()
        source.for_a_while()
    os.close(master)
