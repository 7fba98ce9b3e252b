from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from constellation.control.messages import Died, End, Eof, Held, Output, Room, Shut, Signal
from constellation.exit_status import ExitStatus
from constellation.process import monitor
from constellation.process.identity import Identity
from constellation.process.monitor import OUTPUT_WINDOW

MakeStage = Callable[[Callable[[Identity], object]], Any]  # see conftest


def alive(os_pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        state = Path(f"/proc/{os_pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in (b"Z", b"X")


def test_output_is_byte_exact_and_in_order_for_each_descriptor(stage: MakeStage) -> None:
    out = bytes(range(256)) * 40_000
    err = bytes(reversed(range(256))) * 4_000

    def write_all(fd: int, data: bytes) -> None:
        while data:
            data = data[os.write(fd, data) :]

    def careful(identity: Identity) -> None:
        for position in range(0, len(out), 100_000):
            write_all(1, out[position : position + 100_000])
            write_all(2, err[position // 10 : position // 10 + 10_000])

    show = stage(careful)
    process = show.start()
    show.run_until(lambda: not process.monitor_open)
    assert process.output(1) == out
    assert process.output(2) == err
    assert process.eofs == {1, 2}
    assert process.status == ExitStatus(code=0)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (lambda: None, ExitStatus(code=0)),
        (lambda: sys.exit(3), ExitStatus(code=3)),
        (lambda: sys.exit("words"), ExitStatus(code=1)),
        (lambda: os._exit(255), ExitStatus(code=255)),
        (lambda: 1 / 0, ExitStatus(code=1)),
        (os.abort, ExitStatus(signal="SIGABRT")),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), ExitStatus(signal="SIGKILL")),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), ExitStatus(signal="SIGTERM")),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), ExitStatus(signal="SIGSEGV")),
        (lambda: os.kill(os.getpid(), signal.SIGINT), ExitStatus(signal="SIGINT")),
        (lambda: signal.raise_signal(signal.SIGRTMIN + 3), ExitStatus(signal="SIGRTMIN+3")),
    ],
    ids=lambda value: str(value) if isinstance(value, ExitStatus) else "",
)
def test_every_kind_of_end(stage: MakeStage, end: Callable[[], object], status: ExitStatus) -> None:
    show = stage(lambda identity: end())
    process = show.start()
    show.run_until(lambda: not process.monitor_open)
    assert process.status == status
    assert process.died is not None
    assert process.died.max_rss > 1 << 20
    assert process.eofs == {1, 2}


def test_death_is_told_while_a_descendant_holds_the_pipes(stage: MakeStage) -> None:
    read, write = os.pipe()

    def work(identity: Identity) -> None:
        print("parent", flush=True)
        subprocess.Popen(["sh", "-c", "read x; echo late"], stdin=read)

    show = stage(work)
    os.close(read)
    process = show.start()
    show.run_until(lambda: process.died)
    assert not process.eofs
    show.run_until(lambda: Held() in process.said)
    os.write(write, b"\n")
    os.close(write)
    show.run_until(lambda: not process.monitor_open)
    assert process.output(1) == b"parent\nlate\n"
    kinds = [type(said) for said in process.said if not isinstance(said, Output)]
    assert kinds[1:] == [Died, Held, Eof, Eof]


