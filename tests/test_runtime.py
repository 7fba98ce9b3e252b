"""`init()`: what it refuses, what it answers before it forks, and what has to come after it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import programs
import pytest

import constellation
from constellation import InitError, Pid, Receiver, Resources, Sender, runtime
from constellation.version import VERSION

NOBODY = Pid.new("ipc:///tmp/nobody")


# -- before init()


@pytest.mark.parametrize(
    "call",
    [
        constellation.pid,
        constellation.resources,
        runtime.current,
        lambda: constellation.spawn(print),
        lambda: constellation.try_spawn(print),
        lambda: Sender(NOBODY),
        lambda: Sender[int](NOBODY, name="x"),
        lambda: Receiver(NOBODY),
        lambda: Receiver[int](NOBODY),
    ],
)
def test_what_needs_init_says_so(call: Callable[[], object]) -> None:
    with pytest.raises(InitError, match=r"call constellation\.init\(\) first"):
        call()


@pytest.mark.parametrize("given", [5, None, "100 MiB", Resources])
def test_the_resources_are_resources(given: object) -> None:
    with pytest.raises(TypeError, match=r"init\(\) takes Resources\(mem=\.\.\., cpu=\.\.\.\), not"):
        constellation.init(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("linger", "error"),
    [(-1, ValueError), (float("nan"), ValueError), ("5", TypeError), ((), TypeError)],
)
def test_linger_is_a_number_of_seconds(linger: object, error: type[Exception]) -> None:
    with pytest.raises(error, match="linger is a number of seconds or None, not"):
        constellation.init(linger=linger)  # type: ignore[arg-type]


@pytest.mark.parametrize("linger", ["0", "1.5", "float('inf')", "None"])
def test_linger_takes_numbers_and_none(linger: str, tmp_path: Path) -> None:
    path = programs.write(tmp_path, f"from constellation import *\ninit(linger={linger})")
    assert programs.run(path).tree.end == 0


# -- what it refuses


REFUSED = {
    "thread": (
        """
        go = threading.Event()
        thread = threading.Thread(target=go.wait, name="worker")
        thread.start()
        """,
        "go.set()",
        "no other Python thread may run, but 'worker' does",
    ),
    "thread of C code": (
        """
        import _thread
        _thread.start_new_thread(time.sleep, (1000,))
        while not _thread._count():
            time.sleep(0.01)
        """,
        "",
        "but a thread unknown to the threading module does",
    ),
    "thread unknown to threading": (
        """
        import _thread
        def run():
            while True:
                time.sleep(1)
        _thread.start_new_thread(run, ())
        while not _thread._count():
            time.sleep(0.01)
        """,
        "",
        "but a thread unknown to the threading module does",
    ),
    "executor": (
        """
        from concurrent.futures import ThreadPoolExecutor
        executor = ThreadPoolExecutor()
        executor.submit(int).result()
        """,
        "",
        "but 'ThreadPoolExecutor-0_0' does: call init() before threads are started",
    ),
    "running child": (
        'child = subprocess.Popen(["sleep", "1000"])',
        "child.kill(), child.wait()",
        "there may be no child process, neither running nor unwaited for, but there is",
    ),
    "dead child": (
        """
        child = subprocess.Popen(["true"])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        """,
        "child.wait()",
        "call init() before child processes are started, or wait for them",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_init_refuses_and_says_why(case: str, tmp_path: Path) -> None:
    before, after, text = REFUSED[case]
    path = programs.write(tmp_path, before)
    body = path.read_text()
    path.write_text(
        "import os, subprocess, threading, time\n"
        "from constellation import *\n"
        f"{body}\n"
        "try:\n    init()\nexcept InitError as error:\n    print(error, flush=True)\n"
        f"{after}\n"
    )
    done = programs.run(path)
    assert text in done.out.decode()
    assert done.err == b""
    assert done.code == 0


def test_init_refuses_a_running_event_loop(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import asyncio
        from constellation import *

        async def main():
            init()

        try:
            asyncio.run(main())
        except InitError as error:
            print(error)
        """,
    )
    done = programs.run(path)
    assert b"cannot be called inside a running event loop: call it before" in done.out


