"""kill -9 of every part of a program that runs, and what users do to end one.

After each: the command has ended, nobody hangs, and nothing is left (tests/conftest.py sees to it).
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import programs
import pytest

PARENT = """
import sys, time
from constellation import *

def child(parent, n):
    sender = Sender(parent)
    sender.send(n).block()
    Receiver(parent).recv().block()

def main():
    init()
    children = [spawn(child, n).block() for n in range(5)]
    receivers = [Receiver(pid) for pid in children]
    for receiver in receivers:
        receiver.recv().block()
    print("running", flush=True)
    for receiver in receivers:
        try:
            receiver.recv().block()
        except ProcessExited as error:
            print(error.status, flush=True)
            break
    print("noticed", flush=True)
    for pid in children:
        try:
            Sender(pid).send(0).block()
        except ProcessExited:
            pass

main()
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return programs.write(tmp_path, PARENT)


def running(command: programs.Running) -> bool:
    return b"running" in command.output()


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    return [pid, *(each for child in programs.children_of(pid) for each in family(child))]


def gone(pids: list[int]) -> bool:
    return not any(map(programs.alive, pids))


def test_a_killed_process_is_noticed_by_who_receives_from_it(program: Path) -> None:
    with programs.start(program) as command:
        command.until(lambda: running(command))
        os.kill(command.processes[1], signal.SIGKILL)  # the first child: of the first receiver
        code = command.wait()
    assert b"SIGKILL" in command.output()
    assert b"noticed" in command.output()
    ends = sorted(str(node.end) for node in command.tree.all())
    assert ends == ["0"] * 5 + ["SIGKILL"]
    assert code == 101  # two different statuses


@pytest.mark.usefixtures("way")
def test_a_killed_monitor_takes_its_process_with_it(program: Path) -> None:
    with programs.start(program) as command:
        command.until(lambda: running(command))
        monitor = command.monitors[1]
        below = family(monitor)
        os.kill(monitor, signal.SIGKILL)
        code = command.wait()
    assert gone(below)
    assert b"noticed" in command.output()
    ends = [str(node.end) for node in command.tree.all()]
    assert sorted(ends) == ["0"] * 5 + ["lost: monitor killed"]
    assert code == 101


@pytest.mark.usefixtures("way")
def test_a_program_with_a_monitor_that_does_not_run_ends_when_it_is_killed(program: Path) -> None:
    with programs.start(program) as command:
        command.until(lambda: running(command))
        below = family(command.process.pid)[1:]
        os.kill(command.monitors[1], signal.SIGSTOP)
        command.signal(signal.SIGTERM)
        command.signal(signal.SIGTERM)
        code = command.wait()
    assert gone(below)
    assert code == 143
    ends = [str(node.end) for node in command.tree.all()]
    assert len(ends) == 6
    assert sum(end.startswith("lost") for end in ends) == 1


@pytest.mark.usefixtures("way")
def test_a_killed_zygote_ends_the_program(program: Path) -> None:
    with programs.start(program) as command:
        command.until(lambda: running(command))
        below = family(command.zygote)
        os.kill(command.zygote, signal.SIGKILL)
        code = command.wait()
    assert gone(below)
    assert code != 0
    assert command.tree.status is not None


