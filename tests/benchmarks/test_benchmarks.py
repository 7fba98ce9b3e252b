"""Each benchmark runs, and prints its lines. How fast is no matter here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import programs
import pytest

HERE = Path(__file__).parent
LINE = re.compile(
    r"[^:]+: ours [\d.,e-]+ ?\S+"
    r"(, (bare pyzmq|pyzmq\.asyncio|multiprocessing \w+|native|everything|with(out)? pickle) "
    r"[\d.,e-]+ ?\S+ \(ratio [\d.]+\))+; "
    r"(target at (most|least) [^:]+: (met|missed)|for information)"
)
ALONE = re.compile(
    r"[^:]+: (ours )?[\d.,e-]+ ?\S+; (target at (most|least) [^:]+: (met|missed)|for information)"
)
PROCESSES = re.compile(r"3 processes alive at once: .*; target all ended as they should: met")


def run(benchmark: str, *options: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(HERE / f"{benchmark}.py"), *options],
        env=programs.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=programs.LIMIT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("benchmark", "options", "lines"),
    [
        ("spawn", ("--rounds", "1", "--one", "2", "--many", "3", "--fib", "2"), 3),
        ("round_trip", ("--rounds", "1", "--trips", "3"), 2),
        ("throughput", ("--rounds", "1", "--values", "10"), 3),
        ("arrays", ("--rounds", "1", "--total", "1", "--size", "1"), 1),
        ("deployed", ("--rounds", "1", "--one", "2", "--many", "3", "--files", "2"), 3),
        ("kill", ("--rounds", "1", "--kills", "2"), 1),
        ("encrypted", ("--rounds", "1", "--total", "1", "--size", "1"), 2),
    ],
)
def test_a_benchmark_prints_a_line_for_each_of_its_figures(
    benchmark: str, options: tuple[str, ...], lines: int
) -> None:
    printed = run(benchmark, *options)
    assert len(printed) == lines
    for line in printed:
        assert LINE.fullmatch(line), line


def test_round_trips_are_measured_beside_values_of_three_kinds() -> None:
    printed = run("beside", "--rounds", "1", "--size", "0.05")
    assert len(printed) == 3
    for line in printed:
        assert ALONE.fullmatch(line), line


def test_the_scheduler_is_measured_on_clusters_of_three_sizes() -> None:
    printed = run("scheduler", "--nodes", "160", "--each", "50", "--moves", "20", "--rounds", "2")
    assert len(printed) == 8
    for line in printed:
        assert ALONE.fullmatch(line), line
    # Steps are the same on every machine.
    assert printed[-1].startswith("growth from 8 to 160 nodes, in steps: ")
    assert printed[-1].endswith(": met")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_how_soon_a_lost_node_is_noticed_is_measured() -> None:
    (line,) = run("lost_node", "--rounds", "1", "--timeout", "2")
    assert ALONE.fullmatch(line), line


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_processes_weigh_is_told_for_each_part() -> None:
    line, *parts = run("memory", "--processes", "2")
    assert LINE.fullmatch(line), line
    assert len(parts) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_many_processes_live_at_once_and_all_end() -> None:
    (line,) = run("thousand", "--processes", "3")
    assert PROCESSES.fullmatch(line), line
