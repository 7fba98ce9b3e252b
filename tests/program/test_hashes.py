from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from constellation.program import hashes as module
from constellation.program.hashes import RACY, Hashes, Stamp

STAMP = Stamp(7, 1000, 2000, 3, 4)
LATER = 2000 + RACY
SHA256 = b"d" * 32


def test_what_is_put_in_is_there_the_next_time(tmp_path: Path) -> None:
    hashes = Hashes("/prog", str(tmp_path))
    hashes.put(b"a\xff", STAMP, SHA256, LATER)
    hashes.save()
    again = Hashes("/prog", str(tmp_path))
    assert again.get(b"a\xff", STAMP) == SHA256
    assert again.get(b"b", STAMP) is None
    assert Hashes("/other", str(tmp_path)).get(b"a\xff", STAMP) is None


@pytest.mark.parametrize("index", range(5))
def test_any_difference_counts(index: int, tmp_path: Path) -> None:
    hashes = Hashes("/prog", str(tmp_path))
    hashes.put(b"a", STAMP, SHA256, LATER)
    hashes.save()
    other = list(STAMP)
    other[index] += 1
    assert Hashes("/prog", str(tmp_path)).get(b"a", Stamp(*other)) is None


@pytest.mark.parametrize(("now", "known"), [(LATER, True), (LATER - 1, False), (0, False)])
def test_what_had_just_changed_is_not_remembered(now: int, known: bool, tmp_path: Path) -> None:
    hashes = Hashes("/prog", str(tmp_path))
    hashes.put(b"a", STAMP, SHA256, now)
    hashes.save()
    assert (Hashes("/prog", str(tmp_path)).get(b"a", STAMP) is not None) == known


def test_what_is_not_asked_for_is_forgotten(tmp_path: Path) -> None:
    hashes = Hashes("/prog", str(tmp_path))
    hashes.put(b"a", STAMP, SHA256, LATER)
    hashes.put(b"b", STAMP, SHA256, LATER)
    hashes.save()
    again = Hashes("/prog", str(tmp_path))
    again.get(b"a", STAMP)
    again.save()
    third = Hashes("/prog", str(tmp_path))
    assert third.get(b"a", STAMP)
    assert third.get(b"b", STAMP) is None


def test_it_is_in_the_users_cache_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = Hashes("/prog")
    hashes.put(b"a", STAMP, SHA256, LATER)
    hashes.save()
    assert Path(hashes._path).parent.stat().st_mode & 0o777 == 0o700
    assert Hashes("/prog").get(b"a", STAMP) == SHA256


@pytest.mark.parametrize("damage", [b"", b"\xff", b"\x81\xa1a\x01", os.urandom(100)])
def test_a_damaged_one_costs_time_only(damage: bytes, tmp_path: Path) -> None:
    hashes = Hashes("/prog", str(tmp_path))
    hashes.put(b"a", STAMP, SHA256, LATER)
    hashes.save()
    Path(hashes._path).write_bytes(damage)
    assert Hashes("/prog", str(tmp_path)).get(b"a", STAMP) is None


def test_where_it_cannot_be_written_nothing_happens(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    hashes = Hashes("/prog", str(tmp_path / "file" / "cache"))
    hashes.put(b"a", STAMP, SHA256, LATER)
    hashes.save()
    assert (tmp_path / "file").read_text() == ""


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    hashes = Hashes("/prog", str(tmp_path))
    hashes.put(b"a", STAMP, SHA256, LATER)
    monkeypatch.setattr(os, "replace", full)
    hashes.save()
    assert os.listdir(tmp_path) == []


def test_what_was_of_no_use_for_long_is_removed(tmp_path: Path) -> None:
    old = Hashes("/old", str(tmp_path))
    new = Hashes("/new", str(tmp_path))
    for hashes in (old, new):
        hashes.put(b"a", STAMP, SHA256, LATER)
    old.save()
    (tmp_path / "other").write_text("not ours")
    long_ago = time.time() - 100 * 24 * 3600
    for name in os.listdir(tmp_path):
        os.utime(tmp_path / name, (long_ago, long_ago))
    new.save()
    assert set(os.listdir(tmp_path)) == {"other", os.path.basename(new._path)}


def test_who_has_no_home_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cache_directory", lambda: None)
    hashes = Hashes("/prog")
    hashes.put(b"a", STAMP, SHA256, LATER)
    hashes.save()
    assert Hashes("/prog").get(b"a", STAMP) is None
