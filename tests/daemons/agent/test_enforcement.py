from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from constellation.session.loop import Loop
from constellation_daemons.agent.enforcement import Enforcement
from constellation_daemons.agent.limits import EVERY, Use

MIB = 1 << 20
CODE = "import sys, time; a = b'x' * (int(sys.argv[1]) << 20); print(flush=True); time.sleep(600)"


class Bench:
    """An enforcement, and processes. It is their parent, but no monitor: they are told apart."""

    def __init__(self, *, strict: bool) -> None:
        self.loop = Loop()
        self.killed: list[tuple[int, str]] = []
        self.answers: list[Use | None] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self.enforcement = Enforcement(self.loop, "10.0.0.3:9999", strict=strict, kill=self.kill)

    def kill(self, number: int, cause: str) -> None:
        self.killed.append((number, cause))

    def start(self, number: int, size: int, mem: int) -> None:
        """A process of so many MiB, with a parent of its own."""
        parent = (
            "import subprocess, sys\n"
            "with subprocess.Popen([sys.executable, *sys.argv[1:]]) as child:\n"
            "    print(child.pid, flush=True)"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", parent, "-c", CODE, str(size)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        lines = {process.stdout.readline(), process.stdout.readline()} - {b"\n"}
        self.enforcement.started(number, int(lines.pop()))
        self.enforcement.given(number, mem * MIB)

    def close(self) -> None:
        self.enforcement.close()
        self.loop.close()
        for process in self.processes:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(strict=getattr(request, "param", False))
    yield made
    made.close()


@pytest.mark.parametrize("bench", [True], indirect=True)
def test_strictly_whoever_uses_more_goes_once(bench: Bench) -> None:
    bench.start(1, 40, 30)
    bench.start(2, 40, 100)
    assert bench.loop.run(lambda: bool(bench.killed), 5.0)
    bench.loop.run(lambda: False, EVERY * 1.5)
    ((number, cause),) = bench.killed
    assert number == 1
    assert cause.startswith("memory limit: used 4")
    assert cause.endswith(" MiB of 30 MiB, killed by node 10.0.0.3:9999")


@pytest.mark.parametrize("bench", [True], indirect=True)
def test_whoever_is_killed_already_is_measured_no_more(bench: Bench) -> None:
    bench.start(1, 40, 30)
    bench.enforcement.condemn(1)
    bench.loop.run(lambda: False, 0.3)
    assert not bench.killed


def test_otherwise_nothing_happens_by_itself(bench: Bench) -> None:
    bench.start(1, 40, 30)
    bench.loop.run(lambda: False, 0.3)
    assert not bench.killed
    assert not bench.enforcement._limits.busy


def test_the_worst_is_told_when_the_node_asks(bench: Bench) -> None:
    bench.start(1, 100, 60)
    bench.start(2, 60, 20)
    bench.start(3, 10, 100)
    bench.enforcement.weigh(bench.answers.append)
    assert bench.loop.run(lambda: bool(bench.answers), 5.0)
    (use,) = bench.answers
    assert use is not None
    assert (use.number, use.mem) == (2, 20 * MIB)
    assert not bench.killed
    bench.enforcement.gone(1)
    bench.enforcement.condemn(2)
    bench.enforcement.weigh(bench.answers.append)
    assert bench.loop.run(lambda: len(bench.answers) == 2, 5.0)
    assert bench.answers[1] is None


def test_without_processes_the_answer_comes_at_once(bench: Bench) -> None:
    bench.enforcement.weigh(bench.answers.append)
    assert bench.answers == [None]


def test_if_all_have_gone_before_it_was_their_turn_the_answer_comes(bench: Bench) -> None:
    bench.start(1, 40, 30)
    bench.enforcement.weigh(bench.answers.append)
    bench.enforcement.gone(1)
    assert bench.loop.run(lambda: bool(bench.answers), 5.0)
    assert bench.answers == [None]
