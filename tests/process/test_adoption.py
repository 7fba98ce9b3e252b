from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from constellation.control.messages import Eof, Idle, Signal, Started
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.process.adoption import adoption
from constellation.process.entry import SPARE_NAME
from constellation.process.identity import Identity
from constellation.resources import Resources

MakeStage = Callable[[Callable[[Identity], object]], Any]  # see conftest


def name_of(os_pid: int) -> str:
    return Path(f"/proc/{os_pid}/comm").read_text().strip()


def test_a_process_runs_nothing_until_it_is_adopted(stage: MakeStage) -> None:
    show = stage(lambda identity: print(identity.parent, identity.resources))
    process = show.start_spare()
    show.run_until(lambda: process.os_pid and name_of(process.os_pid) == SPARE_NAME)
    show.run_for(0.1)
    assert process.said == [Started(process.os_pid)]
    assert name_of(process.os_pid) == SPARE_NAME
    parent = Pid.new("ipc:///tmp/parent")
    given = Resources(mem="30 MiB", cpu=0.5)
    process.launched.control.post(adoption(parent, given))
    show.run_until(lambda: not process.monitor_open)
    assert process.output(1).decode() == f"{parent} {given}\n"
    assert process.status == ExitStatus(code=0)


def test_a_process_has_its_own_name_when_it_is_adopted(stage: MakeStage) -> None:
    show = stage(lambda identity: print(name_of(os.getpid())))
    process = show.start()
    show.run_until(lambda: not process.monitor_open)
    assert process.output(1).decode().strip() == name_of(os.getpid())


def test_signals_wait_for_the_adoption(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        while True:
            time.sleep(0.01)

    show = stage(work)
    process = show.start_spare()
    show.run_until(lambda: process.os_pid and name_of(process.os_pid) == SPARE_NAME)
    for number in (signal.SIGTERM, signal.SIGHUP):
        process.launched.monitor.post(Signal(number))
    show.run_for(0.1)
    assert process.died is None
    process.launched.control.post(adoption(None, Resources()))
    show.run_until(lambda: not process.monitor_open)
    assert process.status in (ExitStatus(signal="SIGTERM"), ExitStatus(signal="SIGHUP"))


def test_a_process_that_nobody_will_adopt_exits(stage: MakeStage) -> None:
    show = stage(lambda identity: print("ran"))
    process = show.start_spare()
    show.run_until(lambda: process.os_pid)
    process.control_open = False
    process.launched.control.close()
    show.run_until(lambda: not process.monitor_open)
    assert process.status == ExitStatus(code=0)
    assert [said for said in process.said if not isinstance(said, Eof)] == [
        Started(process.os_pid),
        process.died,
        Idle(),
    ]
