from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from constellation_daemons.node import memory as module
from constellation_daemons.node.memory import first_version_memory, group_memory, memories
from constellation_daemons.node.pressure import Memory

STAT = "anon 600\nfile 300\ninactive_file 200\nactive_file 50\nslab_reclaimable 25\n"
STALLS = """\
some avg10=40.00 avg60=1.00 avg300=0.00 total=1
full avg10=25.00 avg60=1.00 avg300=0.00 total=1
"""


def group(directory: Path, limit: str, current: str = "900", stat: str = STAT) -> Path:
    (directory / "memory.max").write_text(limit + "\n")
    (directory / "memory.current").write_text(current + "\n")
    (directory / "memory.stat").write_text(stat)
    return directory


def test_a_group_has_what_is_below_its_limit_and_what_can_be_dropped(tmp_path: Path) -> None:
    assert group_memory(group(tmp_path, "1000")) == Memory(1000, 100 + 275)
    (tmp_path / "memory.pressure").write_text(STALLS)
    assert group_memory(tmp_path) == Memory(1000, 375, 0.25)


def test_it_never_has_more_than_its_limit_nor_less_than_nothing(tmp_path: Path) -> None:
    assert group_memory(group(tmp_path, "1000", "0")) == Memory(1000, 1000)
    assert group_memory(group(tmp_path, "1000", "5000", "anon 5000\n")) == Memory(1000, 0)


def test_a_group_without_a_limit_does_not_count(tmp_path: Path) -> None:
    assert group_memory(group(tmp_path, "max")) is None
    assert group_memory(tmp_path / "none") is None


def first_version_group(directory: Path, limit: int, stat: str) -> Path:
    directory.mkdir()
    (directory / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (directory / "memory.usage_in_bytes").write_text("900\n")
    (directory / "memory.stat").write_text(stat)
    return directory


def test_groups_of_the_first_version_count_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is in groups below counts as well: that is in the totals.
    stat = "inactive_file 1\ntotal_rss 600\ntotal_inactive_file 200\ntotal_active_file 50\n"
    inner = first_version_group(tmp_path / "inner", 1000, stat)
    assert first_version_memory(inner) == Memory(1000, 100 + 250)
    assert first_version_memory(tmp_path / "none") is None
    outer = first_version_group(tmp_path / "outer", 9223372036854771712, stat)
    monkeypatch.setattr(module, "own_groups", list)
    monkeypatch.setattr(module, "first_version_groups", lambda controller: [inner, outer])
    _, limited = memories()
    assert limited == Memory(1000, 350)


def test_the_machine_and_the_groups_it_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "own_groups", lambda: [group(tmp_path, "1000"), tmp_path / "none"])
    monkeypatch.setattr(module, "first_version_groups", lambda controller: [])
    machine, limited = memories()
    assert machine.total == psutil.virtual_memory().total
    assert 0 < machine.available <= machine.total
    assert machine.stalled is None or 0 <= machine.stalled <= 1
    assert limited.total == 1000
