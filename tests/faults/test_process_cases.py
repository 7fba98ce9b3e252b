"""Processes that end, stop and fail in every way, and programs that are started in every way."""

from __future__ import annotations

import pstats
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import programs
import pytest

HEAD = """
import atexit, ctypes, os, signal, subprocess, sys, threading, time
from constellation import *

def wait(pid):
    try:
        Receiver(pid).recv().block()
    except ProcessExited as error:
        return error.status
"""


def program(directory: Path, source: str) -> Path:
    path = directory / "program.py"
    programs.write(directory, source)
    path.write_text(HEAD + path.read_text())
    return path


def gone(pids: list[int]) -> bool:
    return not any(map(programs.alive, pids))


# -- how a program is started


STARTED = """
from constellation import Receiver, Sender, init, spawn

class Kind:
    pass

def child(parent, kind):
    Sender(parent).send((kind, isinstance(kind, Kind))).block()

def main():
    init()
    kind, same = Receiver(spawn(child, Kind()).block()).recv().block()
    print(same, isinstance(kind, Kind), __name__)

if __name__ == "__main__":
    main()
"""


STARTS = ["path", "module", "package", "directory", "zip", "-c", "stdin"]
FRESH = ["path", "module", "zip", "-c"]  # those with processes that start fresh


@pytest.mark.parametrize(
    ("how", "way"),
    [*((how, "fork") for how in STARTS), *((how, "fresh") for how in FRESH)],
)
def test_a_program_runs_however_it_is_started(how: str, way: str, tmp_path: Path) -> None:
    package = tmp_path / "pŕo grám"
    if how in ("module", "package"):
        package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("__main__.py", "module.py"):
        (package / name).write_text(STARTED)
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__main__.py", STARTED)
    arguments = {
        "path": [str(package / "module.py")],
        "module": ["-m", "package.module"],
        "package": ["-m", "package"],
        "directory": [str(package)],
        "zip": [str(archive)],
        "-c": ["-c", STARTED],
        "stdin": ["-"],
    }[how]
    done = subprocess.run(
        [sys.executable, *arguments],
        env=programs.environment(CONSTELLATION_FORMAT="json", CONSTELLATION_START=way),
        cwd=tmp_path,
        input=STARTED.encode() if how == "stdin" else b"",
        capture_output=True,
        timeout=programs.LIMIT,
        check=False,
    )
    tree = programs.Finished(done.returncode, done.stdout, done.stderr).tree
    assert tree.out == b"True True __main__\n"
    assert [node.end for node in tree.all()] == [0, 0]


def test_a_profile_is_that_of_the_initial_process(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        from constellation import Receiver, Sender, init, spawn
        def child(parent):
            Sender(parent).send(1).block()
        def work():
            print(Receiver(spawn(child).block()).recv().block())
        init()
        work()
        """,
    )
    profile = tmp_path / "profile"
    done = subprocess.run(
        [sys.executable, "-m", "cProfile", "-o", str(profile), str(path)],
        env=programs.environment(CONSTELLATION_FORMAT="json"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=programs.LIMIT,
        check=False,
    )
    tree = programs.Finished(done.returncode, done.stdout, done.stderr).tree
    assert (tree.out, [node.end for node in tree.all()]) == (b"1\n", [0, 0]), tree.err.decode()
    measured = pstats.Stats(str(profile)).stats  # type: ignore[attr-defined]
    assert "work" in {function for _, _, function in measured}


def test_definitions_of_an_interactive_session_run_in_processes(tmp_path: Path) -> None:
    session = (
        "from constellation import *\n"
        "def before(parent): Sender(parent).send('before').block()\n\n"
        "init()\n"
        "def after(parent): Sender(parent).send('after').block()\n\n"
        "Receiver(spawn(before).block()).recv().block()\n"
        "Receiver(spawn(after).block()).recv().block()\n"
        "1 / 0\n"
        "exit(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-i", "-q"],
        env=programs.environment(CONSTELLATION_FORMAT="json"),
        input=session.encode(),
        capture_output=True,
        timeout=programs.LIMIT,
        check=False,
    )
    # What the prompt wrote before init() is the terminal's, not a process's.
    tree = programs.Finished(done.returncode, done.stdout, b"").tree
    assert tree.out == b"'before'\n'after'\n"
    assert b"ZeroDivisionError" in tree.err
    assert [node.end for node in tree.all()] == [3, 0, 0]


def test_work_before_init_is_done_once(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        print("before")
        with open(sys.argv[1], "a") as file:
            file.write("once\\n")
        atexit.register(lambda: open(sys.argv[1], "a").write("at exit\\n"))
        init()
        assert wait(spawn(lambda parent: None).block()).success
        print("after")
        """,
    )
    note = tmp_path / "note"
    done = programs.run(path, str(note), form="human")
    assert done.out.decode().split() == ["before", "after"]
    assert note.read_text() == "once\nat exit\n"


