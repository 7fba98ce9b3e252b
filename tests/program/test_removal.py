from __future__ import annotations

import errno
import os
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trees

from constellation.program import removal
from constellation.program.removal import open_directory, remove_tree

NOBODY = 65534


@pytest.fixture
def work() -> Iterator[Path]:
    """A directory that a user without privileges can get to."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        if os.geteuid() == 0:
            os.chown(name, NOBODY, NOBODY)
        yield Path(name)


def as_a_user(action: Callable[[], object]) -> None:
    """Do something as a user for whom modes count, which they do not for root."""
    if os.geteuid() != 0:
        action()
        return
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def test_it_is_removed_with_all_that_is_in_it(tmp_path: Path) -> None:
    outside = trees.grow(tmp_path / "outside", {"kept": "", "deep/kept": ""})
    tree = trees.grow(
        tmp_path / "tree",
        {"a/b/c/file": "", "a/link": f"-> {outside}", "link": f"-> {outside}/kept", "d": None},
    )
    os.mkfifo(tree / "a" / "pipe")
    remove_tree(str(tree))
    assert os.listdir(tmp_path) == ["outside"]
    assert len(trees.found(outside)) == 2
    remove_tree(str(tree))


def test_modes_do_not_keep_it(work: Path) -> None:
    def action() -> None:
        tree = trees.grow(work / "tree", {"a/b/c/file": "", "x/y/z": None, "f/g": "", "e": None})
        for name, mode in {"a/b/c": 0o555, "a/b": 0o0, "x/y/z": 0o0, "f": 0o300, "e": 0o0}.items():
            (tree / name).chmod(mode)
        tree.chmod(0o0)
        remove_tree(str(tree))
        assert os.listdir(work) == []

    as_a_user(action)


def test_depth_does_not_keep_it(tmp_path: Path) -> None:
    at = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    remove_tree(str(tmp_path / "d"))
    assert os.listdir(tmp_path) == []


def test_a_directory_that_fills_again_is_emptied_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = trees.grow(tmp_path / "tree", {"a/b": ""})
    really = os.rmdir
    left = [3]

    def racing(path: str, *, dir_fd: int | None = None) -> None:
        if left[0]:
            left[0] -= 1
            trees.grow(tree, {f"a/new{left[0]}": "", f"new{left[0]}": ""})
        really(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", racing)
    remove_tree(str(tree))
    assert os.listdir(tmp_path) == []
    left[0] = 1 << 30
    with pytest.raises(OSError, match="somebody goes on writing to it"):
        remove_tree(str(trees.grow(tree, {"a/b": ""})))


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    outside = trees.grow(tmp_path / "outside", {"kept": ""})
    outside.chmod(0o500)
    (tmp_path / "tree").symlink_to(outside)
    for call in (remove_tree, open_directory):
        with pytest.raises(OSError) as raised:
            call(str(tmp_path / "tree"))
        assert raised.value.errno in {errno.ELOOP, errno.ENOTDIR}
    with pytest.raises(OSError):
        removal._allow(str(tmp_path / "tree"), None)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o500
    assert (outside / "kept").exists()
