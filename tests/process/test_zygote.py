from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constellation.control.messages import Forked, MonitorEnded
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.process import system
from constellation.process.identity import Identity
from constellation.resources import RESOURCES_DEFAULT

MakeStage = Callable[[Callable[[Identity], object]], Any]  # see conftest


def alive(os_pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        state = Path(f"/proc/{os_pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in (b"Z", b"X")


def until(condition: Callable[[], object], limit: float = 10.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_process_knows_who_it_is(stage: MakeStage) -> None:
    parent = Pid.new("ipc:///tmp/parent")

    def work(identity: Identity) -> None:
        assert identity.parent == parent
        print(identity.pid.uri, identity.resources)

    show = stage(work)
    process = show.start(parent=parent)
    show.run_until(lambda: not process.monitor_open)
    pid = process.launched.pid
    assert process.output(1).decode().split()[0] == pid.uri
    assert pid.endpoint == f"ipc://{show.directory.path}/{pid.hex}"
    assert process.output(1).decode().split(maxsplit=1)[1].strip() == str(RESOURCES_DEFAULT)
    assert process.output(2) == b""


def test_a_process_has_its_own_descriptors_and_no_others(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        links = {
            descriptor: os.readlink(path)
            for descriptor in range(100)
            if os.path.exists(path := f"/proc/self/fd/{descriptor}") or os.path.islink(path)
        }
        ours = sorted(set(links) - before)
        print([os.readlink(f"/proc/self/fd/{descriptor}")[:7] for descriptor in ours])
        print(links[0], links[1][:5], links[2][:5])
        print([descriptor for descriptor in ours if os.get_inheritable(descriptor)])

    before = {int(name) for name in os.listdir("/proc/self/fd")}
    show = stage(work)
    processes = [show.start() for _ in range(5)]
    show.run_until(lambda: not any(process.monitor_open for process in processes))
    for process in processes:
        lines = process.output(1).decode().splitlines()
        # Its listener and its control stream.
        assert lines[0] == "['socket:', 'socket:']", process.output(1)
        assert lines[1:] == ["/dev/null pipe: pipe:", "[]"]


def test_roles_have_the_descriptors_of_their_roles(stage: MakeStage, tmp_path: Path) -> None:
    with (tmp_path / "image").open("w") as file:
        show = stage(lambda identity: (print("here", flush=True), signal.pause()))
        process = show.start()
        show.run_until(lambda: process.output(1) and show.said)
        monitor = show.said[0].os_pid
        # It tidies up after the process has started.
        until(lambda: len(os.listdir(f"/proc/{monitor}/fd")) == 9)
        kinds = sorted(
            os.readlink(f"/proc/{monitor}/fd/{descriptor}").split(":")[0]
            for descriptor in os.listdir(f"/proc/{monitor}/fd")
        )
        # Standard streams, wakeup (2), lifeline, output (2), control.
        assert kinds == ["/dev/null"] * 3 + ["pipe"] * 5 + ["socket"]
        links = [
            os.readlink(f"/proc/{process.os_pid}/fd/{descriptor}")
            for descriptor in os.listdir(f"/proc/{process.os_pid}/fd")
        ]
        assert file.name in links, "what the image had open, its processes have"


def test_a_process_has_a_session_of_its_own(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        print(os.getsid(0) == os.getpid() == os.getpgrp())
        print(Path("/proc/self/comm").read_text() == name)

    name = Path("/proc/self/comm").read_text()
    show = stage(work)
    process = show.start()
    show.run_until(lambda: not process.monitor_open)
    assert process.output(1) == b"True\nTrue\n"


def test_standard_input_is_what_was_handed_on(stage: MakeStage) -> None:
    read, write = os.pipe()
    os.write(write, b"words")
    os.close(write)
    show = stage(lambda identity: print(os.read(0, 100)))
    process, other = show.start(stdin=read), show.start()
    show.run_until(lambda: not process.monitor_open and not other.monitor_open)
    assert process.output(1) == b"b'words'\n"
    assert other.output(1) == b"b''\n"


def test_a_killed_monitor_takes_its_processes_with_it(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        daemon = subprocess.Popen(["sleep", "60"], start_new_session=True)
        print(daemon.pid, flush=True)
        signal.pause()

    show = stage(work)
    process, other = show.start(), show.start()
    show.run_until(lambda: process.output(1) and other.output(1))
    monitor = next(said.os_pid for said in show.said if isinstance(said, Forked))
    os.kill(monitor, signal.SIGKILL)
    number = process.launched.number
    show.run_until(lambda: MonitorEnded(number, signal.SIGKILL) in show.said)
    # Its word is good: they are gone by now.
    assert not alive(process.os_pid)
    assert not alive(int(process.output(1)))
    assert process.died is None
    assert alive(other.os_pid)


@pytest.mark.parametrize("victims", [1, 10])
@pytest.mark.usefixtures("subreaper")
def test_a_killed_zygote_takes_everything_with_it(stage: MakeStage, victims: int) -> None:
    before = set(system.children())
    show = stage(lambda identity: signal.pause())
    processes = [show.start() for _ in range(victims)]
    show.run_until(lambda: all(process.os_pid for process in processes))
    os.kill(show.zygote, signal.SIGKILL)
    show.run_until(lambda: not any(process.monitor_open for process in processes))
    for process in processes:
        assert process.status == ExitStatus(signal="SIGKILL"), "the monitor could still tell"
        assert process.died is not None
        assert process.died.cause == "zygote killed"
        assert not alive(process.os_pid)
    # The monitors are ours now.
    for child in set(system.children()) - before - {show.zygote}:
        os.waitpid(child, 0)


@pytest.mark.usefixtures("subreaper")
def test_the_end_of_the_launcher_ends_all_and_tidies_up(stage: MakeStage) -> None:
    """The launcher is a process of its own here, which is killed with -9."""
    read, write = os.pipe()
    launcher = os.fork()
    if not launcher:
        os.close(read)
        make = stage(lambda identity: signal.pause())
        processes = [make.start() for _ in range(10)]
        make.run_until(lambda: all(process.os_pid for process in processes))
        pids = [process.os_pid for process in processes]
        os.write(
            write, f"{make.zygote} {make.directory.path} {' '.join(map(str, pids))}\n".encode()
        )
        signal.pause()
    os.close(write)
    zygote, directory, *pids = os.read(read, 10_000).decode().split()
    os.close(read)
    assert os.path.exists(directory)
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    os.waitpid(int(zygote), 0)
    assert not os.path.exists(directory)
    assert not any(alive(int(pid)) for pid in pids)


def test_many_at_once(stage: MakeStage) -> None:
    show = stage(lambda identity: print(identity.pid.hex))
    processes = [show.start() for _ in range(60)]
    show.run_until(lambda: not any(process.monitor_open for process in processes))
    for process in processes:
        assert process.output(1).decode().strip() == process.launched.pid.hex
        assert process.status == ExitStatus(code=0)
    assert sum(isinstance(said, MonitorEnded) for said in show.said) <= 60