@pytest.mark.parametrize("end", ["pass", "sys.exit(3)", "1 / 0"])
def test_a_program_that_never_calls_init_is_an_ordinary_one(end: str, tmp_path: Path) -> None:
    done = programs.run(program(tmp_path, f"print('ordinary')\n{end}"))
    assert done.out == b"ordinary\n"
    assert done.code == {"pass": 0, "sys.exit(3)": 3, "1 / 0": 1}[end]


def test_a_bad_option_exits_with_2(tmp_path: Path) -> None:
    done = programs.run(Path(__file__).parent.parent / "programs" / "surroundings.py", "--bad")
    assert done.code == 2
    assert done.out == b""
    assert b"usage:" in done.err


# -- what a process is given


def test_a_large_capture_is_warned_of_once_and_costs_nobody_else(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def peak(pid):
            for line in open(f"/proc/{pid}/status"):
                if line.startswith("VmHWM"):
                    return int(line.split()[1]) >> 10

        def parent_of(pid):
            return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])

        def main():
            init()
            large = b"x" * (60 << 20)
            def child(parent):
                assert len(large) == 60 << 20
            for _ in range(20):
                assert wait(spawn(child).block()).success
            monitor = os.getppid()
            zygote = parent_of(monitor)
            for pid in (monitor, zygote, parent_of(zygote)):
                assert peak(pid) < 60, peak(pid)

        main()
        """,
    )
    tree = programs.run(path).tree
    assert [node.end for node in tree.all()] == [0] * 21
    warned = re.findall(r"RuntimeWarning: (.*)", tree.err.decode())
    assert len(warned) == 1
    assert "large" in warned[0]
    assert "60 MiB" in warned[0]


def test_a_removed_working_directory_is_an_error_of_the_spawner(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        init()
        os.mkdir(sys.argv[1])
        os.chdir(sys.argv[1])
        os.rmdir(sys.argv[1])
        try:
            spawn(print).block()
        except SpawnError as error:
            print(error)
        """,
    )
    tree = programs.run(path, str(tmp_path / "removed")).tree
    assert tree.out == b"the working directory, which a new process would have, was removed\n"
    assert not tree.children


def test_a_program_runs_in_a_directory_that_was_removed_before(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        os.mkdir(sys.argv[1])
        os.chdir(sys.argv[1])
        os.rmdir(sys.argv[1])
        init()
        print(wait(spawn(print).block()))
        """,
    )
    tree = programs.run(path, str(tmp_path / "removed")).tree
    assert tree.out == b"0\n"
    assert [node.end for node in tree.all()] == [0, 0]


def test_standard_input_of_a_spawned_process_is_empty(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def child(parent):
            print(repr(sys.stdin.read()), repr(os.read(0, 10)))
        first = input()
        init()
        assert wait(spawn(child).block()).success
        print(first, sys.stdin.read())
        """,
    )
    tree = programs.run(path, stdin=b"one\ntwo\nthree").tree
    assert tree.out == b"one two\nthree\n"
    assert tree.children[0].out == b"'' b''\n"


