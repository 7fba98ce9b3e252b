from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import programs
import pytest

# Where it has just run out when it is stopped, a timer has no time left.
TIMER = """
import signal, sys, time
from constellation.process.origin import Origin

timer, number = getattr(signal, sys.argv[1]), getattr(signal, sys.argv[2])
handled = 0

def handler(number, frame):
    global handled
    handled += 1

signal.signal(number, handler)
signal.setitimer(timer, 0.0001, 0.0001)
for _ in range(100):
    origin = Origin()
    origin.give_up()
    before, limit = handled, time.monotonic() + 20
    while handled == before:
        assert time.monotonic() < limit, "it has stopped"
signal.setitimer(timer, 0)
origin = Origin()
assert not signal.sigpending()
origin.give_up()
assert signal.getitimer(timer) == (0, 0)
"""


@pytest.mark.parametrize(
    ("timer", "number"),
    [("ITIMER_REAL", "SIGALRM"), ("ITIMER_VIRTUAL", "SIGVTALRM"), ("ITIMER_PROF", "SIGPROF")],
)
def test_timers_go_on_where_init_fails(timer: str, number: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TIMER, timer, number], check=False, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


MONITORED = """
    import os
    import sys

    from constellation import Receiver, Sender, init, spawn

    seen = os.open("seen", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    monitoring = sys.monitoring

    def started(code, offset):
        with open("/proc/self/comm") as file:
            os.write(seen, f"{file.read().strip()} {code.co_name}\\n".encode())

    def child(parent):
        Sender(parent).send(monitoring.get_tool(3)).block()

    monitoring.use_tool_id(3, "tool")
    monitoring.register_callback(3, monitoring.events.PY_START, started)
    monitoring.set_events(3, monitoring.events.PY_START)
    init()
    print(Receiver(spawn(child).block()).recv().block())
"""


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no sys.monitoring")
@pytest.mark.skipif(sys.platform != "linux", reason="roles tell their names on Linux")
def test_no_role_runs_what_a_tool_monitors_the_program_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = programs.run(programs.write(tmp_path, MONITORED))
    assert (done.code, done.tree.out) == (0, b"tool\n")
    seen = (tmp_path / "seen").read_text().splitlines()
    assert [line for line in seen if line.startswith("cst-")] == []
    assert any(line.endswith(" child") for line in seen), "processes of the program do"


THREADS_TRACED = """
    import os
    import sys
    import threading

    from constellation import init, spawn

    seen = os.open("seen", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    command = os.getpid()

    def called(frame, event, argument):
        text = "command" if os.getpid() == command else frame.f_code.co_name
        os.write(seen, f"{text}\\n".encode())

    def in_thread():
        pass

    def child(parent):
        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()

    getattr(threading, sys.argv[1])(called)
    init()
    # The command has threads that write what is printed.
    print("text")
    spawn(child).block()
"""


@pytest.mark.parametrize("hook", ["settrace", "setprofile"])
def test_the_commands_own_threads_are_not_the_programs_to_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = programs.run(programs.write(tmp_path, THREADS_TRACED), hook, form="human")
    assert (done.code, done.out) == (0, b"text\n")
    seen = (tmp_path / "seen").read_text().splitlines()
    assert "in_thread" in seen
    assert "command" not in seen
    assert b"Traceback" not in done.err
