from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.bridge.printer import Printer, same_file

PATIENCE = 10.0
MUCH = b"x" * (1 << 20)  # more than a pipe holds


class Pipe:
    """A pipe of which the printer has the one end."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            ready, _, _ = select.select([self.read], [], [], PATIENCE)
            assert ready, data
            data += os.read(self.read, size - len(data))
        return data

    def close_read(self) -> None:
        os.close(self.read)
        self.read = -1

    def close(self) -> None:
        for descriptor in {self.read, self.write} - {-1}:
            os.close(descriptor)


@contextlib.contextmanager
def printing(*, limit: int = 1 << 18) -> Iterator[tuple[Printer, Pipe, Pipe]]:
    out, err = Pipe(), Pipe()
    printer = Printer({1: out.write, 2: err.write}, limit=limit)
    try:
        yield printer, out, err
    finally:
        printer.close()
        out.close()
        err.close()


def wait_for(printer: Printer) -> list[int]:
    assert select.select([printer.fileno()], [], [], PATIENCE)[0]
    failures = printer.take_failures()
    assert not select.select([printer.fileno()], [], [], 0)[0]
    return failures


def test_what_is_put_is_written() -> None:
    with printing() as (printer, out, err):
        printer.put(1, b"one, ")
        printer.put(2, b"two")
        printer.put(1, b"three")
        printer.put(1, b"")
        assert out.take(10) == b"one, three"
        assert err.take(3) == b"two"


def test_the_same_file_keeps_the_order(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        second = os.dup(file.fileno())
        printer = Printer({1: file.fileno(), 2: second})
        for number in range(100):
            printer.put(1 + number % 2, b"%d " % number)
        printer.close()
        os.close(second)
    assert path.read_bytes() == b"".join(b"%d " % number for number in range(100))


def test_a_pipe_that_is_not_read_does_not_hold_up_the_other() -> None:
    with printing() as (printer, out, err):
        printer.put(1, MUCH)
        printer.put(2, b"still there")
        assert err.take(11) == b"still there"
        assert printer.queued
        assert out.take(len(MUCH)) == MUCH


def test_it_tells_when_there_is_room_again() -> None:
    with printing(limit=1 << 19) as (printer, out, _):
        assert printer.room
        printer.put(1, MUCH)
        assert not printer.room
        assert not select.select([printer.fileno()], [], [], 0)[0]
        out.take(len(MUCH))
        assert wait_for(printer) == []
        assert printer.room


def test_who_was_told_no_is_woken_whatever_others_are_told() -> None:
    with printing(limit=1 << 20) as (printer, out, _):
        for _ in range(16):
            printer.put(1, MUCH[: 1 << 16])
        assert not printer.room
        taken = 0
        while not printer.room:  # until it is less than the limit, and still more than half of it
            out.take(1 << 10)
            taken += 1 << 10
        out.take(len(MUCH) - taken)
        wait_for(printer)


def test_it_tells_when_everything_is_written() -> None:
    with printing() as (printer, out, _):
        printer.put(1, MUCH)
        assert printer.queued == len(MUCH)
        out.take(len(MUCH))
        wait_for(printer)
        assert printer.queued == 0


def test_who_did_not_ask_is_not_woken() -> None:
    with printing() as (printer, out, _):
        printer.put(1, b"x")
        out.take(1)
        while printer._queued:
            threading.Event().wait(0.001)
        assert not select.select([printer.fileno()], [], [], 0)[0]


def test_a_pipe_without_reader_is_a_failure() -> None:
    with printing() as (printer, out, err):
        out.close_read()
        printer.put(1, b"x")
        assert wait_for(printer) == [1]
        assert printer.take_failures() == []
        printer.put(1, MUCH)
        assert printer.queued == 0
        assert not printer.lost
        printer.put(2, b"goes on")
        assert err.take(7) == b"goes on"


def test_a_reader_that_leaves_frees_what_is_queued() -> None:
    with printing(limit=10) as (printer, out, _):
        printer.put(1, MUCH)
        printer.put(1, MUCH)
        assert not printer.room
        assert printer.queued
        out.close_read()
        assert wait_for(printer) == [1]
        assert printer.queued == 0
        assert printer.room


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_disk_is_told() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    err = Pipe()
    printer = Printer({1: full, 2: err.write})
    printer.put(1, b"x")
    assert wait_for(printer) == [1]
    assert printer.lost
    line = b"constellation: the standard output cannot be written: No space left on device\n"
    assert err.take(len(line)) == line
    printer.close()
    err.close()
    os.close(full)


def test_a_closed_descriptor_is_a_failure() -> None:
    err = Pipe()
    closed = os.dup(err.read)
    os.close(closed)
    printer = Printer({1: closed, 2: err.write})
    printer.put(1, b"x")
    assert wait_for(printer) == [1]
    printer.close()
    err.close()


def test_a_descriptor_that_does_not_block_is_waited_for() -> None:
    with printing() as (printer, out, _):
        os.set_blocking(out.write, False)
        printer.put(1, MUCH)
        assert out.take(len(MUCH)) == MUCH


def test_same_file(tmp_path: Path) -> None:
    one, other = Pipe(), Pipe()
    again = os.dup(one.write)
    assert same_file(one.write, again)
    assert not same_file(one.write, other.write)
    os.close(again)
    assert not same_file(one.write, again)
    one.close()
    other.close()


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=100)), max_size=50))
def test_every_byte_is_written_in_order(pieces: list[tuple[int, bytes]]) -> None:
    expected = {fd: b"".join(data for each, data in pieces if each == fd) for fd in (1, 2)}
    with printing(limit=64) as (printer, out, err):
        for fd, data in pieces:
            printer.put(fd, data)
        assert out.take(len(expected[1])) == expected[1]
        assert err.take(len(expected[2])) == expected[2]
