"""What holds for every test: it leaks nothing, it warns of nothing, and a hang shows its stacks.

After each test the following is as it was before it: the Python threads, ZeroMQ's own threads,
the open descriptors, the mappings of anonymous files, the child processes, the ZeroMQ contexts,
the runtime directories in the directory for temporary files, and the processes anywhere that some
program of the test left behind. What is only late (a thread that is ending) is waited for.
"""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import gc
import os
import resource
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import psutil
import pytest
import zmq

with contextlib.suppress(ImportError):
    # Its thread pool starts with the import; the first test that uses it would be blamed.
    import numpy  # noqa: F401

PATIENCE = 10.0  # seconds that something may take to end by itself
HANG = 120.0  # seconds after which a test hangs; `@pytest.mark.slow_ok(seconds)` allows more
LINUX = sys.platform == "linux"

# No test asserts a time: the machines that run them are busy.
hypothesis.settings.register_profile(
    "default", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "ci", parent=hypothesis.settings.get_profile("default"), derandomize=True, database=None
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


# -- the session ----------------------------------------------------------------------------------


@dataclass
class Session:
    """The directory for temporary files that this run of the tests has for itself.

    It tells what its own programs leave behind from what another run on this machine does. The
    programs find it in their environment, and the environment tells which processes are ours.
    """

    directory: Path
    usual: str | None
    stderr: int  # the true one, which pytest does not capture
    blamed: set[int] = field(default_factory=set)  # processes that a test has failed for


session_key = pytest.StashKey[Session]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow_ok(seconds): the test hangs only after that long")
    # pytest's own temporary files outlive the run, for who wants to look at them.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    # Short, since the path of a Unix socket has 104 bytes on macOS.
    directory = tempfile.mkdtemp(prefix="t-")
    config.stash[session_key] = Session(Path(directory), os.environ.get("TMPDIR"), os.dup(2))
    os.environ["TMPDIR"] = directory
    tempfile.tempdir = None


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    # What is long is random, or might as well be: it names no test, and differs between workers.
    if isinstance(val, (str, bytes)) and len(val) > 24:
        return f"{argname}-{len(val)}"
    return None


def pytest_unconfigure(config: pytest.Config) -> None:
    session = config.stash.get(session_key, None)
    if session is None:
        return
    os.close(session.stderr)
    if session.usual is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = session.usual
    tempfile.tempdir = None
    shutil.rmtree(session.directory, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    # A watchdog thread in C, and no signal: a signal would reach into forks and blocked calls.
    marker = item.get_closest_marker("slow_ok")
    seconds = HANG if marker is None else float(marker.args[0])
    faulthandler.dump_traceback_later(
        seconds, exit=True, file=item.config.stash[session_key].stderr
    )
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(params=["fork", "fresh"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the programs that a test runs start their processes: it is run once for each way."""
    monkeypatch.setenv("CONSTELLATION_START", request.param)
    return str(request.param)


# -- what can leak --------------------------------------------------------------------------------

contexts: weakref.WeakSet[zmq.Context] = weakref.WeakSet()


def _count_contexts() -> None:
    initialise = zmq.Context.__init__

    def counted(self: zmq.Context, *args: object, **kwargs: object) -> None:
        initialise(self, *args, **kwargs)
        # A shadow terminates nothing; the context that it is a shadow of is counted itself.
        if not self._shadow:
            contexts.add(self)

    zmq.Context.__init__ = counted


_count_contexts()


@dataclass
class Inventory:
    """What this process holds at one moment."""

    threads: set[threading.Thread] = field(default_factory=lambda: set(threading.enumerate()))
    started: int = field(default_factory=_thread._count)  # threads of Python, of any kind
    native: set[str] = field(default_factory=lambda: set(_zeromq_threads()))
    descriptors: dict[int, str] = field(default_factory=lambda: dict(_descriptors()))
    mappings: set[str] = field(default_factory=lambda: set(_mappings()))
    children: set[int] = field(default_factory=lambda: set(_children()))
    directories: set[Path] = field(default_factory=lambda: set(_directories()))
    contexts: set[zmq.Context] = field(
        default_factory=lambda: {context for context in contexts if not context.closed}
    )
    marked: set[int] = field(default_factory=set)  # with this run's mark, where it has children
    # Grows with each child that is reaped; only then can a grandchild be on its own.
    reaped: int = field(
        default_factory=lambda: resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    )

    def leaks(self, before: Inventory, session: Session) -> list[str]:
        """What is here and was not there before, one line for each."""
        leaks = [f"thread {thread.name}" for thread in self.threads - before.threads]
        if self.started > before.started:
            leaks.append(f"{self.started - before.started} threads that `threading` may not know")
        leaks += [f"ZeroMQ's thread {name}" for name in self.native - before.native]
        leaks += [
            f"descriptor {number} of {target}"
            for number, target in self.descriptors.items()
            if before.descriptors.get(number) != target
        ]
        leaks += [f"mapping of {name}" for name in self.mappings - before.mappings]
        leaks += [f"child process {_described(pid)}" for pid in self.children - before.children]
        leaks += [f"ZeroMQ context {context!r}" for context in self.contexts - before.contexts]
        leaks += [f"runtime directory {path}" for path in self.directories - before.directories]
        if self.children or self.reaped != before.reaped:
            ours = _marked(session.directory) - before.children - before.marked - session.blamed
            leaks += [f"process {_described(pid)}" for pid in ours]
        return leaks


def _zeromq_threads() -> Iterator[str]:
    if not LINUX:
        return
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it ended
            name = (task / "comm").read_text().strip()
            if name.startswith("ZMQbg"):
                yield f"{name} {task.name}"


def _descriptors() -> Iterator[tuple[int, str]]:
    if not LINUX:
        for number in range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
            with contextlib.suppress(OSError):  # not open
                status = os.fstat(number)
                yield number, f"{status.st_mode:o} {status.st_dev}:{status.st_ino}"
        return
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that listed the directory
            yield int(name), os.readlink(f"/proc/self/fd/{name}")


def _mappings() -> Iterator[str]:
    if not LINUX:
        return
    with open("/proc/self/maps") as maps:
        for line in maps:
            if "/memfd:" in line:
                yield line.strip()


def _children() -> Iterator[int]:
    if not LINUX:
        yield from (child.pid for child in psutil.Process().children())
        return
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it ended
            yield from map(int, (task / "children").read_text().split())


def _directories() -> Iterator[Path]:
    return Path(tempfile.gettempdir()).glob("cst-*")


def _marked(directory: Path) -> set[int]:
    """Whatever process carries the mark of this run in its environment: TMPDIR."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it ended
            if _environment(process).get("TMPDIR") == str(directory) and process.pid != os.getpid():
                found.add(process.pid)
    return found


def _environment(process: psutil.Process) -> dict[str, str]:
    environment = process.environ()
    # A process that is about to execute a program has none for a moment. Those of the kernel, which
    # never have one, are children of the second process.
    looks = 0
    while not environment and looks < 10 and LINUX and 2 not in (process.pid, process.ppid()):
        looks += 1
        time.sleep(0.001)
        environment = process.environ()
    return environment


def _described(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"{pid} ({process.status()}, {' '.join(process.cmdline())[:200]!r})"
    except psutil.Error:
        return f"{pid} (just ended)"


@pytest.fixture(autouse=True)
def _nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    session = request.config.stash[session_key]
    before = Inventory()
    if before.children:
        before.marked = _marked(session.directory)
    yield
    leaks = Inventory().leaks(before, session)
    if leaks:
        gc.collect()
        leaks = _persistent(before, session)
    if leaks:
        session.blamed |= _marked(session.directory)
        pytest.fail("the test leaked\n  " + "\n  ".join(sorted(set(leaks))), pytrace=False)


def _persistent(before: Inventory, session: Session) -> list[str]:
    """The leaks that are still there when everything had its time to end by itself."""
    limit = time.monotonic() + PATIENCE
    while leaks := Inventory().leaks(before, session):
        if time.monotonic() > limit:
            break
        time.sleep(0.02)
    return leaks
