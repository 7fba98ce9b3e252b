from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation.errors import SpawnError
from constellation.process import environment
from constellation.process.image import Image


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Image]:
    """What was at `init()`. All is put back in the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(os.environb)
    os.environ["KEPT"] = "1"
    os.environ["CHANGED"] = "1"
    os.environ["DELETED"] = "1"
    yield Image(sys.modules["__main__"])
    os.environb.clear()
    os.environb.update(before)


def difference_from(image: Image) -> bytes:
    # pytest changes it between the fixture and the test.
    image.environ[b"PYTEST_CURRENT_TEST"] = os.environb[b"PYTEST_CURRENT_TEST"]
    return environment.difference(image)


def back_to(image: Image) -> None:
    """As a fork of the image has it."""
    sys.argv[:] = image.argv
    sys.path[:] = image.path
    os.environb.clear()
    os.environb.update(image.environ)
    assert image.cwd is not None
    os.chdir(image.cwd)


def test_nothing_changed_is_nothing_to_do(image: Image) -> None:
    difference = difference_from(image)
    assert len(difference) < 10
    before = (list(sys.argv), list(sys.path), dict(os.environb), os.getcwd())
    environment.apply(difference, image)
    assert before == (sys.argv, sys.path, dict(os.environb), os.getcwd())


def test_everything_arrives(image: Image, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    argv, path = sys.argv, sys.path
    sys.argv.append("ärgument")
    sys.path.insert(0, "/somewhere")
    os.environ["CHANGED"] = "2"
    os.environ["NEW"] = "3"
    os.environb[b"BYTES\xff"] = b"\xfe"
    del os.environ["DELETED"]
    os.chdir(tmp_path / "other")
    expected = (list(sys.argv), list(sys.path), dict(os.environb), os.getcwd())
    difference = difference_from(image)
    back_to(image)
    environment.apply(difference, image)
    assert expected == (sys.argv, sys.path, dict(os.environb), os.getcwd())
    assert os.environ["NEW"] == "3"
    assert sys.argv is argv, "the very list, which others may hold"
    assert sys.path is path


def test_all_of_it_arrives_where_processes_start_fresh(image: Image, tmp_path: Path) -> None:
    """They may have found others at their own `init()` than the spawner at its."""
    image.fresh = True
    expected = (list(sys.argv), list(sys.path), dict(os.environb), os.getcwd())
    difference = environment.difference(image)
    (tmp_path / "other").mkdir()
    os.chdir(tmp_path / "other")
    sys.argv.append("of its own")
    sys.path.append("/of/its/own")
    os.environ["CHANGED"] = "here"
    os.environ["NEW"] = "here"
    environment.apply(difference, image)
    assert expected == (sys.argv, sys.path, dict(os.environb), os.getcwd())


def test_between_nodes_it_is_all_but_what_belongs_to_a_machine(image: Image) -> None:
    """Where processes start fresh."""
    image.fresh, image.root = True, "/here"
    difference = difference_from(image)
    argv, kept = list(sys.argv), os.environ["KEPT"]
    sys.argv.append("of its own")
    sys.path.append("/of/its/own")
    os.environ["KEPT"] = "here"
    os.environ["NEW"] = "here"
    os.environ["SSH_NEW"] = "here"
    environment.apply(difference, image)
    assert sys.argv == argv
    assert os.environ["KEPT"] == kept
    assert "NEW" not in os.environ
    assert os.environ["SSH_NEW"] == "here"
    assert sys.path[-1] == "/of/its/own", "it names places of the machine"


def test_what_a_path_may_hold_besides_text_stays_behind(image: Image) -> None:
    sys.path.append(Path("/not/text"))  # type: ignore[arg-type]
    sys.argv.append(5)  # type: ignore[arg-type]
    difference = difference_from(image)
    back_to(image)
    environment.apply(difference, image)
    assert "/not/text" not in sys.path
    assert sys.argv == ["program", "5"]


def test_a_renamed_directory_is_the_same_one(image: Image, tmp_path: Path) -> None:
    tmp_path.rename(tmp_path.with_name("renamed"))
    try:
        assert difference_from(image) == difference_from(Image.capture())
    finally:
        tmp_path.with_name("renamed").rename(tmp_path)


def test_a_directory_that_was_removed_cannot_be_given(image: Image, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")
    with pytest.raises(SpawnError, match="working directory"):
        environment.difference(image)


def test_a_directory_that_is_gone_on_arrival_is_named(image: Image, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    difference = difference_from(image)
    os.rmdir(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="gone"):
        environment.apply(difference, image)


def test_between_nodes_what_belongs_to_a_machine_stays(image: Image, tmp_path: Path) -> None:
    image.root = str(tmp_path / "here")
    sys.path.insert(0, str(tmp_path / "here" / "lib"))
    sys.path.insert(0, str(tmp_path / "here"))
    sys.path.insert(0, str(tmp_path / "hereafter"))
    sys.argv.append("argument")
    os.environ["CHANGED"] = "2"
    os.environ["TMPDIR"] = "/of/this/machine"
    os.environ.pop("PATH")
    del os.environ["DELETED"]
    (tmp_path / "moved").mkdir()
    os.chdir(tmp_path / "moved")
    difference = difference_from(image)
    back_to(image)
    image.root = "/elsewhere/there"
    environment.apply(difference, image)
    assert sys.path[:3] == [str(tmp_path / "hereafter"), "/elsewhere/there", "/elsewhere/there/lib"]
    assert sys.argv == ["program", "argument"]
    assert os.environ["CHANGED"] == "2"
    assert "DELETED" not in os.environ
    assert os.environ.get("TMPDIR") == os.fsdecode(image.environ[b"TMPDIR"])
    assert os.environ["PATH"] == os.fsdecode(image.environ[b"PATH"])
    assert os.getcwd() == str(tmp_path)