def test_randomness_goes_on_in_the_first_and_differs_in_the_others(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        import random
        import numpy

        def draw():
            return random.random(), float(numpy.random.rand()), os.urandom(4)

        def child(parent):
            Sender(parent).send(draw()).block()

        random.seed(7)
        expected = random.random()
        random.seed(7)
        init()
        draws = [Receiver(spawn(child).block()).recv().block() for _ in range(3)]
        print(random.random() == expected, [len(set(each)) for each in zip(*draws)])
        """,
    )
    assert programs.run(path).tree.out == b"True [3, 3, 3]\n"


# -- how it ends


def test_peers_of_a_process_that_dies_learn_how(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def child(parent, how):
            Receiver(parent, name="start").recv().block()
            if how == "caught":
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
                os.kill(os.getpid(), signal.SIGTERM)
            elif how == "segmentation fault":
                ctypes.string_at(0)
            elif how == "abort":
                os.abort()
            os.kill(os.getpid(), int(how))

        def main():
            init()
            ways = ["segmentation fault", "abort", "9", "15", "caught"]
            for how in ways:
                pid = spawn(child, how).block()
                Sender(pid, name="start").send(None).block()
                print(how, wait(pid).shell_code)
                try:
                    while True:
                        Sender(pid).send(b"").block()
                except ProcessExited as error:
                    assert error.pid == pid

        main()
        """,
    )
    tree = programs.run(path).tree
    assert tree.out == b"segmentation fault 139\nabort 134\n9 137\n15 143\ncaught 0\n"
    ends = [child.end for child in tree.children]
    assert ends == ["SIGSEGV", "SIGABRT", "SIGKILL", "SIGTERM", 0]


def test_threads_are_waited_for_unless_they_are_daemons(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def late(parent):
            def end():
                go.wait()
                time.sleep(0.2)
                print("thread")
            atexit.register(print, "atexit")
            go = threading.Event()
            threading.Thread(target=end).start()
            threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
            print("main")
            go.set()

        init()
        print(wait(spawn(late).block()))
        late(None)
        """,
    )
    tree = programs.run(path).tree
    assert tree.children[0].out == b"main\nthread\natexit\n"
    assert tree.out == b"0\nmain\nthread\natexit\n"


def test_what_is_in_buffers_at_the_end_is_written(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        import gzip, tempfile
        kept = []

        def child(parent, directory):
            for opened in (open, gzip.open):
                file = opened(f"{directory}/{opened.__module__}", "wt")
                file.write("data")
                kept.append(file)
            below = open(f"{directory}/below", "wb")
            above = gzip.GzipFile(fileobj=below, mode="wb")
            above.write(b"data")
            kept.append((below, above))
            ctypes.CDLL(None).printf(b"from C")

        def main():
            with tempfile.TemporaryDirectory() as directory:
                init()
                print(wait(spawn(child, directory).block()))
                assert open(f"{directory}/_io").read() == "data"
                assert gzip.open(f"{directory}/gzip", "rt").read() == "data"
                assert gzip.open(f"{directory}/below", "rt").read() == "data"

        main()
        """,
    )
    tree = programs.run(path).tree
    assert tree.out == b"0\n"
    assert tree.children[0].out == b"from C"


def test_a_file_that_cannot_be_written_at_the_end_is_told_of_once(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        import gzip, tempfile
        kept = []

        def child(parent, directory):
            kept.append(open("/dev/full", "wb"))
            kept[0].write(b"data")
            kept.append(gzip.open(f"{directory}/file", "wb"))

        def main():
            with tempfile.TemporaryDirectory() as directory:
                init()
                print(wait(spawn(child, directory).block()))

        main()
        """,
    )
    tree = programs.run(path).tree
    assert tree.out == b"0\n"
    assert tree.children[0].err.count(b"No space left on device") == 1


def test_exit_handlers_of_a_process_may_use_channels(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def child(parent):
            atexit.register(lambda: Sender(parent).send("at exit").block())

        init()
        pid = spawn(child).block()
        receiver = Receiver(pid)
        print(receiver.recv().block())
        """,
    )
    assert programs.run(path).tree.out == b"at exit\n"


