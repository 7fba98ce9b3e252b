from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import pytest

from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.process.identity import Identity
from constellation.process.leave import _code_of, _users_part

SPAWNER = Pid.new("ipc:///tmp/spawner")  # the initial process runs what pytest registered
MakeStage = Callable[[Callable[[Identity], object]], Any]  # see conftest


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (None, 0),
        (0, 0),
        (True, 1),
        (255, 255),
        (256, 0),
        (-1, 255),
        (10**30, 255),
        (-(10**30), 255),
        (sys.maxsize, 255),
        ("words", 1),
        ((1, 2), 1),
        (1.5, 1),
    ],
)
def test_codes_are_those_of_the_interpreter(
    given: object, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _code_of(SystemExit(given)) & 0xFF == code
    told = capsys.readouterr().err
    program = f"import sys; sys.exit({given!r})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    if given not in (10**30, -(10**30)):  # Python 3.13 complains of these
        assert done.stderr == told


def test_the_order_of_leaving(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        go = threading.Event()

        def thread() -> None:
            go.wait()
            atexit.register(print, "registered by the thread")
            print("thread")

        threading.Thread(target=thread).start()
        atexit.register(print, "registered first")
        atexit.register(os.write, 1, b"straight\n")
        print("work")
        go.set()
        sys.exit(7)

    show = stage(work)
    process = show.start(parent=SPAWNER)
    show.run_until(lambda: not process.monitor_open)
    lines = process.output(1).decode().splitlines()
    assert lines == ["work", "thread", "registered by the thread", "straight", "registered first"]
    assert process.status == ExitStatus(code=7)


def test_what_was_registered_before_is_the_initial_process_s(stage: MakeStage) -> None:
    ran: list[int] = []
    atexit.register(ran.append, 1)
    directory = tempfile.TemporaryDirectory()

    def work(identity: Identity) -> None:
        atexit.register(lambda: print(ran, os.path.exists(directory.name)))

    show = stage(work)
    child = show.start(parent=SPAWNER)
    show.run_until(lambda: not child.monitor_open)
    assert child.output(1) == b"[] True\n"
    assert child.status == ExitStatus(code=0)
    atexit.unregister(ran.append)
    directory.cleanup()


def test_an_interrupt_ends_by_its_signal(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        print("written")
        raise KeyboardInterrupt

    show = stage(work)
    process = show.start(parent=SPAWNER)
    show.run_until(lambda: not process.monitor_open)
    assert process.output(1) == b"written\n"
    assert process.status == ExitStatus(signal="SIGINT")


def test_a_failing_step_does_not_hold_up_the_others(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        atexit.register(print, "last")
        atexit.register(lambda: 1 / 0)

    show = stage(work)
    process = show.start(parent=SPAWNER)
    show.run_until(lambda: not process.monitor_open)
    assert process.output(1) == b"last\n"
    assert b"ZeroDivisionError" in process.output(2)
    assert process.status == ExitStatus(code=0)


def test_output_that_cannot_be_written_is_an_error(stage: MakeStage) -> None:
    def work(identity: Identity) -> None:
        print("lost", end="")
        os.close(1)

    show = stage(work)
    process = show.start(parent=SPAWNER)
    show.run_until(lambda: not process.monitor_open)
    assert process.status == ExitStatus(code=120)
    assert process.output(2).count(b"Bad file descriptor") == 1


def test_a_traceback_begins_with_the_users_frames() -> None:
    def call() -> None:
        raise ValueError

    try:
        call()
    except ValueError as error:
        trace = error.__traceback__
        assert _users_part(trace, call) is trace


def test_a_call_that_was_not_entered_has_no_traceback() -> None:
    namespace: dict[str, Any] = {}
    here = os.path.join(os.path.dirname(_code_of.__code__.co_filename), "pretended.py")
    exec(compile("def call(): int(1, 2, 3, 4)", here, "exec"), namespace)
    try:
        namespace["call"]()
    except TypeError as error:
        assert error.__traceback__ is not None
        trace = error.__traceback__.tb_next
        assert trace is not None
        assert _users_part(trace, namespace["call"]) is None
        assert _users_part(trace, print) is trace, "an error of ours is shown where it came up"
