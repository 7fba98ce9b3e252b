from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from constellation_daemons.node import groups as module
from constellation_daemons.node.groups import prepare, sweep_all


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group, in which this process is alone, and which was given to it."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory\n")
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(module, "own_groups", lambda: [tmp_path, tmp_path.parent])
    monkeypatch.setattr(module, "_marked", lambda group: True)
    monkeypatch.setattr(Path, "rmdir", shutil.rmtree)
    return tmp_path


def test_a_group_that_was_given_is_divided(own: Path) -> None:
    (own / "cst-123-4").mkdir()
    assert prepare() == own
    node = own / "cst-node"
    assert (node / "cgroup.procs").read_text() == str(os.getpid())
    assert (node / "cpu.weight").read_text() == "10000"
    assert (own / "cgroup.subtree_control").read_text() == "+memory"
    assert not (own / "cst-123-4").exists()


def test_one_with_others_in_it_is_left_alone(own: Path) -> None:
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    assert prepare() is None
    assert not (own / "cst-node").exists()


def test_one_without_shares_is_left_alone(own: Path) -> None:
    (own / "cgroup.controllers").write_text("memory\n")
    assert prepare() is None


def test_one_that_was_not_given_is_left_alone(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_marked", lambda group: False)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert prepare() is None


def test_that_of_the_user_was_given(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_marked", lambda group: False)
    os.chown(own, 1000, -1) if os.getuid() == 0 else None
    monkeypatch.setattr(os, "getuid", lambda: own.stat().st_uid)
    assert prepare() == own


def test_the_outermost_one_is_nobodys(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "own_groups", lambda: [own])
    assert prepare() is None
    monkeypatch.setattr(module, "own_groups", list)
    assert prepare() is None


def test_what_cannot_be_divided_is_as_it_was(
    own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = Path.write_text

    def refusing(path: Path, text: str) -> int:
        if path.name == "cgroup.subtree_control":
            raise PermissionError(errno.EACCES, "no")
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", refusing)
    assert prepare() is None
    assert (own / "cgroup.procs").read_text() == str(os.getpid())
    assert not (own / "cst-node").exists()
    assert "cannot be divided" in caplog.text


def test_what_nobody_is_in_is_swept(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "cst-1-1").mkdir()
    (own / "cst-1-2").mkdir()

    def remove(path: Path) -> None:
        if path.name == "cst-1-2":
            raise OSError(errno.EBUSY, "busy")
        shutil.rmtree(path)

    monkeypatch.setattr(Path, "rmdir", remove)
    sweep_all(own)
    assert (own / "cst-1-2").exists()
    assert not (own / "cst-1-1").exists()


def test_who_was_put_into_the_group_of_the_node_divides_the_one_around_it(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By systemd (`DelegateSubgroup=`), or by the master that has started it."""
    inner = own / "cst-node"
    inner.mkdir()
    members = f"1\n{os.getpid()}\n"
    (inner / "cgroup.procs").write_text(members)
    (own / "cgroup.procs").write_text("")
    monkeypatch.setattr(module, "own_groups", lambda: [inner, own, own.parent])
    assert prepare() == own
    assert (inner / "cgroup.procs").read_text() == members
    assert (inner / "cpu.weight").read_text() == "10000"
    assert (own / "cgroup.subtree_control").read_text() == "+memory"
    (own / "cgroup.procs").write_text("1\n")
    (inner / "cgroup.controllers").write_text("cpu memory\n")
    assert prepare() is None


def test_a_group_around_it_that_cannot_be_divided_leaves_it_where_it_is(
    own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    inner = own / "cst-node"
    inner.mkdir()
    (own / "cgroup.procs").write_text("")
    (own / "cgroup.subtree_control").mkdir()
    monkeypatch.setattr(module, "own_groups", lambda: [inner, own, own.parent])
    assert prepare() is None
    assert "cannot be divided" in caplog.text
    assert inner.exists()
    assert (own / "cgroup.procs").read_text() == ""