def test_a_stopped_process_is_no_dead_one_and_ends_with_the_command(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def child(parent):
            os.kill(os.getpid(), signal.SIGSTOP)

        init()
        pid = spawn(child).block()
        try:
            Receiver(pid).recv().block(timeout=0.5)
        except TimeoutError:
            print("waiting", flush=True)
        time.sleep(1000)
        """,
    )
    with programs.start(path) as command:
        command.until(lambda: b"waiting" in command.output())
        below = [*command.processes, *command.monitors, command.zygote]
        command.signal(signal.SIGTERM)
        command.until(lambda: any(event["event"] == "exit" for event in command.events))
        command.signal(signal.SIGTERM)
        assert command.wait() == 143
    assert command.tree.end == "SIGTERM"
    assert command.tree.children[0].end == "SIGKILL"
    assert gone(below)


def test_a_process_that_ignores_all_is_killed_after_the_grace(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def stubborn(parent):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            print("ready", flush=True)
            while True:
                time.sleep(1000)

        init()
        spawn(stubborn).block()
        stubborn(None)
        """,
    )
    with programs.start(path) as command:
        command.until(lambda: command.output().count(b"ready") == 2)
        command.signal(signal.SIGINT)
        assert command.wait() == 130
    for node in command.tree.all():
        assert node.end == "SIGKILL"
        assert node.status is not None
        assert node.status["cause"] == "killed by the command after SIGINT"


def test_an_interrupt_while_waiting_for_readers_ends_the_wait(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        from constellation.transport import leaving

        def child(parent):
            sender = Sender(parent)
            sender.send(os.getpid()).block()
            sender.flush().block()
            os.kill(os.getpid(), signal.SIGSTOP)

        def stopped(pid):
            return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "T"

        def leave(*arguments):
            print("leaving", flush=True)
            return original(*arguments)

        original, leaving.leave = leaving.leave, leave
        init()
        pid = spawn(child).block()
        os_pid = Receiver(pid).recv().block()
        while not stopped(os_pid):
            time.sleep(0.01)
        Sender(pid).send("never received").block()
        """,
    )
    with programs.start(path) as command:
        command.until(lambda: b"leaving" in command.output())
        command.signal(signal.SIGINT)
        command.until(lambda: any(event["event"] == "exit" for event in command.events))
        command.signal(signal.SIGINT)
        assert command.wait() == 130
    assert command.tree.end == "SIGINT"
    assert command.tree.err == (
        b"constellation: interrupted before everything that was sent had been received\n"
    )


def test_an_interrupted_process_may_go_on_and_end_well(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def child(parent):
            Receiver(parent).recv().block()

        init()
        pid = spawn(child).block()
        try:
            print("waiting", flush=True)
            Receiver(pid).recv().block()
        except KeyboardInterrupt:
            Sender(pid).send(0).block()
        """,
    )
    with programs.start(path) as command:
        command.until(lambda: b"waiting" in command.output())
        command.signal(signal.SIGINT)
        assert command.wait() == 0
    assert [node.end for node in command.tree.all()] == [0, 0]


# -- what it does to itself


