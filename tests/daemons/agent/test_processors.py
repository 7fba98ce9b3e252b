from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation.session.loop import Loop
from constellation_daemons.agent import processors as module
from constellation_daemons.agent.processors import Processors, sweep


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Leads a session of its own, and has threads."""
    code = (
        "import threading, time\n"
        "for _ in range(2): threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "print(flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def nice_values(pid: int) -> set[int]:
    values = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        values.add(int((task / "stat").read_text().rpartition(")")[2].split()[16]))
    return values


# -- nice values ----------------------------------------------------------------------------------


def test_all_threads_have_the_value(loop: Loop, child: subprocess.Popen[bytes]) -> None:
    processors = Processors(loop, None)
    processors.started(1, child.pid)
    assert nice_values(child.pid) == {0}
    processors.given(1, 1 / 16)
    assert nice_values(child.pid) == {12}
    processors.gone(1)
    processors.close()


def test_whoever_has_no_group_of_its_own_yet_has_it_too(loop: Loop) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        processors = Processors(loop, None)
        processors.given(1, 0.25)
        processors.started(1, process.pid)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 6
        assert os.getpriority(os.PRIO_PROCESS, 0) == 0
    finally:
        process.kill()
        process.wait()


def test_the_dead_are_no_error(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    processors = Processors(loop, None)
    processors.given(1, 0.25)
    processors.started(1, (1 << 22) - 1)
    processors.gone(1)
    processors.gone(2)
    assert not caplog.records


def test_what_the_system_refuses_is_logged_once(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(which: int, who: int, value: int) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "setpriority", refuse)
    processors = Processors(loop, None)
    for number in (1, 2, 3):
        processors.given(number, 0.25)
        processors.started(number, os.getpid())
    assert len(caplog.records) == 1


def test_a_session_that_may_not_have_its_value_now_has_it_later(
    loop: Loop, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, str]] = []
    write = Path.write_text
    refusals = 2

    def refusing(path: Path, text: str) -> int:
        nonlocal refusals
        if path.name != "autogroup":
            return write(path, text)
        if refusals:
            refusals -= 1
            raise BlockingIOError(errno.EAGAIN, "later")
        written.append((str(path), text))
        return 1

    monkeypatch.setattr(Path, "write_text", refusing)
    monkeypatch.setattr(module, "_reads_one", lambda path: True)
    monkeypatch.setattr(module, "_AGAIN", 0.01)
    processors = Processors(loop, None)
    processors.given(1, 0.5)
    processors.started(1, child.pid)
    processors.given(2, 0.5)
    processors.started(2, child.pid)
    processors.gone(2)  # which waits for nothing any more
    assert not written
    assert loop.run(lambda: bool(written), 5.0)
    start = time.monotonic()
    loop.run(lambda: time.monotonic() > start + 0.05, 1.0)
    assert written == [(f"/proc/{child.pid}/autogroup", "3")]


@pytest.mark.parametrize("ended", [True, False])
def test_a_session_whose_process_has_just_ended_is_no_error(
    loop: Loop,
    child: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    ended: bool,
) -> None:
    """It is not reaped yet, and to users who are not root the system refuses what is its."""

    def refusing(path: Path, text: str) -> int:
        raise PermissionError(errno.EACCES, "no", str(path))

    monkeypatch.setattr(Path, "write_text", refusing)
    monkeypatch.setattr(module, "_reads_one", lambda path: True)
    if ended:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    processors = Processors(loop, None)
    processors.given(1, 0.5)
    processors.started(1, child.pid)
    assert len(caplog.records) == (0 if ended else 1)
    processors.gone(1)


# -- control groups -------------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which groups are removed with what they show, as the kernel does it."""

    def remove(path: Path) -> None:
        if (path / "busy").exists():
            raise OSError(errno.EBUSY, "busy")
        shutil.rmtree(path)

    monkeypatch.setattr(Path, "rmdir", remove)
    return tmp_path


def test_a_process_has_a_group_until_it_is_gone(loop: Loop, groups: Path) -> None:
    processors = Processors(loop, str(groups))
    processors.given(5, 2.5)
    processors.started(5, 4711)
    (group,) = groups.iterdir()
    assert group.name == f"cst-{os.getpid()}-5"
    assert (group / "cpu.weight").read_text() == "250"
    assert (group / "cgroup.procs").read_text() == "4711"
    processors.gone(5)
    assert not list(groups.iterdir())


def test_a_group_that_is_busy_is_removed_at_the_end(
    loop: Loop, groups: Path, caplog: pytest.LogCaptureFixture
) -> None:
    processors = Processors(loop, str(groups))
    for number in (1, 2):
        processors.given(number, 1)
        processors.started(number, 4711)
    busy = groups / f"cst-{os.getpid()}-1" / "busy"
    busy.touch()
    processors.gone(1)
    assert busy.exists()
    busy.unlink()
    processors.close()
    assert not list(groups.iterdir())
    assert not caplog.records


def test_where_groups_cannot_be_made_there_are_nice_values(
    loop: Loop, tmp_path: Path, child: subprocess.Popen[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    processors = Processors(loop, str(tmp_path / "none"))
    for number in (1, 2):
        processors.given(number, 0.5)
        processors.started(number, child.pid)
    assert nice_values(child.pid) == {3}
    assert len(caplog.records) == 1
    processors.gone(1)
    processors.close()


def test_a_group_that_takes_no_process_is_removed(
    loop: Loop, groups: Path, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def refusing(path: Path, text: str) -> int:
        if path.name == "cgroup.procs":
            raise PermissionError(errno.EACCES, "no")
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", refusing)
    processors = Processors(loop, str(groups))
    processors.given(1, 0.5)
    processors.started(1, child.pid)
    assert not list(groups.iterdir())
    assert nice_values(child.pid) == {3}


def test_what_the_kernel_has_killed_is_told(loop: Loop, groups: Path) -> None:
    processors = Processors(loop, str(groups))
    assert processors.killed_by_kernel(1) == 0
    processors.given(1, 1)
    processors.started(1, 4711)
    assert processors.killed_by_kernel(1) == 0, "there is no such file"
    events = groups / f"cst-{os.getpid()}-1" / "memory.events"
    events.write_text("low 0\noom 3\noom_kill 0\n")
    assert processors.killed_by_kernel(1) == 0
    events.write_text("low 0\noom 3\noom_kill 2\n")
    assert processors.killed_by_kernel(1) == 2
    processors.close()


def test_what_the_kernel_has_killed_long_ago_is_not_told(
    loop: Loop, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.01)
    processors = Processors(loop, str(groups))
    processors.given(1, 1)
    processors.started(1, 4711)
    events = groups / f"cst-{os.getpid()}-1" / "memory.events"
    events.write_text("oom_kill 2\n")
    assert loop.run(lambda: processors.killed_by_kernel(1) == 0, 5.0)
    events.write_text("oom_kill 3\n")
    assert processors.killed_by_kernel(1) == 1
    processors.close()


def test_the_groups_of_a_killed_agent_are_swept(groups: Path) -> None:
    for name in ("cst-77-1", "cst-77-2", "cst-777-1", "cst-node"):
        (groups / name).mkdir()
    (groups / "cst-77-2" / "busy").touch()
    assert sweep(groups, 77) == [groups / "cst-77-2"]
    (groups / "cst-77-2" / "busy").unlink()
    assert sweep(groups, 77) == []
    assert sorted(each.name for each in groups.iterdir()) == ["cst-777-1", "cst-node"]
