"""Processes that start fresh: what happens before each of them reaches `init()`, and what of it
shows. That all else is the same, the tests say that are run for both ways."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import programs
import pytest


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSTELLATION_START", "fresh")


# Counts how often the program has been run: as the command (0), the initial process (1), and so on.
HEAD = """
import os, signal, sys, time
RUNS = sys.argv[1]
RUN = len(os.listdir(RUNS))
open(os.path.join(RUNS, str(RUN)), "w").close()
"""

SPAWNER = """
if RUN == int(sys.argv[2]):
    open(os.path.join(RUNS, "unborn"), "w").write(str(os.getpid()))
    while not os.path.exists(sys.argv[3]):
        time.sleep(0.01)

from constellation import *

def child(parent):
    print("child", flush=True)

init()
print("running", flush=True)
try:
    Receiver(spawn(child).block()).recv().block()
except (SpawnError, ProcessExited) as error:
    print(type(error).__name__, error, flush=True)
"""


def program(directory: Path, source: str) -> Path:
    path = programs.write(directory, source)
    path.write_text(HEAD + path.read_text())
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    directory = tmp_path / "runs"
    directory.mkdir()
    return directory


class Waiting:
    """A command, one of whose processes waits before its `init()` until it is released."""

    def __init__(self, command: programs.Running, unborn: Path, release: Path) -> None:
        self.command = command
        self.release = release
        command.until(lambda: unborn.exists() and unborn.read_text())
        self.process = int(unborn.read_text())

    @property
    def monitor(self) -> int:
        (monitor,) = (
            each for each in self.command.monitors if self.process in programs.children_of(each)
        )
        return monitor

    @property
    def all(self) -> list[int]:
        """The processes below the command."""
        found, unseen = [], [self.command.process.pid]
        while unseen:
            below = programs.children_of(unseen.pop())
            found += below
            unseen += below
        return found


@pytest.fixture
def waiting(request: pytest.FixtureRequest, runs: Path, tmp_path: Path) -> Iterator[Waiting]:
    """The parameter is which run it is that waits."""
    path = program(tmp_path, SPAWNER)
    release = tmp_path / "release"
    with programs.start(path, str(runs), str(request.param), str(release)) as command:
        yield Waiting(command, runs / "unborn", release)


initial = pytest.mark.parametrize("waiting", [1], indirect=True)
spawned = pytest.mark.parametrize("waiting", [2], indirect=True)
either = pytest.mark.parametrize("waiting", [1, 2], indirect=True)


def gone(pids: list[int]) -> bool:
    return not any(map(programs.alive, pids))


# -- kill -9 before `init()`


@spawned
def test_a_process_that_is_killed_was_never_spawned(waiting: Waiting) -> None:
    os.kill(waiting.process, signal.SIGKILL)
    assert waiting.command.wait() == 0
    tree = waiting.command.tree
    assert tree.out.decode() == (
        "running\nProgramError the new process ended before it reached init(): SIGKILL\n"
    )
    assert tree.children == []


@initial
def test_an_initial_process_that_is_killed_is_the_end(waiting: Waiting) -> None:
    os.kill(waiting.process, signal.SIGKILL)
    assert waiting.command.wait() == 137
    assert waiting.command.tree.end == "SIGKILL"


@spawned
def test_a_killed_monitor_takes_its_process_along(waiting: Waiting) -> None:
    os.kill(waiting.monitor, signal.SIGKILL)
    assert waiting.command.wait() == 0
    assert not programs.alive(waiting.process)
    tree = waiting.command.tree
    assert tree.out == b"running\nSpawnError the new process is lost: monitor killed\n"
    assert tree.children == []


@either
def test_a_killed_zygote_ends_the_program(waiting: Waiting) -> None:
    everything = waiting.all
    os.kill(waiting.command.zygote, signal.SIGKILL)
    assert waiting.command.wait() != 0
    assert gone(everything)
    assert waiting.command.tree.status is not None


@either
def test_a_killed_bridge_takes_everything_along(waiting: Waiting) -> None:
    everything = waiting.all
    waiting.command.signal(signal.SIGKILL)
    waiting.command.until(lambda: gone(everything))
    assert waiting.command.wait() == -signal.SIGKILL


@spawned
def test_a_killed_spawner_leaves_no_process(waiting: Waiting) -> None:
    (spawner,) = set(waiting.command.processes) - {waiting.process}
    os.kill(spawner, signal.SIGKILL)
    assert waiting.command.wait() == 137
    assert not programs.alive(waiting.process)
    assert waiting.command.tree.children == []


@pytest.mark.parametrize("seconds", [0, 0.02])
def test_a_zygote_that_is_killed_before_it_has_begun(seconds: float, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        f"""
        import os, signal, time
        from constellation import init
        from constellation.process import bare
        start = bare.start
        def start_and_kill(*arguments):
            pid = start(*arguments)
            time.sleep({seconds})
            os.kill(pid, signal.SIGKILL)
            return pid
        bare.start = start_and_kill
        init()
        print("never")
        """,
    )
    done = programs.run(path)
    assert (done.tree.end, done.code) == ("lost: zygote killed", 101)
    assert done.tree.out == b""


# -- signals before `init()`


@initial
def test_an_interrupt_waits_until_the_program_can_handle_it(waiting: Waiting) -> None:
    waiting.command.signal(signal.SIGINT)
    waiting.command.for_a_while(0.3)
    assert programs.alive(waiting.process)
    waiting.release.touch()
    assert waiting.command.wait() == 130
    assert waiting.command.tree.end == "SIGINT"
    assert waiting.command.tree.err.endswith(b"KeyboardInterrupt\n")


@either
def test_a_second_interrupt_kills(waiting: Waiting) -> None:
    everything = waiting.all
    waiting.command.signal(signal.SIGINT)
    waiting.command.for_a_while(0.1)
    waiting.command.signal(signal.SIGINT)
    assert waiting.command.wait() == 130
    assert gone(everything)


def test_a_handler_of_before_init_gets_what_came_before_it(runs: Path, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"handled\\n"))
        if RUN == 1:
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # as it is before a slow import
            open(os.path.join(RUNS, "unborn"), "w").close()
            while not os.path.exists(sys.argv[2]):
                time.sleep(0.01)
            signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b"handled\\n"))
        from constellation import init
        init()
        print("running", flush=True)
        sys.stdin.readline()
        """,
    )
    read, write = os.pipe()
    release = tmp_path / "release"
    with programs.start(path, str(runs), str(release), stdin=read) as command:
        os.close(read)
        command.until((runs / "unborn").exists)
        command.signal(signal.SIGUSR1)
        command.for_a_while(0.3)
        release.touch()
        command.until(lambda: b"handled" in command.output() and b"running" in command.output())
        os.close(write)
        assert command.wait() == 0