def test_a_fork_has_no_channels_and_says_so(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)

        def child(parent):
            sender = Sender(parent)
            fork = os.fork()
            if not fork:
                for attempt in (lambda: sender.send(1).block(), lambda: spawn(print).block(), pid):
                    try:
                        print(bool(attempt()))
                    except RuntimeError as error:
                        print("forked" in str(error))
                return
            os.waitpid(fork, 0)
            sender.send(2).block()

        init()
        print(Receiver(spawn(child).block()).recv().block())
        """,
    )
    tree = programs.run(path).tree
    assert tree.out == b"2\n"
    (child,) = tree.children
    assert child.out == b"True\nTrue\nTrue\n"
    assert child.end == 0


def test_a_fork_that_fails_shows_that_and_nothing_else(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)

        def fail():
            fork = os.fork()
            if not fork:
                raise ValueError("so it is")
            print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]))

        def child(parent):
            fail()

        try:
            init()
        except BaseException:
            print("init() raises in a spawned process")
        print(wait(spawn(child).block()))
        fail()
        """,
    )
    tree = programs.run(path).tree
    (child,) = tree.children
    assert (tree.out, child.out) == (b"0\n1\n", b"1\n")
    for node in (tree, child):
        assert node.end == 0
        err = node.err.decode()
        assert err.splitlines()[-1] == "ValueError: so it is"
        assert err.count("Traceback") == 1
        assert "constellation/" not in err


def test_a_daemonised_fork_does_not_outlive_the_command(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)

        def child(parent, note):
            if os.fork() == 0:
                os.setsid()
                if os.fork():
                    os._exit(0)
                os.closerange(0, 1000)
                with open(note + ".new", "w") as file:
                    file.write(str(os.getpid()))
                os.rename(note + ".new", note)
                time.sleep(1000)
            while not os.path.exists(note):
                time.sleep(0.01)

        init()
        print(wait(spawn(child, sys.argv[1]).block()))
        os.kill(int(open(sys.argv[1]).read()), 0)
        print("it lives on")
        """,
    )
    note = tmp_path / "pid"
    tree = programs.run(path, str(note)).tree
    assert tree.out == b"0\nit lives on\n"
    assert [node.end for node in tree.all()] == [0, 0]
    assert not programs.alive(int(note.read_text()))


def test_the_signal_of_a_timer_set_before_init_reaches_the_initial_process(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        done = threading.Event()
        signal.signal(signal.SIGALRM, lambda *_: done.set())
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        init()
        print(done.wait(30))
        """,
    )
    assert programs.run(path).tree.out == b"True\n"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_user_signals_go_to_the_initial_process(number: int, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        got = []
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda number, frame: got.append(number))
        init()
        print("ready", flush=True)
        while not got:
            time.sleep(0.01)
        print(got)
        """,
    )
    with programs.start(path) as command:
        command.until(lambda: b"ready" in command.output())
        command.signal(number)
        assert command.wait() == 0
    assert str([int(number)]).encode() in command.output()


def test_a_nested_program_is_a_program_of_its_own(tmp_path: Path) -> None:
    inner = tmp_path / "inner.py"
    inner.write_text("from constellation import *\ninit()\nprint(pid().hex)\n")
    path = program(
        tmp_path,
        f"""
        def child(parent):
            done = subprocess.run([sys.executable, {str(inner)!r}], capture_output=True, text=True)
            print(done.returncode, '"exit"' in done.stdout, pid().hex in done.stdout)

        init()
        print(wait(spawn(child).block()))
        """,
    )
    tree = programs.run(path).tree
    assert tree.out == b"0\n"
    assert tree.children[0].out == b"0 True False\n"


def test_what_sudo_and_nohup_do_to_signals_is_kept(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        def child(parent):
            print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)

        init()
        child(None)
        assert wait(spawn(child).block()).success
        """,
    )
    done = subprocess.run(
        ["sh", "-c", 'trap "" HUP; exec "$0" "$1"', sys.executable, str(path)],
        env=programs.environment(CONSTELLATION_FORMAT="json"),
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=programs.LIMIT,
        check=False,
    )
    tree = programs.Finished(done.returncode, done.stdout, done.stderr).tree
    assert [node.out for node in tree.all()] == [b"True\n", b"True\n"]


def test_the_environment_says_how_the_program_runs(tmp_path: Path) -> None:
    path = program(tmp_path, "init()\nprint(os.environ['CONSTELLATION'])")
    assert programs.run(path, CONSTELLATION="anything").tree.out == b"native\n"
