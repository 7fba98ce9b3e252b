from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import programs
import psutil
import pytest

from constellation.process import descriptors
from constellation.process.directory import RuntimeDirectory, sweep


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where directories are made. Sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


@pytest.fixture
def directory(temporary: Path) -> Iterator[RuntimeDirectory]:
    made = RuntimeDirectory()
    yield made
    made.remove()
    made.close()


def listen(directory: str, name: str = "0" * 32) -> None:
    descriptors.listen(os.path.join(directory, name)).close()


def abandoned() -> str:
    """A directory whose program was killed."""
    made = RuntimeDirectory()
    listen(made.path)
    made.close()
    return made.path


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_it_is_for_this_user_and_is_removed_with_what_is_in_it(directory: RuntimeDirectory) -> None:
    assert stat.S_IMODE(os.stat(directory.path).st_mode) == 0o700
    listen(directory.path)
    directory.remove()
    assert not os.path.exists(directory.path)
    directory.remove()


@pytest.mark.parametrize("name", ["x" * 80, "l\u0085ne"])
def test_a_temporary_directory_that_no_socket_fits_into_is_not_used(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    directory = RuntimeDirectory()
    assert os.path.dirname(directory.path) == "/tmp"
    assert os.listdir(tmp_path / name) == []
    directory.remove()
    directory.close()


def test_those_of_dead_programs_are_removed(temporary: Path, directory: RuntimeDirectory) -> None:
    listen(directory.path)
    dead = abandoned()
    sweep(str(temporary))
    assert not os.path.exists(dead)
    assert os.listdir(directory.path) == ["0" * 32]


def test_one_is_in_use_as_long_as_any_fork_has_it(temporary: Path) -> None:
    directory = RuntimeDirectory()
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    directory.close()
    sweep(str(temporary))
    assert os.path.exists(directory.path)
    os.close(read)
    os.close(write)
    os.waitpid(child, 0)
    sweep(str(temporary))
    assert not os.path.exists(directory.path)


def test_nothing_of_others_is_touched(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (temporary / "cst-notes").write_text("not a directory")
    (temporary / "cst-12345678").write_text("not a directory either")
    (temporary / "cst-longer-name").mkdir()
    (temporary / "cst-elsewher").symlink_to(abandoned())
    kept = Path(abandoned())
    (kept / "notes").mkdir()
    before = sorted(os.listdir(temporary))
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        sweep(str(temporary))
    assert sorted(os.listdir(temporary)) == before
    assert os.listdir(temporary / "cst-elsewher") == ["0" * 32]
    (temporary / "cst-elsewher").unlink()
    sweep(str(temporary))
    assert os.listdir(kept) == ["notes"]
    left = {"cst-notes", "cst-12345678", "cst-longer-name", kept.name}
    assert set(os.listdir(temporary)) == left


def test_where_nothing_can_be_listed_nothing_is_done() -> None:
    sweep("/nowhere/at/all")


def test_a_file_system_without_locks_is_fine(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    directory = RuntimeDirectory()
    sweep(str(temporary))
    assert os.path.exists(directory.path)
    directory.remove()
    directory.close()


def test_what_a_program_leaves_that_was_killed_as_a_whole_the_next_one_removes(
    temporary: Path, tmp_path: Path
) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys, time
        from constellation import *
        init()
        if sys.argv[1:]:
            print("up", flush=True)
            time.sleep(1000)
        """,
    )
    environment = programs.environment(TMPDIR=str(temporary), CONSTELLATION_FORMAT="json")
    killed = subprocess.Popen(
        [sys.executable, path, "wait"],
        env=environment,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    assert killed.stdout is not None
    while b'"output"' not in (line := killed.stdout.readline()):
        assert line
    whole = [psutil.Process(killed.pid), *psutil.Process(killed.pid).children(recursive=True)]
    for process in whole:
        process.suspend()
    for process in whole:
        process.send_signal(signal.SIGKILL)
    killed.communicate()
    while any(map(lives, whole)):
        time.sleep(0.001)
    (left,) = os.listdir(temporary)
    assert left.startswith("cst-")
    subprocess.run([sys.executable, path], env=environment, check=True, stdin=subprocess.DEVNULL)
    assert os.listdir(temporary) == []