# -- programs that end before `init()`


ENDS = """
out = RUN * 1000 * b"out\\n"
if RUN == int(sys.argv[2]):
    os.write(1, out)
    print("words", file=sys.stderr, flush=True)
    {end}

from constellation import *

def child(parent):
    print("child")

init()
try:
    spawn(child).block()
except SpawnError as error:
    print(type(error).__name__, error)
"""

ENDINGS = {
    "sys.exit(0)": (0, ""),
    "raise ValueError(5)": (1, "ValueError: 5\n"),
    "os.abort()": ("SIGABRT", ""),
    "os.closerange(3, 100)": (1, "InitError: the program has closed descriptors "),
    "os.fork() and (os.wait(), os._exit(0))": (0, "InitError: processes cannot start fresh: "),
}


@pytest.mark.parametrize("end", ENDINGS)
def test_a_spawn_says_how_the_program_ended(end: str, runs: Path, tmp_path: Path) -> None:
    status, words = ENDINGS[end]
    done = programs.run(program(tmp_path, ENDS.replace("{end}", end)), str(runs), "2")
    told = done.tree.out.decode()
    assert told.startswith(
        f"ProgramError the new process ended before it reached init(): {status}\nwords\n"
    )
    assert words in told
    assert (done.code, done.tree.children) == (0, [])


@pytest.mark.parametrize("end", ENDINGS)
def test_what_the_initial_process_wrote_is_shown(end: str, runs: Path, tmp_path: Path) -> None:
    status, words = ENDINGS[end]
    done = programs.run(program(tmp_path, ENDS.replace("{end}", end)), str(runs), "1")
    tree = done.tree
    assert tree.out == b"out\n" * 1000
    assert tree.err.startswith(b"words\n")
    assert words.encode() in tree.err
    if status == 0:
        # All is not well, whatever it says.
        reason = "the program ended before it reached init() again"
        assert (tree.end, done.code) == (f"lost: {reason}", 101)
    else:
        assert tree.end == status


