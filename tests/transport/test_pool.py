"""Blocks that are lent: made, used again, given up."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest

from constellation.transport.bulk import LONG, copy
from constellation.transport.pool import (
    DISCARDED,
    KEEP,
    LEDGER_SIZE,
    LENT,
    PAUSE,
    RETURNED,
    Block,
    Pool,
    entry_of,
    read_offer,
)

MIB = 1 << 20
A, B = b"a" * 16, b"b" * 16


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    made.offer()
    yield made
    made.close()


@pytest.fixture
def ledger(pool: Pool) -> Iterator[mmap.mmap]:
    """The ledger as a borrower sees it."""
    pid, fd, inode, nonce = read_offer(pool.offer())
    assert (pid, os.fstat(fd).st_ino) == (os.getpid(), inode)
    with mmap.mmap(fd, LEDGER_SIZE) as mapped:
        assert mapped[: len(nonce)] == nonce
        yield mapped


def taken(pool: Pool, size: int, borrower: bytes = A, now: float = 0.0) -> Block:
    block = pool.take(size, borrower, now)
    assert block is not None
    assert len(block.view) >= size
    return block


def test_a_block_is_used_again_when_it_came_back(pool: Pool, ledger: mmap.mmap) -> None:
    first = taken(pool, MIB)
    assert taken(pool, MIB) is not first
    ledger[entry_of(first.index)] = RETURNED
    assert taken(pool, MIB - 5) is first
    assert ledger[entry_of(first.index)] == LENT


def test_a_block_that_was_never_sent_is_used_again(pool: Pool) -> None:
    first = taken(pool, MIB)
    pool.unsent.append(first)
    assert taken(pool, MIB) is first


def test_a_block_that_a_fork_of_the_borrower_reads_is_not_used_again(
    pool: Pool, ledger: mmap.mmap
) -> None:
    first = taken(pool, MIB)
    ledger[entry_of(first.index)] = DISCARDED
    second = taken(pool, MIB)
    assert second is not first
    assert first.closed
    assert not second.closed


def test_a_small_buffer_does_not_get_a_huge_block(pool: Pool, ledger: mmap.mmap) -> None:
    huge = taken(pool, 64 * MIB)
    ledger[entry_of(huge.index)] = RETURNED
    assert taken(pool, MIB) is not huge
    assert taken(pool, 40 * MIB) is huge


def test_the_smallest_that_fits_is_taken(pool: Pool, ledger: mmap.mmap) -> None:
    blocks = [taken(pool, size * MIB) for size in (4, 1, 2)]
    for block in blocks:
        ledger[entry_of(block.index)] = RETURNED
    assert taken(pool, MIB + 1) is blocks[2]


def test_what_a_borrower_had_goes_with_it(pool: Pool) -> None:
    first, second = taken(pool, MIB, A), taken(pool, MIB, B)
    pool.forget(A)
    assert (first.closed, second.closed) == (True, False)
    pool.unsent.append(first)  # a value that was waiting for room
    assert taken(pool, MIB) is not first


def test_free_blocks_are_kept_for_a_while(pool: Pool, ledger: mmap.mmap) -> None:
    block = taken(pool, MIB, now=10.0)
    assert pool.due == 10.0 + KEEP
    ledger[entry_of(block.index)] = RETURNED
    pool.trim(11.0)  # seen to be free
    assert not block.closed
    assert pool.due is not None
    pool.trim(pool.due)
    assert block.closed
    assert pool.due is None


def test_what_stays_away_is_looked_for_ever_less_often(pool: Pool) -> None:
    taken(pool, MIB, now=0.0)
    waits = []
    for _ in range(12):
        due = pool.due
        assert due is not None
        pool.trim(due)
        assert pool.due is not None
        waits.append(pool.due - due)
    assert waits == sorted(waits)
    assert waits[-1] == 64.0
    # The next one lent brings it back.
    assert pool.due is not None
    now = pool.due - 60.0
    taken(pool, MIB, now=now)
    assert pool.due == now + KEEP


def test_there_is_an_end_to_the_blocks(pool: Pool, ledger: mmap.mmap) -> None:
    blocks = [taken(pool, MIB) for _ in range(64)]
    assert pool.take(MIB, A, 0.0) is None
    ledger[entry_of(blocks[7].index)] = RETURNED
    # One that is free and of no use makes way.
    assert len(taken(pool, 32 * MIB).view) == 32 * MIB
    assert blocks[7].closed


def test_without_memory_there_is_no_block(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", fail)
    assert pool.take(MIB, A, 0.0) is None


@pytest.mark.parametrize("size", [100_000, MIB, 3 * MIB + 5])
def test_what_is_written_is_there(pool: Pool, ledger: mmap.mmap, size: int) -> None:
    for fill in (b"abc", b"defgh"):  # into a fresh block, and one that was used
        data = (fill * size)[:size]
        block = taken(pool, size)
        block.fill(memoryview(data))
        assert os.pread(block.fd, size, 0) == block.view[:size] == data
        ledger[entry_of(block.index)] = RETURNED
    assert len(pool._blocks) == 1


def test_where_pages_cannot_be_had_at_once_they_come_one_by_one(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("constellation.transport.bulk._MADV_POPULATE_WRITE", 12345)
    block = taken(pool, 2 * MIB)
    block.fill(memoryview(b"x" * 2 * MIB))
    assert bytes(block.view) == b"x" * 2 * MIB


def test_nothing_is_written_to_what_was_closed_meanwhile(pool: Pool) -> None:
    block = taken(pool, MIB)
    pool.forget(A)
    with pytest.raises(ValueError, match=r"closed|released"):
        block.fill(memoryview(bytes(MIB)))


@pytest.mark.parametrize("fresh", [True, False])
def test_one_that_is_closed_while_it_is_filled_stays_mapped_so_long(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, fresh: bool
) -> None:
    block = taken(pool, 3 * MIB)
    block.fresh = fresh
    fd = block.fd

    def late(address: int, data: memoryview) -> None:
        pool.forget(A)
        copy(address, data)  # a fault, were it not there

    monkeypatch.setattr("constellation.transport.pool.copy", late)
    with pytest.raises(ValueError, match="closed"):
        block.fill(memoryview(bytes(3 * MIB)))
    assert block.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_large_block_goes_a_little_at_a_time(pool: Pool, ledger: mmap.mmap) -> None:
    size = 3 * LONG + MIB
    block = taken(pool, size, now=0.0)
    block.fill(memoryview(bytes(size)))
    ledger[entry_of(block.index)] = RETURNED
    pool.trim(KEEP)  # seen to be free
    held = []
    pool.trim(2 * KEEP)
    while pool.due == 2 * KEEP + PAUSE:
        held.append(os.fstat(block.fd).st_blocks * 512)
        pool.trim(2 * KEEP)
    assert held == [3 * LONG, 2 * LONG]
    assert (pool.due, block.closed) == (None, True)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(block.fd)


def test_what_is_going_is_not_lent(pool: Pool, ledger: mmap.mmap) -> None:
    block = taken(pool, 4 * LONG, now=0.0)
    ledger[entry_of(block.index)] = RETURNED
    pool.trim(KEEP)
    pool.trim(2 * KEEP)
    assert pool.due == 2 * KEEP + PAUSE
    other = taken(pool, 3 * LONG, now=2 * KEEP)
    assert other is not block
    assert other.index == block.index  # the ledger speaks of the new one
    other.fill(memoryview(bytes(3 * LONG)))
    while block.size > LONG:
        pool.trim(2 * KEEP)
    assert not other.closed
    pool.close()
    assert other.closed
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(block.fd)
