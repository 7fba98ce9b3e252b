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


@pytest.mark.parametrize("text", ["", "nonsense\n", "1 2 3\n"])
def test_what_is_no_limit_is_none(group: Path, text: str) -> None:
    for name in ("memory.max", "cpu.max"):
        (group / name).write_text(text)
    assert machine_capacity().mem == psutil.virtual_memory().total


def test_without_control_groups(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(capacity, "_MEMBERSHIP", tmp_path / "none")
    assert machine_capacity().mem == psutil.virtual_memory().total