def test_a_daemon_of_a_dead_process_is_killed_at_the_end(stage: MakeStage, tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def work(identity: Identity) -> None:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.closerange(0, 100)
                note.with_suffix(".new").write_text(str(os.getpid()))
                os.rename(note.with_suffix(".new"), note)
                signal.pause()
            os._exit(0)
        os.wait()

    show = stage(work)
    process = show.start()
    show.run_until(lambda: process.died and process.eofs == {1, 2} and note.exists())
    daemon = int(note.read_text())
    show.run_for(0.1)
    assert process.monitor_open, "the monitor stays while a descendant lives"
    assert alive(daemon)
    process.launched.monitor.post(End())
    show.run_until(lambda: not process.monitor_open)
    assert not alive(daemon)


def test_the_monitor_leaves_when_the_last_descendant_has(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        subprocess.Popen(["sleep", "0.2"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    show = stage(work)
    process = show.start()
    show.run_until(lambda: not process.monitor_open)
    assert process.status == ExitStatus(code=0)
    assert Held() not in process.said


def test_output_waits_for_room_and_is_not_held_for_lack_of_it(stage: MakeStage) -> None:
    data = b"x" * (OUTPUT_WINDOW + 5_000)

    def work(identity: Identity) -> None:
        os.write(1, data[: len(data) // 2])
        os.write(1, data[len(data) // 2 :])

    show = stage(work)
    process = show.start()
    process.grants = False
    show.run_until(lambda: process.died)
    show.run_for(1.3)
    assert len(process.output(1)) == OUTPUT_WINDOW
    assert Held() not in process.said
    assert process.eofs <= {2}
    process.launched.monitor.post(Room(10_000))
    show.run_until(lambda: not process.monitor_open)
    assert process.output(1) == data


def test_a_process_that_nobody_gives_room_waits(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        while True:
            os.write(1, b"y" * 1000)

    show = stage(work)
    process = show.start()
    process.grants = False
    show.run_until(lambda: len(process.output(1)) == OUTPUT_WINDOW)
    show.run_for(0.2)
    assert len(process.output(1)) == OUTPUT_WINDOW
    process.launched.monitor.post(End())
    show.run_until(lambda: process.died)
    process.launched.monitor.post(Room(1 << 20))


def test_a_shut_descriptor_breaks_the_pipe(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        try:
            while True:
                os.write(1, b"y")
        except BrokenPipeError:
            os.write(2, b"broken")

    show = stage(work)
    process = show.start()
    show.run_until(lambda: process.output(1))
    process.launched.monitor.post(Shut(1))
    show.run_until(lambda: not process.monitor_open)
    assert process.output(2) == b"broken"
    assert process.eofs == {1, 2}
    assert process.status == ExitStatus(code=0)


def test_a_signal_goes_to_the_group(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        child = subprocess.Popen(["sleep", "60"])
        try:
            print("ready", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            print("child:", child.wait())

    show = stage(work)
    process = show.start()
    show.run_until(lambda: process.output(1))
    process.launched.monitor.post(Signal(signal.SIGINT))
    show.run_until(lambda: not process.monitor_open)
    assert process.output(1) == b"ready\nchild: -2\n"


def test_an_early_interrupt_is_not_lost(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        # In steps: a signal right before a pause() would not end it.
        while True:
            time.sleep(0.01)

    show = stage(work)
    process = show.start()
    process.launched.monitor.post(Signal(signal.SIGINT))
    show.run_until(lambda: not process.monitor_open)
    assert process.status == ExitStatus(signal="SIGINT")
    assert b"KeyboardInterrupt" in process.output(2)


def test_end_kills_what_ignores_everything(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if os.fork():
            print("ready", flush=True)
        while True:
            signal.pause()

    show = stage(work)
    process = show.start()
    show.run_until(lambda: process.output(1))
    process.launched.monitor.post(Signal(signal.SIGTERM))
    process.launched.monitor.post(End())
    show.run_until(lambda: not process.monitor_open)
    assert process.status == ExitStatus(signal="SIGKILL")
    assert process.eofs == {1, 2}


def test_one_that_takes_long_to_die_is_waited_for(
    stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a busy machine, where it may be that its pipes are at their end, and it is not dead."""
    monkeypatch.setattr(monitor, "KILL_LIMIT", 0.0)
    monkeypatch.setattr(monitor._Monitor, "_kill", lambda self: None)
    signals, heard = os.pipe()
    with open(signals, "rb") as reader, open(heard, "wb", buffering=0) as writer:

        def work(identity: Identity) -> None:
            signal.signal(signal.SIGUSR1, lambda *_: writer.write(b"!"))
            os.closerange(1, 3)
            while True:
                time.sleep(0.01)

        show = stage(work)
        process = show.start()
        show.run_until(lambda: process.eofs == {1, 2})
        process.launched.monitor.post(End())
        process.launched.monitor.post(Signal(signal.SIGUSR1))
        show.run_until(
            lambda: select.select([reader], [], [], 0)[0] or not process.monitor_open
        )  # so it was told to end before
    assert process.os_pid is not None
    os.kill(process.os_pid, signal.SIGKILL)
    show.run_until(lambda: not process.monitor_open)
    assert process.status == ExitStatus(signal="SIGKILL")


def test_a_killed_process_takes_nobody_with_it_until_the_end(stage: MakeStage) -> None:
    show = stage(lambda identity: signal.pause())
    first, second = show.start(), show.start()
    show.run_until(lambda: first.os_pid and second.os_pid)
    assert first.os_pid
    os.kill(first.os_pid, signal.SIGKILL)
    show.run_until(lambda: not first.monitor_open)
    assert first.status == ExitStatus(signal="SIGKILL")
    show.run_for(0.1)
    assert second.died is None


def test_losing_the_bridge_kills_the_process(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        subprocess.Popen(["sleep", "60"], start_new_session=True)
        signal.pause()

    show = stage(work)
    process = show.start()
    show.run_until(lambda: process.os_pid)
    assert process.os_pid
    process.launched.monitor.close()
    process.monitor_open = False
    show.run_until(lambda: show.said[-1:] and type(show.said[-1]).__name__ == "MonitorEnded")
    assert not alive(process.os_pid)


def test_a_stopped_monitor_delays_and_loses_nothing(stage: MakeStage) -> None:
    read, write = os.pipe()
    with open(read, "rb") as told, open(write, "wb", buffering=0) as teller:
        show = stage(lambda identity: told.read(1) and print("x" * 1000))
        process = show.start()
        show.run_until(lambda: process.os_pid is not None)
        monitor = psutil.Process(process.os_pid).ppid()
        os.kill(monitor, signal.SIGSTOP)
        teller.write(b"!")  # before that it would not be certain that there is a monitor to stop
        time.sleep(0.05)
        os.kill(monitor, signal.SIGCONT)
    show.run_until(lambda: not process.monitor_open)
    assert process.output(1) == b"x" * 1000 + b"\n"
    assert process.status == ExitStatus(code=0)


def test_why_it_was_killed_is_told_with_its_death(stage: MakeStage) -> None:
    show = stage(lambda identity: time.sleep(600))
    process = show.start()
    show.run_until(lambda: process.os_pid is not None)
    process.launched.monitor.post(End("because"))
    show.run_until(lambda: not process.monitor_open)
    assert process.status == ExitStatus(signal="SIGKILL")
    assert process.died is not None
    assert process.died.cause == "because"


def test_who_was_killed_by_another_has_not_died_of_us(stage: MakeStage) -> None:
    show = stage(lambda identity: time.sleep(600))
    process = show.start()
    show.run_until(lambda: process.os_pid is not None)
    monitor = psutil.Process(process.os_pid).ppid()
    os.kill(monitor, signal.SIGSTOP)
    os.kill(process.os_pid, signal.SIGKILL)
    process.launched.monitor.post(End("because"))
    os.kill(monitor, signal.SIGCONT)
    show.run_until(lambda: not process.monitor_open)
    assert process.status == ExitStatus(signal="SIGKILL")
    assert process.died is not None
    assert process.died.cause is None
