"""How deployed programs end: by a signal, by themselves, and with kill -9 of each part of them.

After each nobody hangs, and nothing is left: of the bridge (conftest.py) and anywhere else
(tests/conftest.py).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import local_bridge
import programs
import pytest
from local_bridge import Deployed, LocalBridge

TEN = """
import sys, time
from constellation import *

def child(parent, n):
    sender = Sender(parent)
    sender.send(n).block()
    Receiver(parent).recv().block()

def main():
    init()
    children = [spawn(child, n).block() for n in range(9)]
    receivers = [Receiver(pid) for pid in children]
    for receiver in receivers:
        receiver.recv().block()
    print("running", flush=True)
    for receiver in receivers:
        try:
            receiver.recv().block()
        except ProcessExited as error:
            print("noticed", error.status, flush=True)
            return

main()
"""


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    return programs.write(tmp_path, TEN)


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBridge]:
    with local_bridge.bridge(tmp_path_factory.mktemp("own")) as bridge:
        yield bridge


def running(command: Deployed) -> bool:
    return b"running" in command.output()


def family(pid: int) -> list[int]:
    return [pid, *(each for child in programs.children_of(pid) for each in family(child))]


def gone(pids: list[int]) -> bool:
    return not any(map(programs.alive, pids))


# -- signals to the command -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_to_the_command_ends_the_program(
    bridge: LocalBridge, ten: Path, number: int, code: int
) -> None:
    with bridge.start(ten) as command:
        command.until(lambda: running(command))
        below = family(command.zygote)  # the agent has a last word to wait for
        command.signal(number)
        assert command.wait() == code
    assert command.err == b""
    assert command.tree.end == signal.Signals(number).name
    assert gone(below)


def test_a_second_signal_kills_what_ignores_the_first(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import os, signal, time
        from constellation import init
        init()
        signal.signal(signal.SIGINT, lambda *_: os.write(1, b"ignored\\n"))
        print("running", flush=True)
        while True:
            time.sleep(1)
        """,
    )
    with bridge.start(path) as command:
        command.until(lambda: running(command))
        command.signal(signal.SIGINT)
        command.until(lambda: b"ignored" in command.output())
        command.signal(signal.SIGINT)
        assert command.wait() == 130
    assert command.tree.end == "SIGKILL"
    assert command.tree.status["cause"] == "killed by the command after SIGINT"


def test_a_process_that_tidies_up_has_its_say(bridge: LocalBridge, tmp_path: Path) -> None:
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
    with bridge.start(path) as command:
        command.until(lambda: running(command))
        command.signal(signal.SIGINT)
        assert command.wait() == 3
    assert command.output() == b"running\ntidied up\n"


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_before_init_ends_it_at_once(
    bridge: LocalBridge, tmp_path: Path, times: int
) -> None:
    mark = tmp_path / "mark"
    path = programs.write(
        tmp_path,
        """
        import sys, time
        open(sys.argv[1], "w").close()
        time.sleep(60)
        """,
    )
    with bridge.start(path, mark) as command:
        command.until(mark.exists)
        start = time.monotonic()
        for _ in range(times):
            command.signal(signal.SIGINT)
        assert command.wait() == 130
        assert time.monotonic() - start < 4
    (event,) = command.events
    assert event["event"] == "error"
    assert "before it ran" in event["message"] or "killed by the command" in event["message"]