def test_much_that_was_written_in_vain_is_shown_to_its_end(runs: Path, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        if RUN == 1:
            os.write(1, bytes(range(256)) * 20_000)
            os.write(2, b"1234567890" * 30_000)
            sys.exit(1)
        from constellation import init
        init()
        """,
    )
    tree = programs.run(path, str(runs)).tree
    assert tree.out == bytes(range(256)) * 20_000
    assert tree.err == b"1234567890" * 30_000


@pytest.mark.parametrize("missing", ["directory", "interpreter"])
def test_what_is_needed_to_run_it_again_may_be_gone(missing: str, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import os, shutil, sys
        os.mkdir("below")
        os.chdir("below")
        if sys.argv[1] == "interpreter":
            python, sys.executable = sys.executable, os.path.abspath("python")
            os.symlink(python, "python")
        from constellation import init
        os.chdir("..")
        from constellation.process import bare
        start = bare.start
        def start_and_remove(*arguments):
            started = start(*arguments)
            shutil.rmtree("below")
            return started
        if sys.argv[1] == "directory":
            bare.start = start_and_remove
        else:
            sys.executable = python
            shutil.rmtree("below")
        init()
        """,
    )
    done = subprocess.run(
        [sys.executable, str(path), missing],
        env=programs.environment(CONSTELLATION_FORMAT="json"),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=programs.LIMIT,
        check=False,
    )
    tree = programs.Finished(done.returncode, done.stdout, done.stderr).tree
    assert done.returncode == 127
    assert re.fullmatch(
        rb"constellation: cannot run again: /.*/(below|python): No such file or directory\n",
        tree.err,
    )


@pytest.mark.parametrize("how", ["-", "/dev/stdin"])
def test_a_program_from_standard_input_is_refused(how: str) -> None:
    """It has been read, and can not be read again."""
    done = subprocess.run(
        [sys.executable, how],
        env=programs.environment(CONSTELLATION_FORMAT="human"),
        input=b"from constellation import init\ninit()\nprint('never')\n",
        capture_output=True,
        timeout=programs.LIMIT,
        check=False,
    )
    assert done.stdout == b""
    if how == "-":
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            b"constellation.errors.InitError: processes cannot start fresh: each runs the program "
            b"again, and this one was typed or read from standard input; with "
            b"CONSTELLATION_START=fork they are forks of it"
        )
    else:
        # Nothing tells it from a file; but there is nothing in it the second time.
        assert done.returncode == 101
        assert b"lost: the program ended before it reached init() again" in done.stderr


def test_a_monitor_rests_while_a_fork_of_the_unborn_lives_on(runs: Path, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        if RUN == 2:
            if os.fork():
                os._exit(3)
            time.sleep(60)
        from constellation import *
        init()
        try:
            spawn(print).block()
        except ProgramError as error:
            print(error, flush=True)
        sys.stdin.readline()
        """,
    )
    read, write = os.pipe()
    with programs.start(path, str(runs), stdin=read) as command:
        os.close(read)
        command.until(lambda: b"before it reached init(): 3" in command.output())
        monitor = command.monitors[1]
        (orphan,) = programs.children_of(monitor)
        before = ticks(monitor)
        command.for_a_while(0.5)
        assert ticks(monitor) - before < 10, "it has nothing to do"
        os.close(write)
        assert command.wait() == 0
    assert not programs.alive(orphan)


def ticks(pid: int) -> int:
    """How much processor time a process has used, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])


# -- what the code before `init()` does


def test_code_before_init_runs_in_each_and_shows_once(runs: Path, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        import atexit, tempfile
        print("before")
        print("before", file=sys.stderr)
        assert RUN == 0 or sys.stdin.read() == ""
        atexit.register(print, "at exit")
        directory = tempfile.TemporaryDirectory()
        from constellation import *

        def child(parent):
            Sender(parent).send((directory.name, os.path.isdir(directory.name))).block()

        def main():
            init()
            assert os.path.isdir(directory.name)
            print(repr(sys.stdin.read()))
            directories = [directory.name]
            for _ in range(2):
                name, exists = Receiver(spawn(child).block()).recv().block()
                assert exists
                directories.append(name)
            assert len(set(directories)) == 3

        main()
        """,
    )
    mine = Path(os.environ["TMPDIR"])
    others = set(mine.iterdir())
    done = programs.run(path, str(runs), stdin=b"words", form="human")
    assert done.code == 0, done.err.decode()
    assert done.out == b"before\n'words'\nat exit\n"
    assert done.err.count(b"before\n") == 1
    assert sorted(os.listdir(runs)) == ["0", "1", "2", "3"]
    left = set(mine.iterdir()) - others
    assert not [each for each in left if each.name.startswith("tmp")]


def test_random_numbers_differ_and_hashes_do_not(runs: Path, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        import random
        random.seed(1)
        from constellation import *

        def child(parent):
            Sender(parent).send((random.random(), hash("text"), os.environ.copy())).block()

        init()
        random.seed(1)
        numbers = {random.random()}
        for _ in range(2):
            number, code, environ = Receiver(spawn(child).block()).recv().block()
            numbers.add(number)
            assert code == hash("text")
            assert environ == os.environ, set(environ.items()) ^ set(os.environ.items())
        print(len(numbers), os.environ.get("PYTHONHASHSEED"))
        """,
    )
    assert programs.run(path, str(runs)).tree.out == b"3 None\n"
    for run in runs.iterdir():
        run.unlink()
    path.write_text(path.read_text().replace("range(2)", "range(1)"))
    assert programs.run(path, str(runs), PYTHONHASHSEED="7").tree.out == b"2 7\n"


