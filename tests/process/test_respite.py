"""Monitors that serve again: what their later processes are like, and how they end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from constellation.control.messages import (
    Died,
    End,
    Idle,
    MonitorEnded,
    Room,
    Shut,
    Signal,
    Started,
)
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.process import respite
from constellation.process.adoption import adoption
from constellation.process.identity import Identity
from constellation.resources import RESOURCES_DEFAULT

MakeStage = Callable[[Callable[[Identity], object]], Any]  # see conftest

PARENT = Pid.new("ipc:///tmp/parent")


def parent_of(os_pid: int) -> int:
    return int(Path(f"/proc/{os_pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def until(condition: Callable[[], object], limit: float = 10.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def open_files(os_pid: int) -> list[str]:
    links = []
    for each in os.listdir(f"/proc/{os_pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing
            links.append(os.readlink(f"/proc/{os_pid}/fd/{each}"))
    return sorted(link.split(":")[0] for link in links)


def adopt(process: Any) -> None:
    process.launched.control.post(adoption(PARENT, RESOURCES_DEFAULT))


def rest(show: Any) -> Any:
    """A process whose monitor is idle."""
    process = show.start_spare()
    process.keeps_monitor = True
    adopt(process)
    show.run_until(lambda: Idle() in process.said)
    return process


def again(show: Any, idle: Any) -> Any:
    """The next one of its monitor, to its end."""
    process = show.start_in(idle)
    process.keeps_monitor = True
    adopt(process)
    show.run_until(lambda: Idle() in process.said)
    return process


def test_it_forks_one_process_after_the_other(stage: MakeStage) -> None:
    show = stage(lambda identity: print(os.getppid(), identity.pid.hex))
    processes = [rest(show)]
    for _ in range(5):
        processes.append(again(show, processes[-1]))
    lines = [process.output(1).decode().split() for process in processes]
    assert len({monitor for monitor, _ in lines}) == 1
    assert [pid for _, pid in lines] == [process.launched.pid.hex for process in processes]
    for process in processes:
        assert process.status == ExitStatus(code=0)
        assert isinstance(process.said[0], Started)
        assert process.said[-1] == Idle()
        assert process.eofs == {1, 2}
    assert not any(isinstance(said, MonitorEnded) for said in show.said)


def test_each_is_as_the_first_was(stage: MakeStage, tmp_path: Path) -> None:
    def work(identity: Identity) -> None:
        print(open_files(os.getpid()))
        print([(number, signal.getsignal(number)) for number in signal.valid_signals()])
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.set_wakeup_fd(-1))
        print(os.getsid(0) == os.getpid() == os.getpgrp())
        print(Path("/proc/self/comm").read_text())
        status = Path("/proc/self/status").read_text().splitlines()
        print([line for line in status if line.startswith(("SigB", "SigI", "SigC", "SigP"))])
        print(os.environ, os.getcwd())

    with (tmp_path / "image").open("w"):
        show = stage(work)
        first = rest(show)
        second = again(show, first)
    assert second.output(1) == first.output(1) != b""
    assert str(tmp_path / "image") in first.output(1).decode()


def test_it_holds_nothing_of_those_that_are_over(stage: MakeStage) -> None:
    show = stage(lambda identity: print(os.getppid()))
    process = rest(show)
    monitor = int(process.output(1))
    process = again(show, process)
    before = open_files(monitor), Path(f"/proc/{monitor}/statm").read_text().split()[5]
    for _ in range(50):
        process = again(show, process)
    assert int(process.output(1)) == monitor
    after = open_files(monitor), Path(f"/proc/{monitor}/statm").read_text().split()[5]
    assert after == before


def test_it_is_not_idle_as_long_as_something_of_the_process_is_left(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        if os.fork() == 0:
            os.setsid()
            time.sleep(0.3)
            os.write(1, b"late")
            os._exit(0)

    show = stage(work)
    process = rest(show)
    assert process.output(1) == b"late"
    kinds = [type(said) for said in process.said]
    assert kinds.index(Died) < kinds.index(Idle) == len(kinds) - 1


def test_one_that_was_told_to_end_does(stage: MakeStage) -> None:
    show = stage(lambda identity: signal.pause())
    process = show.start_spare()
    process.keeps_monitor = True
    adopt(process)
    show.run_until(lambda: process.os_pid)
    process.launched.monitor.post(End())
    show.run_until(lambda: not process.monitor_open)
    assert Idle() not in process.said
    show.run_until(lambda: any(isinstance(said, MonitorEnded) for said in show.said))


def test_the_monitor_of_the_initial_process_does_not_serve_again(stage: MakeStage) -> None:
    show = stage(lambda identity: None)
    process = show.start()
    process.keeps_monitor = True
    show.run_until(lambda: not process.monitor_open)
    assert Idle() not in process.said


@pytest.mark.parametrize("late", [Room(100), Signal(signal.SIGTERM), Shut(1), End()])
def test_what_was_meant_for_the_process_that_is_over_is_nothing(
    stage: MakeStage, late: object
) -> None:
    show = stage(lambda identity: print("x"))
    process = rest(show)
    process.launched.monitor.post(late)
    assert again(show, process).output(1) == b"x\n"


def test_one_that_is_idle_and_not_wanted_ends(stage: MakeStage) -> None:
    show = stage(lambda identity: print(os.getppid()))
    process = rest(show)
    process.launched.monitor.close()
    process.monitor_open = False
    show.run_until(lambda: MonitorEnded(process.launched.number, 0) in show.said)


def test_one_that_is_idle_for_long_says_so_and_can_serve_still(stage: MakeStage) -> None:
    show = stage(lambda identity: print("x"))
    process = rest(show)
    show.run_until(lambda: process.said.count(Idle()) == 2)
    show.run_for(respite.LIMIT * 1.5)
    assert process.said.count(Idle()) == 2, "once is enough"
    assert again(show, process).output(1) == b"x\n"


def test_one_that_is_idle_ends_with_its_zygote(stage: MakeStage, subreaper: None) -> None:
    show = stage(lambda identity: print(os.getppid()))
    process = rest(show)
    monitor = int(process.output(1))
    os.kill(show.zygote, signal.SIGKILL)
    os.waitid(os.P_PID, show.zygote, os.WEXITED | os.WNOWAIT)  # its children are this one's by now
    show.run_until(lambda: not process.monitor_open)
    until(lambda: os.waitpid(monitor, os.WNOHANG)[0])


def test_one_that_is_killed_while_it_serves_again_is_told_by_its_present_process(
    stage: MakeStage,
) -> None:
    def work(identity: Identity) -> None:
        if identity.parent is None:
            signal.pause()

    show = stage(work)
    process = rest(show)
    second = show.start_in(process)
    second.launched.control.post(adoption(None, RESOURCES_DEFAULT))
    show.run_until(lambda: second.os_pid)
    monitor = parent_of(second.os_pid)
    os.kill(monitor, signal.SIGKILL)
    show.run_until(lambda: MonitorEnded(second.launched.number, signal.SIGKILL) in show.said)
    assert not second.monitor_open
    until(lambda: not os.path.exists(f"/proc/{second.os_pid}"))


def test_one_that_has_died_serves_nobody(stage: MakeStage) -> None:
    show = stage(lambda identity: print(os.getppid()))
    process = rest(show)
    os.kill(int(process.output(1)), signal.SIGKILL)
    show.run_until(lambda: not process.monitor_open)
    launched = show.launcher.launch()
    assert show.launcher.reuse(process.launched.number, process.launched.monitor) is None
    assert show.launcher.waiting, "it waits for another one"
    assert show.launcher.ask() == launched.number
    launched.monitor.close()
    launched.control.close()


def test_what_a_process_leaves_behind_is_killed_also_by_one_that_serves_again(
    stage: MakeStage,
) -> None:
    def work(identity: Identity) -> None:
        if os.fork() == 0:
            os.setsid()
            os.closerange(1, 3)
            signal.pause()
        print(os.getppid())

    show = stage(work)
    process = show.start_spare()
    adopt(process)
    show.run_until(lambda: process.eofs == {1, 2} and process.died)
    # Its descendant lives, so it is not idle; told to end it kills that.
    assert Idle() not in process.said
    process.launched.monitor.post(End())
    show.run_until(lambda: not process.monitor_open)
    assert Idle() not in process.said
