from __future__ import annotations

import itertools
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import programs
import pytest
from local_bridge import environment

from constellation.control.messages import Deploy, FromNewborn, Needs, Site, Survey
from constellation.exit_status import ExitStatus
from constellation.session.loop import Loop
from constellation_daemons.guards import Guards
from constellation_daemons.start import Failure, Program, Start

LIMIT = 30.0
SURVEY = Survey(nonce=b"")


class Started:
    """A start, and what came of it."""

    def __init__(self, loop: Loop, path: Path, *, limit: float = LIMIT, apart: bool = True) -> None:
        self.loop = loop
        self.told: list[FromNewborn] = []
        self.failures: list[Failure] = []
        program = Program(str(path.parent), [path.name, "x"], environment())
        self.start = Start(
            loop,
            program,
            SURVEY,
            limit=limit,
            told=self.told.append,
            failed=self.failures.append,
            guards=Guards() if apart else None,
        )

    def until(self, condition: Callable[[], object]) -> None:
        assert self.loop.run(lambda: bool(condition()), LIMIT)

    def until_over(self) -> None:
        self.until(lambda: self.told or self.failures)

    @property
    def failure(self) -> Failure:
        self.until_over()
        (failure,) = self.failures
        assert self.told == []
        return failure


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("apart", [True, False])
def test_a_program_that_comes_to_init_says_what_it_needs(
    loop: Loop, tmp_path: Path, apart: bool
) -> None:
    source = 'import sys\nfrom constellation import *\ninit(Resources(mem="3 MiB", cpu=0.5))'
    started = Started(loop, programs.write(tmp_path, source), apart=apart)
    started.until_over()
    assert started.told == [Needs(3 << 20, 0.5)]
    assert started.failures == []
    if not apart:
        os.waitpid(started.start.os_pid, 0)  # it is its starter's from here on


def test_what_it_wrote_is_told_if_it_does_not(loop: Loop, tmp_path: Path) -> None:
    source = """
        import os, sys
        os.write(1, b"out %s" % os.getcwdb())
        os.write(2, sys.argv[1].encode())
        assert sys.stdin.read() == ""
        sys.exit(5)
    """
    failure = Started(loop, programs.write(tmp_path, source)).failure
    assert failure.reason == "the program ended before it called init(): 5"
    assert failure.out == b"out " + os.fsencode(tmp_path)
    assert failure.err == b"x"
    assert failure.code == 5


def test_only_the_end_of_much_is_kept(loop: Loop, tmp_path: Path) -> None:
    source = "print('x' * 3_000_000)\nprint('the end')"
    failure = Started(loop, programs.write(tmp_path, source)).failure
    assert len(failure.out) == 512 << 10
    assert failure.out.endswith(b"the end\n")
    assert failure.code == 1


@pytest.mark.parametrize("apart", [True, False])
def test_one_that_takes_too_long_is_killed(loop: Loop, tmp_path: Path, apart: bool) -> None:
    source = "import time\nprint('waiting', flush=True)\ntime.sleep(60)"
    started = Started(loop, programs.write(tmp_path, source), limit=1.0, apart=apart)
    reason = "the program has not called init() within 1 s: move what takes long after init()"
    assert started.failure.reason == reason
    assert started.failure.code == 1


