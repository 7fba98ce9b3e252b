from __future__ import annotations

import contextlib
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import psutil
import pytest

from constellation_daemons.agent.limits import Watched
from constellation_daemons.agent.usage import STALE, Meter, parent_of

MIB = 1 << 20
LARGE = os.urandom(MIB) * 64  # shared with every fork of this process


class Child:
    """A fork that does one thing after the other, as it is told."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.said, say = os.pipe()
        hear, self.tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            kept = []
            for step in steps:
                os.read(hear, 1)
                kept.append(step())
                os.write(say, b"\0")
            signal.pause()
            os._exit(0)
        for end in (say, hear):
            os.close(end)

    def step(self) -> None:
        os.write(self.tell, b"\0")
        os.read(self.said, 1)

    def close(self) -> None:
        for each in [*psutil.Process(self.pid).children(recursive=True), psutil.Process(self.pid)]:
            each.kill()
        os.waitpid(self.pid, 0)
        os.close(self.said)
        os.close(self.tell)


@pytest.fixture
def fork() -> Iterator[Callable[..., Child]]:
    with contextlib.ExitStack() as stack:

        def make(*steps: Callable[[], object]) -> Child:
            child = Child(*steps)
            stack.callback(child.close)
            return child

        yield make


def take(size: int) -> bytearray:
    return bytearray(os.urandom(4096)) * (size // 4096)


def own(pid: int, mem: int = 0, meter: Meter | None = None, now: float = 0.0) -> int | None:
    """What a process has to itself; None: it cannot be more than it was given."""
    meter = Meter() if meter is None else meter
    return meter.measure([Watched(1, pid, None, mem)], os.getpid(), now).get(1)


def test_memory_of_its_own_counts_and_that_of_its_image_does_not(
    fork: Callable[..., Child],
) -> None:
    # It has something in any case: of less than what it shares of files nothing counts.
    child = fork(lambda: (sum(LARGE[::4096]), take(8 * MIB)), lambda: take(50 * MIB))
    child.step()
    before = own(child.pid)
    assert before is not None
    assert 0 < before < 32 * MIB
    child.step()
    after = own(child.pid)
    assert after is not None
    assert 50 * MIB <= after - before < 60 * MIB


def test_it_is_not_measured_where_even_all_of_its_memory_is_not_too_much(
    fork: Callable[..., Child],
) -> None:
    child = fork()
    assert own(child.pid, 1 << 40) is None


def test_a_file_that_is_mapped_does_not_count(
    fork: Callable[..., Child], pytestconfig: pytest.Config
) -> None:
    # Not in the directory of temporary files, which may be in memory.
    assert pytestconfig.cache is not None
    with tempfile.TemporaryFile(dir=pytestconfig.cache.mkdir("mapped")) as file:
        file.write(LARGE)
        file.flush()

        def read() -> object:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            assert sum(mapped[::4096]) == sum(LARGE[::4096])
            return mapped

        child = fork(read)
        child.step()
        size = own(child.pid)
    assert size is not None
    assert size < 32 * MIB


def test_descendants_count_and_adopted_ones(fork: Callable[..., Child]) -> None:
    code = "import sys; a = b'x' * (80 << 20); print(flush=True); sys.stdin.read()"

    def grandchild() -> object:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        return process

    keeper = fork(grandchild)
    keeper.step()
    (orphan,) = psutil.Process(keeper.pid).children()
    size = own(keeper.pid)
    assert size is not None
    assert size > 80 * MIB
    # The process is dead, and its keeper has what it has left.
    watched = Watched(1, (1 << 22) - 1, keeper.pid, 0)
    found = Meter().measure([watched], os.getpid(), 0.0)[1]
    assert 80 * MIB < found < 110 * MIB
    assert orphan.is_running()


def test_memory_that_only_descendants_share_counts(fork: Callable[..., Child]) -> None:
    def forks() -> object:
        held = take(90 * MIB)
        for _ in range(2):
            if os.fork() == 0:
                signal.pause()
        return held

    child = fork(forks)
    before = own(child.pid)
    child.step()
    after = own(child.pid)
    assert before is not None
    assert after is not None
    assert after > 80 * MIB
    # And none of the image, of which three processes stand for a good part.
    assert after < before + 110 * MIB


def test_the_dead_have_nothing() -> None:
    assert own((1 << 22) - 1) is None
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert own(child) is None
    os.waitpid(child, 0)
    assert parent_of(child) is None


def test_who_has_not_moved_is_not_measured_again_for_a_while(fork: Callable[..., Child]) -> None:
    child = fork(lambda: sum(LARGE[::4096]))
    child.step()
    meter = Meter()
    mem = 50 * MIB
    assert own(child.pid, mem, meter, 0.0) is not None
    assert own(child.pid, mem, meter, STALE - 0.1) is None
    assert own(child.pid, mem, meter, STALE) is not None
    assert own(child.pid, mem, meter, STALE + 1) is None


def test_a_write_to_the_image_is_seen_though_nothing_grows(fork: Callable[..., Child]) -> None:
    image = take(64 * MIB)

    def write() -> None:
        for page in range(0, len(image), 4096):
            image[page] = 1

    child = fork(lambda: sum(image[::4096]), write)
    child.step()
    meter = Meter()
    mem = 50 * MIB
    before = own(child.pid, mem, meter, 0.0)
    assert before is not None
    assert before <= mem
    resident = psutil.Process(child.pid).memory_info().rss
    child.step()
    assert psutil.Process(child.pid).memory_info().rss < resident + 16 * MIB
    after = own(child.pid, mem, meter, 1.0)
    assert after is not None
    assert after > 60 * MIB  # less what it shares of files


def test_another_process_with_its_number_is_measured(fork: Callable[..., Child]) -> None:
    child = fork(lambda: sum(LARGE[::4096]))
    child.step()
    meter = Meter()
    assert own(child.pid, 50 * MIB, meter, 0.0) is not None
    (pid,) = meter._known
    known = meter._known[pid]
    other = type(known.look)(known.look.start - 1, known.look.resident, known.look.faults)
    meter._known[pid] = type(known)(known.own, known.when, other)
    assert own(child.pid, 50 * MIB, meter, 1.0) is not None


def test_the_parent_of_a_process(fork: Callable[..., Child]) -> None:
    assert parent_of(fork().pid) == os.getpid()