def test_a_zygote_that_is_killed_with_spawns_before_it_ends_the_program(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys
        from constellation import *
        init()
        print("running", flush=True)
        sys.stdin.readline()
        spawns = [spawn(print) for _ in range(40)]  # more than the zygote is asked for at once
        print("asked", flush=True)
        for each in spawns:
            each.block()
        """,
    )
    read, write = os.pipe()
    with programs.start(path, stdin=read) as command:
        os.close(read)
        command.until(lambda: running(command))
        os.kill(command.zygote, signal.SIGSTOP)
        os.write(write, b"\n")
        os.close(write)
        command.until(lambda: b"asked" in command.output())
        command.for_a_while(0.2)
        os.kill(command.zygote, signal.SIGKILL)
        assert command.wait() != 0
    assert command.tree.status is not None


@pytest.mark.usefixtures("way")
def test_a_killed_bridge_takes_everything_with_it(program: Path) -> None:
    with programs.start(program) as command:
        command.until(lambda: running(command))
        below = family(command.process.pid)
        command.signal(signal.SIGKILL)
        command.until(lambda: gone(below), limit=10)
        assert command.wait() == -signal.SIGKILL


def test_a_killed_initial_process_leaves_the_others_to_end_by_themselves(program: Path) -> None:
    with programs.start(program) as command:
        command.until(lambda: running(command))
        os.kill(command.processes[0], signal.SIGKILL)
        code = command.wait()
    # Its children wait for a value from it, get ProcessExited, and end with their traceback.
    assert command.tree.end == "SIGKILL"
    assert [child.end for child in command.tree.children] == [1] * 5
    assert all(b"ProcessExited" in child.err for child in command.tree.children)
    assert code == 101


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_to_the_command_ends_the_program(program: Path, number: int, code: int) -> None:
    with programs.start(program) as command:
        command.until(lambda: running(command))
        below = family(command.process.pid)
        command.signal(number)
        assert command.wait() == code
    assert gone(below)


def test_a_second_signal_kills_what_ignores_the_first(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import os, signal, time
        from constellation import init
        init()
        # Not with print(), which the handler may interrupt.
        signal.signal(signal.SIGINT, lambda *_: os.write(1, b"ignored\\n"))
        print("running", flush=True)
        while True:
            time.sleep(1)
        """,
    )
    with programs.start(path) as command:
        command.until(lambda: running(command))
        command.signal(signal.SIGINT)
        command.until(lambda: b"ignored" in command.output())
        command.signal(signal.SIGTERM)
        assert command.wait() == 130
    assert command.tree.end == "SIGKILL"


def test_a_process_that_tidies_up_after_ctrl_c_has_its_say(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys, time
        from constellation import init
        init()
        try:
            print("running", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(0.5)
            print("tidied up")
            sys.exit(3)
        """,
    )
    with programs.start(path) as command:
        command.until(lambda: running(command))
        command.signal(signal.SIGINT)
        assert command.wait() == 3
    assert b"tidied up" in command.output()


@pytest.mark.parametrize("moment", [1, 20])
def test_an_interrupted_spawner_leaves_nothing(tmp_path: Path, moment: int) -> None:
    path = programs.write(
        tmp_path,
        """
        import time
        from constellation import *

        def tree(parent, depth):
            if depth:
                pids = [spawn(tree, depth - 1).block() for _ in range(2)]
            print("running", flush=True)
            time.sleep(60)

        init()
        tree(None, 4)
        """,
    )
    with programs.start(path) as command:
        command.until(lambda: command.output().count(b"running") >= moment)
        below = family(command.process.pid)
        command.signal(signal.SIGINT)
        assert command.wait() == 130
    assert gone(below)


def test_grandchildren_do_not_hold_up_the_exit_and_end_with_the_program(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import subprocess, sys, time
        from constellation import *

        def child(parent):
            subprocess.Popen(["sleep", "60"])
            late = "import time; time.sleep(2); print('late', flush=True); time.sleep(60)"
            subprocess.Popen([sys.executable, "-c", late], start_new_session=True)

        def main():
            init()
            pid = spawn(child).block()
            try:
                Receiver(pid).recv().block()
            except ProcessExited as error:
                print(error.status, flush=True)
            time.sleep(4)

        main()
        """,
    )
    with programs.start(path) as command:
        assert command.wait() == 0
    (child,) = command.tree.children
    assert child.out == b"late\n"
    assert child.end == 0
    exits = [event["event"] for event in command.events if event["pid"] == child.pid]
    assert exits.index("exit") < exits.index("output", 1)