def test_init_refuses_another_thread_than_the_main_one(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import threading
        from constellation import *

        def run():
            try:
                init()
            except InitError as error:
                print(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        """,
    )
    assert b"but 'MainThread' does" in programs.run(path).out


def test_init_is_called_once_in_a_program(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        from constellation import *

        def again(parent):
            try:
                init()
            except InitError as error:
                print(error)

        init()
        again(None)
        try:
            Receiver(spawn(again).block()).recv().block()
        except ProcessExited as error:
            assert error.status.success
        """,
    )
    tree = programs.run(path).tree
    text = b"init() was called before in this program; it is called once\n"
    assert [node.out for node in tree.all()] == [text] * 2


def test_a_refused_init_may_be_called_again(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import threading
        from constellation import *

        go = threading.Event()
        thread = threading.Thread(target=go.wait)
        thread.start()
        try:
            init()
        except InitError:
            go.set()
            thread.join()
        init()
        print(pid().hex)
        """,
    )
    tree = programs.run(path).tree
    assert tree.out.decode().strip() == tree.pid


# -- what is no obstacle


def test_what_was_waited_for_is_no_obstacle(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import asyncio, multiprocessing, subprocess, threading
        from multiprocessing import shared_memory
        from constellation import *

        def main():
            subprocess.run(["true"], check=True)
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
            asyncio.run(asyncio.sleep(0))
            process = multiprocessing.get_context("fork").Process(target=int)
            process.start()
            process.join()
            # Has the resource tracker of multiprocessing run.
            memory = shared_memory.SharedMemory(create=True, size=10)
            init()
            memory.close()
            memory.unlink()
            print("fine")

        if __name__ == "__main__":
            main()
        """,
    )
    assert programs.run(path).tree.out == b"fine\n"


def test_threads_of_native_libraries_are_no_obstacle(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import numpy
        from constellation import *

        matrix = numpy.arange(90_000.0).reshape(300, 300)
        product = matrix @ matrix

        def child(parent):
            Sender(parent).send(bool((matrix @ matrix == product).all())).block()

        init()
        print(bool((matrix @ matrix == product).all()))
        print(Receiver(spawn(child).block()).recv().block())
        """,
    )
    assert programs.run(path, OPENBLAS_NUM_THREADS="4").tree.out == b"True\nTrue\n"


# -- what each process knows


def test_a_process_knows_its_pid_and_resources(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        from constellation import *

        def child(parent):
            print(pid().hex, int(resources().mem), float(resources().cpu), parent.hex)

        def wait(pid):
            try:
                Receiver(pid).recv().block()
            except ProcessExited as error:
                assert error.status.success

        init(Resources(mem="20 MiB", cpu=0.5))
        print(pid().hex, int(resources().mem), float(resources().cpu))
        wait(spawn(child, resources=Resources(mem=1024, cpu=2)).block())
        wait(spawn(child).block())
        """,
    )
    tree = programs.run(path).tree
    small, usual = tree.children
    assert tree.out.decode().split() == [tree.pid, str(20 << 20), "0.5"]
    assert small.out.decode().split() == [small.pid, "1024", "2.0", tree.pid]
    assert usual.out.decode().split() == [usual.pid, str(100 << 20), "0.0625", tree.pid]


# -- what the environment asks


PROGRAM = """
import atexit
from constellation import *
atexit.register(print, "at exit")
init(Resources(mem="1 GiB", cpu=2))
print("after")
"""


def test_the_version_is_asked_for(tmp_path: Path) -> None:
    done = programs.run(programs.write(tmp_path, PROGRAM), CONSTELLATION_VERSION="1")
    assert done.out.decode().splitlines()[0] == f"constellation-lib {VERSION}"
    assert b"after" not in done.out
    assert (done.code, done.err) == (0, b"")


def test_the_needs_of_the_initial_process_are_asked_for(tmp_path: Path) -> None:
    done = programs.run(programs.write(tmp_path, PROGRAM), CONSTELLATION_RECCE="1")
    assert json.loads(done.out.splitlines()[0]) == {"mem": 1 << 30, "cpu": 2.0}
    assert b"after" not in done.out
    assert (done.code, done.err) == (0, b"")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("CONSTELLATION_FORMAT", "xml", "'human' or 'json'"),
        ("CONSTELLATION_FORMAT", "JSON", "'human' or 'json'"),
        ("CONSTELLATION_VERSION", "0", "'1' or not set"),
        ("CONSTELLATION_RECCE", "yes", "'1' or not set"),
        ("CONSTELLATION_START", "spawn", "'fork' or 'fresh'"),
    ],
)
def test_other_values_are_an_error_that_says_what_may_be(
    variable: str, value: str, expected: str, tmp_path: Path
) -> None:
    settings = {"form": "human"} | {variable: value}
    form = settings.pop("CONSTELLATION_FORMAT", settings.pop("form"))
    done = programs.run(programs.write(tmp_path, PROGRAM), form=form, **settings)
    assert done.code == 2
    assert done.err.decode() == (
        f"the environment variable {variable} is {value!r}, but must be {expected}\n"
    )
    assert done.out == b"at exit\n"


