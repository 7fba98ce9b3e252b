from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from constellation.process import system
from constellation.process.sigkill import OwnKill

pytestmark = pytest.mark.skipif(not system.LINUX, reason="only Linux can tell two kills apart")

THREADS = """
import threading, time
for _ in range(3):
    threading.Thread(target=time.sleep, args=(600,)).start()
block = bytearray(100 << 20)  # so that dying takes a while
print(flush=True)
time.sleep(600)
"""


@pytest.fixture
def child() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()
    process.stdout.close()


def wait_until_dead(child: int) -> None:
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)


def test_a_kill_of_ours_is_ours(child: int) -> None:
    own = OwnKill(child)
    wait_until_dead(child)
    assert own.was_it()


def test_kills_that_come_after_it_change_nothing(child: int) -> None:
    own = OwnKill(child)
    os.kill(child, signal.SIGKILL)
    wait_until_dead(child)
    os.kill(child, signal.SIGKILL)
    assert own.was_it()


def test_a_kill_that_came_before_is_not_ours(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    own = OwnKill(child)
    wait_until_dead(child)
    assert not own.was_it()


def test_a_kill_between_our_look_and_our_kill_is_not_ours(
    child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = system.kill_thread

    def late(process: int, thread: int, number: int) -> bool:
        os.kill(process, signal.SIGKILL)
        return send(process, thread, number)

    monkeypatch.setattr(system, "kill_thread", late)
    own = OwnKill(child)
    wait_until_dead(child)
    assert not own.was_it()


def test_a_kill_of_one_thread_that_came_before_is_not_ours(child: int) -> None:
    os.kill(child, signal.SIGSTOP)
    assert system.kill_thread(child, child, signal.SIGKILL)
    own = OwnKill(child)
    wait_until_dead(child)
    assert not own.was_it()


def test_the_dead_was_not_killed_by_us(child: int) -> None:
    os.kill(child, signal.SIGTERM)
    wait_until_dead(child)
    assert not OwnKill(child).was_it()


@pytest.mark.parametrize("ours_first", [True, False])
def test_of_two_that_race_the_first_one_is_told(child: int, ours_first: bool) -> None:
    """Another process kills it at about the same time: whichever it is, the kernel knows."""
    killer = os.fork()
    if killer == 0:
        with contextlib.suppress(ProcessLookupError):
            time.sleep(0.002 if ours_first else 0)
            os.kill(child, signal.SIGKILL)
        os._exit(0)
    if not ours_first:
        os.waitpid(killer, 0)
    own = OwnKill(child)
    if ours_first:
        os.waitpid(killer, 0)
    wait_until_dead(child)
    with open(f"/proc/{child}/status") as file:
        pending = next(line for line in file if line.startswith("ShdPnd"))
    assert own.was_it() == (not int(pending.split()[1], 16) & 1 << (signal.SIGKILL - 1))


def test_without_a_function_for_it_the_system_is_called(
    child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Without:
        syscall = system._libc.syscall

    monkeypatch.setattr(system, "_libc", Without)
    own = OwnKill(child)
    wait_until_dead(child)
    assert own.was_it()


def test_there_may_be_no_such_thread() -> None:
    assert not system.kill_thread(os.getpid(), (1 << 22) - 1, 0)
