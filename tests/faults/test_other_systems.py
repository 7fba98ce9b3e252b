"""What other systems do not have: there the library is imported, and programs run, without it.

They take away, on Linux, what macOS does not have: `prctl` with its death signals and subreapers,
`/proc`, `memfd_create`, and `waitid` (before Python 3.13). What macOS does otherwise (its sockets,
`kqueue`, `psutil` there) they cannot tell.

There nothing adopts what a dead process has started: it may go on, as the docs say.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import programs
import pytest

from constellation.process import system

LINUX_ONLY = """
import fcntl, os, select, signal, socket
for module, prefixes in (
    (fcntl, ("F_GETPIPE_SZ", "F_SETPIPE_SZ", "F_ADD_SEALS", "F_NOTIFY")),
    (os, ("memfd_create", "MFD_", "waitid", "P_ALL", "WNOWAIT", "WEXITED", "pidfd_", "eventfd",
          "sched_setaffinity", "sched_getaffinity", "O_TMPFILE", "O_PATH", "splice", "getrandom")),
    (select, ("epoll", "EPOLL")),
    (signal, ("sigwaitinfo", "sigtimedwait", "SIGRTM", "SIGSTKFLT", "SIGPWR", "pidfd_")),
    (socket, ("MSG_CMSG_CLOEXEC", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "SO_PEERCRED", "AF_NETLINK")),
):
    for name in list(vars(module)):
        if name.startswith(prefixes):
            delattr(module, name)
"""


def test_every_module_is_imported_where_nothing_of_linux_is(tmp_path: Path) -> None:
    modules = [
        ".".join(path.relative_to(programs.ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((programs.ROOT / "constellation").rglob("*.py"))
    ]
    path = programs.write(
        tmp_path,
        f"""
        # What is not ours asks on its own what there is; it is imported before.
        import asyncio, cloudpickle, importlib, msgspec, multiprocessing, numpy, psutil
        import subprocess, sys, tempfile, zmq
        {LINUX_ONLY.replace(chr(10), chr(10) + " " * 8)}
        sys.platform = "darwin"
        for name in {modules}:
            importlib.import_module(name)
        from constellation.settings import Settings, Start
        assert Settings.from_environment({{}}).start is Start.FRESH
        print("imported")
        """,
    )
    done = programs.run(path, form="human")
    assert (done.out, done.err) == (b"imported\n", b"")


SHIM = (
    LINUX_ONLY.replace('(select, ("epoll", "EPOLL")),', "")  # there is no other way to wait here
    + """
import importlib.machinery, sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name != "constellation.process.system":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        def execute_and_change(module):
            execute(module)
            module.LINUX = False
        spec.loader.exec_module = execute_and_change
        return spec

sys.meta_path.insert(0, Finder)
"""
)

PROGRAM = """
import sys
sys.executable = sys.argv[1]
from constellation import *
from constellation.process import system
import os

def leaf(parent, number):
    assert not system.LINUX and not hasattr(os, "waitid")
    Sender(parent).send(bytes(number)).block()

def child(parent):
    print("child", flush=True)
    total = sum(len(Receiver(spawn(leaf, 1 << 20).block()).recv().block()) for _ in range(2))
    Sender(parent).send(total).block()
    sys.stderr.write("leaves\\n")
    sys.exit(3)

init()
pid = spawn(child).block()
print(Receiver(pid).recv().block(), flush=True)
try:
    Receiver(pid, name="other").recv().block()
except ProcessExited as error:
    print(error.status, flush=True)
if len(sys.argv) > 2:
    spawn(child).block()
    print("running", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter that does not know that it is on Linux, whatever it is told to leave out."""
    if not system.LINUX:
        pytest.skip("this system has no more than that anyway")
    shim = tmp_path / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(SHIM)
    path = tmp_path / "python"
    path.write_text(
        "#!/bin/sh\n"
        'for word; do shift; [ "$word" = -S ] || set -- "$@" "$word"; done\n'
        f'PYTHONPATH={shim}:{programs.ROOT} exec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", f"{shim}:{programs.ROOT}")
    monkeypatch.setenv("CONSTELLATION_START", "fresh")
    monkeypatch.setattr(programs, "environment", with_shim(str(shim), programs.environment))
    return path


def with_shim(shim: str, environment):  # type: ignore[no-untyped-def]
    def changed(**settings: str) -> dict[str, str]:
        environ: dict[str, str] = environment(**settings)
        return {**environ, "PYTHONPATH": f"{shim}:{environ['PYTHONPATH']}"}

    return changed


def test_a_program_runs_without_what_only_linux_has(python: Path, tmp_path: Path) -> None:
    path = programs.write(tmp_path, PROGRAM)
    done = programs.run(path, str(python))
    tree = done.tree
    assert tree.out == b"2097152\n3\n", tree.err.decode()
    assert (tree.end, done.code) == (0, 101)
    (child,) = tree.children
    assert (child.out, child.err, child.end) == (b"child\n", b"leaves\n", 3)
    assert [leaf.end for leaf in child.children] == [0, 0]


def test_a_killed_bridge_is_noticed_without_a_death_signal(python: Path, tmp_path: Path) -> None:
    path = programs.write(tmp_path, PROGRAM)
    read, write = os.pipe()
    with programs.start(path, str(python), "wait", stdin=read) as command:
        os.close(read)
        command.until(lambda: b"running" in command.output())
        processes = [command.zygote, *command.monitors, *command.processes]
        command.signal(signal.SIGKILL)
        command.until(lambda: not any(map(programs.alive, processes)))
        os.close(write)
        assert command.wait() == -signal.SIGKILL