def test_an_empty_value_is_an_error_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(programs.write(tmp_path, PROGRAM))],
        env={**programs.environment(), "CONSTELLATION_FORMAT": ""},
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=programs.LIMIT,
        check=False,
    )
    assert done.returncode == 2
    assert b"is '', but must be 'human' or 'json'" in done.stderr


def test_a_watchdog_of_faulthandler_is_ended(tmp_path: Path) -> None:
    """Its thread is gone in a fork, which would wait for it for ever when it leaves."""
    path = programs.write(
        tmp_path,
        """
        import faulthandler

        faulthandler.dump_traceback_later(600)

        from constellation import init

        init()
        faulthandler.dump_traceback_later(600)
        print("armed")
        """,
    )
    assert programs.run(path).tree.out == b"armed\n"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["REAL", "VIRTUAL", "PROF"])
def test_a_timer_goes_on_in_the_first_process_and_not_in_the_command(
    tmp_path: Path, name: str
) -> None:
    path = programs.write(
        tmp_path,
        f"""
        import signal

        timer = signal.ITIMER_{name}
        number = {{"REAL": "SIGALRM", "VIRTUAL": "SIGVTALRM", "PROF": "SIGPROF"}}["{name}"]
        handled = []
        signal.signal(getattr(signal, number), lambda *_: handled.append(1))
        signal.setitimer(timer, 0.01, 0.01)

        from constellation import init

        init()
        before = len(handled)
        for _ in range(3000):
            print("for the command to do")
        while len(handled) == before:
            pass
        signal.setitimer(timer, 0)
        print("done")
        """,
    )
    done = programs.run(path)
    assert done.code == 0
    assert done.tree.out.endswith(b"done\n")


def test_an_interrupt_in_init_leaves_no_directory_behind(tmp_path: Path, way: str) -> None:
    path = programs.write(
        tmp_path,
        """
        import os
        import signal
        import socket

        from constellation import init

        make = socket.socketpair

        def interrupted(*arguments):
            os.kill(os.getpid(), signal.SIGINT)
            return make(*arguments)

        socket.socketpair = interrupted
        init()
        """,
    )
    temporary = tmp_path / "t"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    done = subprocess.run([sys.executable, path], env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in done.stderr
    assert list(temporary.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_no_matter_of_internals(
    tmp_path: Path, way: str
) -> None:
    path = programs.write(
        tmp_path,
        """
        import signal
        import tempfile

        from constellation import InitError, init

        tempfile.tempdir = "/dev/null/none"
        signal.alarm(1000)
        try:
            init()
        except InitError as error:
            print(error, signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.alarm(0) > 0)
        """,
    )
    done = subprocess.run([sys.executable, path], capture_output=True, check=False)
    text = b"init() cannot make the directory of its sockets: Not a directory set() True\n"
    assert (done.stdout, done.stderr) == (text, b"")