def test_ctrl_c_while_it_waits_for_an_image(bridge: LocalBridge, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = programs.write(
        tmp_path,
        """
        import sys, time
        open(sys.argv[1], "w").close()
        time.sleep(60)
        """,
    )
    with bridge.start("--mem", "1 MiB", "--cpu", "0.1", path, mark) as command:
        command.until(mark.exists)
        command.signal(signal.SIGINT)
        assert command.wait() == 130


def test_ctrl_z_stops_the_program_and_fg_continues_it(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import time
        from constellation import init
        init()
        print("running", flush=True)
        for n in range(1000):
            time.sleep(0.05)
            print(n, flush=True)
        """,
    )
    with bridge.start(path, job=True) as command:
        command.until(lambda: running(command))
        command.signal(signal.SIGTSTP)
        command.until(lambda: state(command.process.pid) == b"T")
        (process,) = command.processes
        command.until(lambda: state(process) == b"T")
        command.for_a_while(6.0)  # longer than silence may last
        before = command.output()
        command.signal(signal.SIGCONT)
        command.until(lambda: command.output() != before)
        command.signal(signal.SIGINT)
        assert command.wait() == 130


def test_a_stopped_command_that_is_killed_takes_its_program_with_it(
    bridge: LocalBridge, ten: Path
) -> None:
    with bridge.start(ten, job=True) as command:
        command.until(lambda: running(command))
        command.signal(signal.SIGTSTP)
        command.until(lambda: state(command.process.pid) == b"T")
        below = family(command.agent)
        command.signal(signal.SIGKILL)
        command.until(lambda: gone(below), limit=15)


def state(pid: int) -> bytes:
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]


# -- kill -9 --------------------------------------------------------------------------------------


def test_a_killed_client_takes_its_program_with_it(bridge: LocalBridge, ten: Path) -> None:
    with bridge.start(ten) as command:
        command.until(lambda: running(command))
        below = family(command.agent)
        assert len(below) > 20
        command.signal(signal.SIGKILL)
        command.until(lambda: gone(below), limit=15)


def test_a_client_that_is_killed_early(bridge: LocalBridge, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = programs.write(
        tmp_path,
        """
        import sys, time
        open(sys.argv[1], "w").close()
        time.sleep(60)
        """,
    )
    with bridge.start(path, mark) as command:
        command.until(mark.exists)
        command.signal(signal.SIGKILL)
        command.wait()


def test_a_killed_agent_is_a_lost_node(bridge: LocalBridge, ten: Path) -> None:
    with bridge.start(ten) as command:
        command.until(lambda: running(command))
        below = family(command.agent)
        os.kill(command.agent, signal.SIGKILL)
        start = time.monotonic()
        assert command.wait() == 101
        assert time.monotonic() - start < 10
    assert gone(below)
    ends = {str(node.end) for node in command.tree.all()}
    assert len(ends) == 1
    assert ends.pop().startswith("lost: node local: ")


def test_an_agent_that_is_silent_is_told_of_in_words(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import time
        from constellation import init

        init()
        print("running", flush=True)
        time.sleep(60)
        """,
    )
    with local_bridge.bridge(tmp_path, timeout=3.0) as bridge, bridge.start(path) as command:
        command.until(lambda: running(command))
        agent = command.agent
        os.kill(agent, signal.SIGSTOP)
        try:
            assert command.wait() == 101
        finally:
            os.kill(agent, signal.SIGCONT)
    said = "the agent of program.py has said nothing for 3 s"
    assert command.tree.end == f"lost: node local: {said}"


def test_a_killed_monitor_takes_its_process_with_it(bridge: LocalBridge, ten: Path) -> None:
    with bridge.start(ten) as command:
        command.until(lambda: running(command))
        monitor = command.monitors[1]
        below = family(monitor)
        os.kill(monitor, signal.SIGKILL)
        code = command.wait()
    assert gone(below)
    assert b"noticed lost: monitor killed" in command.output()
    ends = sorted(str(node.end) for node in command.tree.all())
    assert ends == ["0"] + ["1"] * 8 + ["lost: monitor killed"]
    assert code == 101


def test_a_stopped_monitor_does_not_keep_its_program(bridge: LocalBridge, ten: Path) -> None:
    with bridge.start(ten) as command:
        command.until(lambda: running(command))
        monitor = command.monitors[1]
        below = family(monitor)
        os.kill(monitor, signal.SIGSTOP)
        command.signal(signal.SIGINT)
        command.signal(signal.SIGINT)
        assert command.wait() == 130
    bridge.settle()
    assert gone([monitor, *below])


def test_a_killed_zygote_ends_what_it_has_forked(bridge: LocalBridge, ten: Path) -> None:
    with bridge.start(ten) as command:
        command.until(lambda: running(command))
        below = family(command.zygote)
        os.kill(command.zygote, signal.SIGKILL)
        assert command.wait() != 0
    assert gone(below)
    assert len(list(command.tree.all())) == 10


def test_a_killed_process_is_noticed(bridge: LocalBridge, ten: Path) -> None:
    with bridge.start(ten) as command:
        command.until(lambda: running(command))
        os.kill(command.processes[1], signal.SIGKILL)
        command.wait()
    assert b"noticed SIGKILL" in command.output()


def test_a_killed_bridge_ends_everything(own: LocalBridge, ten: Path) -> None:
    with own.start(ten) as command:
        command.until(lambda: running(command))
        below = family(command.agent)
        own.process.kill()
        assert command.wait() == 101
        command.until(lambda: gone(below), limit=15)
    error = next(event for event in command.events if event["event"] == "error")
    assert error["message"].startswith("the bridge is lost: ")
    command.events.remove(error)
    assert {node.end for node in command.tree.all()} == {"lost: the bridge is lost"}
    local_bridge.tidy(own.options)


def test_a_bridge_that_ends_kills_its_programs(own: LocalBridge, ten: Path) -> None:
    with own.start(ten) as command:
        command.until(lambda: running(command))
        below = family(command.zygote)
        own.process.terminate()
        code = command.wait()
    assert gone(below)
    assert command.tree.end == "SIGKILL"
    assert command.tree.status["cause"] == "the bridge ends"
    # One whose peer is killed before it may come to see that, and fail of it.
    ends = {node.end for node in command.tree.all()}
    assert ends <= {"SIGKILL", 1}
    assert code == (101 if 1 in ends else 137)
    assert own.process.wait(20) == 0


# -- descendants ----------------------------------------------------------------------------------


def test_daemons_of_processes_end_with_the_program(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import subprocess, sys, time
        from constellation import *

        def child(parent):
            late = "import time; time.sleep(1.5); print('late', flush=True); time.sleep(60)"
            subprocess.Popen([sys.executable, "-c", late], start_new_session=True)

        init()
        try:
            Receiver(spawn(child).block()).recv().block()
        except ProcessExited as error:
            print(error.status, flush=True)
        time.sleep(3)
        """,
    )
    done = bridge.run(path)
    assert done.code == 0
    (child,) = done.tree.children
    assert (child.out, child.end) == (b"late\n", 0)


@pytest.mark.parametrize("number", [2, 3], ids=["a process", "one that was a spare"])
def test_what_its_node_kills_says_why(tmp_path: Path, number: int) -> None:
    path = programs.write(
        tmp_path,
        """
        import time
        from constellation import *
        def child(parent, n):
            if n == int(__import__("sys").argv[1]) - 2:
                time.sleep(60)
        init()
        for n in range(3):
            pid = spawn(child, n).block()
            time.sleep(0.3)  # so that a spare is made, and has started
            try:
                Receiver(pid).recv().block()
            except ProcessExited as error:
                print(error.status, error.status.cause)
        """,
    )
    directory = tmp_path / "bridge"
    directory.mkdir()
    with local_bridge.bridge(directory, kills=number) as bridge:
        done = bridge.run(path, str(number))
        bridge.settle()
    ends = [(child.end, (child.status or {}).get("cause")) for child in done.tree.children]
    expected: list[tuple[object, str | None]] = [(0, None)] * 3
    expected[number - 2] = ("SIGKILL", "used 2 MiB of 1 MiB")
    assert ends == expected
    assert b"SIGKILL used 2 MiB of 1 MiB" in done.tree.out
    assert done.code == 101


def test_signals_for_the_program_are_passed_on(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import signal
        from constellation import init
        init()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        print("running", flush=True)
        print(signal.sigwait([signal.SIGUSR1]).name)
        """,
    )
    with bridge.start(path) as command:
        command.until(lambda: running(command))
        command.signal(signal.SIGUSR1)
        assert command.wait() == 0
    assert command.output() == b"running\nSIGUSR1\n"