def test_what_it_has_started_is_killed_with_it(loop: Loop, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    source = f"""
        import subprocess
        child = subprocess.Popen(["sleep", "60"])
        with open({str(mark)!r}, "w") as file:
            file.write(str(child.pid))
        raise SystemExit(1)
    """
    started = Started(loop, programs.write(tmp_path, source))
    assert started.failure.code == 1
    sleeper = int(mark.read_text())
    end = time.monotonic() + 10
    while programs.alive(sleeper):
        assert time.monotonic() < end
        time.sleep(0.01)


# It leaves its process group and its session, and its parent: only its guard still knows of it.
FUGITIVE = """
    import os, subprocess, sys, time
    code = "import os, sys, time; os.setsid(); os.fork() and os._exit(0); "
    code += "open(sys.argv[1], 'w').write(str(os.getpid())); os.rename(*sys.argv[1:]); "
    code += "time.sleep(60)"
    subprocess.run([sys.executable, "-c", code, {mark!r} + ".new", {mark!r}], check=True)
    while not os.path.exists({mark!r}):
        time.sleep(0.01)
    {end}
"""
ENDS = {
    "answers": "from constellation import init; init()",
    "fails": "sys.exit(3)",
    "is killed": "os.kill(os.getpid(), 11)",
    "takes too long": "time.sleep(60)",
    "is cancelled": "time.sleep(60)",
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_that_it_has_started_survives_it(loop: Loop, tmp_path: Path, end: str) -> None:
    mark = tmp_path / "mark"
    source = FUGITIVE.format(mark=str(mark), end=ENDS[end])
    limit = 2.0 if end == "takes too long" else LIMIT
    started = Started(loop, programs.write(tmp_path, source), limit=limit)
    if end == "is cancelled":
        started.until(mark.exists)
        done: list[bool] = []
        started.start.cancel(lambda: done.append(True))
        started.until(lambda: done)
    elif end == "answers":
        started.until_over()
        assert len(started.told) == 1
    elif end == "is killed":
        assert started.failure.status == ExitStatus(signal="SIGSEGV")
    else:
        assert started.failure.code == {"fails": 3, "takes too long": 1}[end]
    assert not programs.alive(int(mark.read_text()))
    with pytest.raises(ChildProcessError):
        os.waitpid(started.start.os_pid, os.WNOHANG)


def check_that_it_dies_with_its_starter(path: Path, mark: Path) -> None:
    """See that the process dies whose number a program writes to a file."""
    starter = os.fork()
    if starter == 0:
        Started(Loop(), path)
        signal.pause()
        os._exit(0)
    end = time.monotonic() + LIMIT
    while not mark.exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(starter, signal.SIGKILL)
    os.waitpid(starter, 0)
    while programs.alive(int(mark.read_text())):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_nothing_survives_who_started_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = programs.write(tmp_path, FUGITIVE.format(mark=str(mark), end="time.sleep(60)"))
    check_that_it_dies_with_its_starter(path, mark)


@pytest.mark.parametrize("late", [True, False])
def test_one_that_is_not_wanted_any_more(loop: Loop, tmp_path: Path, late: bool) -> None:
    mark = tmp_path / "mark"
    source = f"import time\nopen({str(mark)!r}, 'w').close()\ntime.sleep(60)"
    started = Started(loop, programs.write(tmp_path, source))
    if late:
        started.until(mark.exists)
    done: list[int] = []
    started.start.cancel(lambda: done.append(1))
    started.start.cancel(lambda: done.append(2))
    started.until(lambda: len(done) == 2)
    started.start.cancel(lambda: done.append(3))
    assert done == [1, 2, 3]
    assert started.told == started.failures == []


@pytest.mark.parametrize("end", ["answers", "takes too long", "is cancelled"])
def test_a_guard_that_was_stopped_does_not_hold_up_the_loop(
    loop: Loop, tmp_path: Path, end: str
) -> None:
    mark = tmp_path / "mark"
    source = f"""
        import os, signal
        os.kill(os.getppid(), signal.SIGSTOP)
        open({str(mark)!r}, "w").close()
        {ENDS[end].replace("time.sleep", "__import__('time').sleep")}
    """
    limit = 1.0 if end == "takes too long" else LIMIT
    started = Started(loop, programs.write(tmp_path, source), limit=limit)
    turns = [time.monotonic()]

    def turn() -> None:
        turns.append(time.monotonic())
        loop.after(0.01, turn)

    turn()
    done: list[bool] = []
    if end == "is cancelled":
        started.until(mark.exists)
        started.start.cancel(lambda: done.append(True))
    started.until(lambda: done or started.told or started.failures)
    turns.append(time.monotonic())
    assert max(later - one for one, later in itertools.pairwise(turns)) < 1.0
    with pytest.raises(ChildProcessError):
        os.waitpid(started.start.os_pid, os.WNOHANG)


def test_one_that_closes_its_descriptors_is_awaited_all_the_same(
    loop: Loop, tmp_path: Path
) -> None:
    source = """
        import os, time
        import constellation
        os.closerange(3, 50)
        time.sleep(0.3)
        os.kill(os.getpid(), 9)
    """
    failure = Started(loop, programs.write(tmp_path, source)).failure
    assert failure.status is not None
    assert failure.status.signal == "SIGKILL"


def test_what_cannot_be_started_leaves_nothing(loop: Loop, tmp_path: Path) -> None:
    program = Program(str(tmp_path), ["x" * (1 << 20)] * 20, environment())
    with pytest.raises(OSError):
        Start(
            loop,
            program,
            SURVEY,
            limit=LIMIT,
            told=lambda message: None,
            failed=lambda failure: None,
        )


def test_it_dies_with_who_started_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    source = f"""
        import os, time
        with open({str(mark)!r} + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename({str(mark)!r} + ".new", {str(mark)!r})
        time.sleep(60)
    """
    path = programs.write(tmp_path, source)
    check_that_it_dies_with_its_starter(path, mark)


def test_an_image_has_what_it_inherits(loop: Loop, tmp_path: Path) -> None:
    """Told to be an image, without a runtime directory that is one: it says so, and ends."""
    ours, theirs = socket.socketpair()
    failures: list[Failure] = []
    source = "import os\nos.closerange(3, 50)\nfrom constellation import init\ninit()"
    path = programs.write(tmp_path, source)
    message = Deploy(
        nonce=b"",
        connection=theirs.fileno(),
        lock=theirs.fileno(),
        agent=os.getpid(),
        site=Site(str(tmp_path), str(tmp_path), None, None),
    )
    with ours, theirs:
        Start(
            loop,
            Program(str(tmp_path), [path.name], environment()),
            message,
            inherited=[theirs.fileno()],
            limit=LIMIT,
            told=lambda message: None,
            failed=failures.append,
        )
        assert not os.get_inheritable(theirs.fileno())
        assert loop.run(lambda: bool(failures), LIMIT)
    assert b"InitError" in failures[0].err
