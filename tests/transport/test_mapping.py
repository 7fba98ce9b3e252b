"""Mappings that know when nothing refers to them any more."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from constellation.transport.bulk import LONG
from constellation.transport.mapping import Mapping

SIZE = 1 << 16


@pytest.fixture
def file() -> Iterator[int]:
    fd = os.memfd_create("test")
    os.truncate(fd, SIZE)
    yield fd
    os.close(fd)


@pytest.fixture
def mapping(file: int) -> Iterator[Mapping]:
    made = Mapping(os.dup(file), SIZE)
    yield made
    made.held = False
    made.close()


def test_it_is_released_when_the_last_view_is_gone(mapping: Mapping) -> None:
    told: list[str] = []
    view = mapping.hold(lambda: told.append("released"))
    assert mapping.held
    array = np.frombuffer(view[8:800], dtype=np.float64)
    part = array[3:5]
    del view, array
    assert told == []
    part[0] = 1.5
    del part
    assert told == ["released"]


def test_it_can_be_held_again(mapping: Mapping) -> None:
    told: list[int] = []
    for number in range(3):
        view = mapping.hold(lambda number=number: told.append(number))
        view[0] = number
        del view
        assert told == list(range(number + 1))


def test_its_bytes_are_plain_and_those_of_the_file(mapping: Mapping, file: int) -> None:
    view = mapping.hold(lambda: None)
    assert (view.format, len(view), view.readonly) == ("B", SIZE, False)
    os.pwrite(file, b"there", 100)
    assert view[100:105] == b"there"
    view[100:104] = b"here"
    assert os.pread(file, 5, 100) == b"heree"


def test_what_is_written_after_isolation_stays_here(mapping: Mapping, file: int) -> None:
    view = mapping.hold(lambda: None)
    view[:5] = b"first"
    mapping.isolate()
    assert mapping.private
    assert view[:5] == b"first"
    view[:3] = b"new"
    assert view[:5] == b"newst"
    assert os.pread(file, 5, 0) == b"first"


def mapped(inode: int) -> int:
    """Bytes of a file that are mapped."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, _, _, _, number, *_ = line.split()
        if int(number) == inode:
            start, end = addresses.split("-")
            total += int(end, 16) - int(start, 16)
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("isolated", [False, True])
def test_a_large_one_is_unmapped_a_little_at_a_time(file: int, isolated: bool) -> None:
    size = 3 * LONG + mmap.PAGESIZE + 5
    os.truncate(file, size)
    inode = os.fstat(file).st_ino
    mapping = Mapping(os.dup(file), size)
    if isolated:
        mapping.isolate()
    np.asarray(mapping.hold(lambda: None))[:: mmap.PAGESIZE] = 1
    mapping.held = False
    assert mapped(inode) == 3 * LONG + 2 * mmap.PAGESIZE
    steps = []
    while not mapping.shrink():
        steps.append(mapped(inode))
    assert steps == [2 * LONG + mmap.PAGESIZE, LONG + mmap.PAGESIZE]
    assert mapped(inode) <= LONG
    mapping.close()
    assert mapped(inode) == 0


def test_what_cannot_be_mapped_says_why_and_keeps_nothing() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(OSError, match="Permission denied"):
        Mapping(reading, SIZE)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reading)