@pytest.mark.parametrize("options", [(), ("-I",), ("-X", "dev", "-W", "error")])
def test_each_runs_the_command_as_it_was_given(options: tuple[str, ...], tmp_path: Path) -> None:
    """With the options of the interpreter, and where the program has gone elsewhere meanwhile."""
    (tmp_path / "below").mkdir()
    path = programs.write(
        tmp_path,
        f"""
        import os, sys
        os.chdir("below")
        last = sys.argv.pop()
        if sys.flags.isolated:
            sys.path.append({str(programs.ROOT)!r})
        from constellation import *

        def look():
            flags = (sys.flags.isolated, sys.flags.dev_mode, sys.warnoptions)
            return last, sys.argv, os.getcwd(), __file__, flags

        def child(parent):
            Sender(parent).send(look()).block()

        init()
        os.chdir("..")
        sys.argv.append("more")
        mine, theirs = look(), Receiver(spawn(child).block()).recv().block()
        assert mine == theirs, (mine, theirs)
        print(last, sys.argv[1:])
        """,
    )
    done = subprocess.run(
        [sys.executable, *options, path.name, "one", "two"],
        env=programs.environment(CONSTELLATION_FORMAT="json"),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=programs.LIMIT,
        check=False,
    )
    tree = programs.Finished(done.returncode, done.stdout, done.stderr).tree
    assert tree.out == b"two ['one', 'more']\n", tree.err.decode()


def test_a_program_within_a_program_is_its_own(runs: Path, tmp_path: Path) -> None:
    """Whatever it inherits, and whenever it is started."""
    other = programs.write(
        tmp_path,
        """
        import os
        from constellation import *
        def child(parent):
            print("inner child")
        init()
        spawn(child).block()
        print("inner")
        """,
        "other.py",
    )
    path = program(
        tmp_path,
        f"""
        from constellation import *
        inner = "CONSTELLATION_FORMAT=human {sys.executable} {other}"
        code = os.system(inner)
        for fd in range(3, 50):
            try:
                assert not os.get_inheritable(fd), fd
            except OSError:
                pass  # not open
        init()
        print(code, os.system(inner))
        """,
    )
    done = programs.run(path, str(runs))
    # What the command has run is shown before all, and what the initial process has is not.
    first = done.out.index(b'{"event":"spawn"')
    assert sorted(done.out[:first].splitlines()) == [b"inner", b"inner child"]
    out = programs.Finished(done.code, done.out[first:], b"").tree.out
    assert sorted(out.splitlines()) == [b"0 0", b"inner", b"inner child"]


def test_what_watches_over_the_processes_holds_nothing_of_the_program(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import sys
        from constellation import *
        def child(parent):
            Receiver(parent).recv().block()
        init()
        pid = spawn(child).block()
        print("running", flush=True)
        sys.stdin.readline()
        Sender(pid).send(0).block()
        """,
    )
    read, write = os.pipe()
    with programs.start(path, stdin=read) as command:
        os.close(read)
        command.until(lambda: b"running" in command.output())
        for role in (command.zygote, *command.monitors):
            loaded = Path(f"/proc/{role}/maps").read_text()
            assert "msgspec" in loaded
            assert "zmq" not in loaded
        assert len(command.monitors) == 2, "there is no spare"
        for process in command.processes:
            inherited = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            assert re.fullmatch(rb"constellation=%d:\d+:[0-9a-f]{16}" % process, inherited[2])
        os.close(write)
        assert command.wait() == 0


def test_what_the_shell_ignores_is_ignored_in_each(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import signal
        before = signal.getsignal(signal.SIGHUP), signal.pthread_sigmask(signal.SIG_BLOCK, ())
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        from constellation import *
        def look():
            return (before, [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR2)],
                signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        def child(parent):
            Sender(parent).send(look()).block()
        init()
        print(look() == Receiver(spawn(child).block()).recv().block() == (
            (signal.SIG_IGN, set()), [signal.SIG_IGN, signal.SIG_DFL], set()))
        """,
    )
    script = f"trap '' HUP; exec {sys.executable} {path}"
    done = subprocess.run(
        ["sh", "-c", script],
        env=programs.environment(CONSTELLATION_FORMAT="json"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=programs.LIMIT,
        check=False,
    )
    assert programs.Finished(done.returncode, done.stdout, done.stderr).tree.out == b"True\n"
