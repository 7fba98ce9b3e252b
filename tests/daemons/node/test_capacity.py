from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from constellation_daemons.node import capacity
from constellation_daemons.node.capacity import machine_capacity


def test_a_machine_gives_no_more_than_it_has() -> None:
    found = machine_capacity()
    assert 0 < found.mem <= psutil.virtual_memory().total
    assert 0 < found.cpu <= (os.cpu_count() or 1) * 10**9


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The control group that this process seems to be in."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.setattr(capacity, "_CGROUP", tmp_path)
    monkeypatch.setattr(capacity, "_MEMBERSHIP", tmp_path / "membership")
    (tmp_path / "membership").write_text("0::/outer/inner\n")
    return inner


def test_the_tightest_limit_counts(group: Path) -> None:
    (group / "memory.max").write_text("max\n")
    (group / "cpu.max").write_text("50000 100000\n")
    (group.parent / "memory.max").write_text(f"{300 << 20}\n")
    (group.parent / "cpu.max").write_text("max 100000\n")
    found = machine_capacity()
    assert found.mem == 300 << 20
    assert found.cpu == 500_000_000


def test_groups_of_the_first_version_count_too(group: Path) -> None:
    root = group.parent.parent
    (root / "membership").write_text("5:memory:/outer\n4:cpu,cpuacct:/a/b\n0::/\n")
    memory, cpu = root / "memory", root / "cpu"
    (memory / "outer").mkdir(parents=True)
    (cpu / "a" / "b").mkdir(parents=True)
    (memory / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (memory / "outer" / "memory.limit_in_bytes").write_text(f"{300 << 20}\n")
    for directory, quota in ((cpu / "a", 50000), (cpu / "a" / "b", -1)):
        (directory / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (directory / "cpu.cfs_period_us").write_text("100000\n")
    found = machine_capacity()
    assert found.mem == 300 << 20
    assert found.cpu == 500_000_000


@pytest.mark.parametrize("text", ["", "nonsense\n", "1 2 3\n"])
def test_what_is_no_limit_is_none(group: Path, text: str) -> None:
    for name in ("memory.max", "cpu.max"):
        (group / name).write_text(text)
    assert machine_capacity().mem == psutil.virtual_memory().total


def test_without_control_groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(capacity, "_MEMBERSHIP", tmp_path / "none")
    assert machine_capacity().mem == psutil.virtual_memory().total
