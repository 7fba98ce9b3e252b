from __future__ import annotations

import os
import select
import socket
import subprocess
import sys

import msgspec
import pytest

from constellation.control.messages import Born, FromNewborn
from constellation.control.stream import MessageStream
from constellation.process import bare
from constellation.process.command import Command
from constellation.process.directory import RuntimeDirectory, sweep

MAIN = "bare.main(int(sys.argv[1]))"


def test_what_a_bare_zygote_imports_is_little() -> None:
    """Neither the rest of the library, nor what that needs; nor what lies where it is started."""
    program = bare._PROGRAM.replace(MAIN, "print(*sorted(sys.modules), sep='\\n')")
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-c", program, "0", *bare._places()],
        env=bare._environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    modules = done.stdout.split()
    assert "constellation.process.zygote" in modules
    assert "msgspec" in modules
    for heavy in ("zmq", "cloudpickle", "asyncio", "numpy", "site"):
        assert heavy not in modules
    assert not [name for name in modules if name.startswith("constellation.channel")]


def test_it_finds_the_standard_library_first(tmp_path: os.PathLike[str]) -> None:
    """A program may have modules of these names."""
    for name in ("select", "socket", "random", "msgspec"):
        with open(os.path.join(tmp_path, f"{name}.py"), "w") as file:
            file.write("raise ImportError('the wrong one')")
    program = bare._PROGRAM.replace(MAIN, "print('fine')")
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-c", program, "0", *bare._places()],
        env=bare._environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")


def test_only_what_python_itself_needs_is_in_its_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("PYTHONSTARTUP", "/some.py")
    monkeypatch.setenv("PYTHONHOME", "/home")
    environ = bare._environment()
    assert environ[b"PYTHONHOME"] == b"/home"
    assert environ[b"PATH"] == os.environb[b"PATH"]
    assert not {b"PYTHONPATH", b"PYTHONSTARTUP"} & environ.keys()


@pytest.mark.parametrize("size", [10, 3 << 20])
def test_it_takes_a_command_of_any_size_and_ends_with_its_launcher(size: int) -> None:
    ours, theirs = socket.socketpair()
    command = Command(b"/nowhere", [b"x" * size], {b"A": b"y" * size}, None, [], [])
    directory = RuntimeDirectory()
    zygote = bare.start(theirs, directory, command)
    directory.close()
    sweep(os.path.dirname(directory.path))
    assert os.path.isdir(directory.path), "the zygote has it"
    assert theirs.fileno() == -1, "it has been handed over"
    ours.close()
    assert os.waitpid(zygote, 0)[1] == 0
    assert not os.path.exists(directory.path)


def test_it_ends_when_its_launcher_does_before_it_has_begun() -> None:
    ours, theirs = socket.socketpair()
    directory = RuntimeDirectory()
    ours.close()
    zygote = bare.start(theirs, directory, Command(b"/nowhere", [], {}, None, [], []))
    directory.close()
    assert os.waitpid(zygote, 0)[1] == 0
    assert not os.path.exists(directory.path)


IMAGE = """
import os, signal, sys
from constellation.control.messages import Deploy, Site
from constellation.process import bare
from constellation.process.command import Command
connection, lock, starter = map(int, sys.argv[1:4])
command = Command(b"/nowhere", [], {}, None, [], [])
site = Site(sys.argv[4], "/nowhere", b"p" * 40, b"s" * 40)
signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
signal.signal(signal.SIGPROF, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
if len(sys.argv) > 5:
    sys.executable = sys.argv[5]
bare.become(Deploy(b"n" * 8, connection, lock, os.getppid(), site), starter, command)
"""


class BecomesOne:
    """A process that is to turn into a bare zygote, and what its starter has of it."""

    def __init__(self, *arguments: str) -> None:
        self.launcher, connection = socket.socketpair()
        starter, stream = socket.socketpair()
        self.starter = MessageStream(starter, msgspec.msgpack.Decoder(FromNewborn))
        self.directory = RuntimeDirectory()
        inherited = [connection.fileno(), self.directory.fileno(), stream.fileno()]
        words = [*map(str, inherited), self.directory.path, *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-c", IMAGE, *words], pass_fds=inherited, stderr=subprocess.PIPE
        )
        connection.close()
        stream.close()

    def close(self) -> None:
        self.starter.close()
        self.launcher.close()
        self.directory.close()
        assert self.process.stderr is not None
        self.process.stderr.close()


def test_an_image_becomes_one_and_nobody_sees_its_secret() -> None:
    image = BecomesOne()
    assert select.select([image.starter], [], [], 60)[0]
    assert image.starter.receive() == [Born(fresh=True)]
    proc = f"/proc/{image.process.pid}"
    for name in ("cmdline", "environ"):
        with open(f"{proc}/{name}", "rb") as file:
            content = file.read()
        assert content
        assert b"ssss" not in content
    opened = [os.readlink(f"{proc}/fd/{name}") for name in os.listdir(f"{proc}/fd")]
    assert not [each for each in opened if "memfd" in each or "setup-" in each]
    image.launcher.close()
    assert image.process.wait(60) == 0
    assert not os.path.exists(image.directory.path)
    image.close()


def test_an_image_that_cannot_become_one_goes_on() -> None:
    image = BecomesOne("/nowhere/python")
    assert image.process.stderr is not None
    assert b"FileNotFoundError" in image.process.stderr.read()
    assert image.process.wait(60) == 1
    image.directory.remove()
    image.close()


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_it_has_to_know_is_in_a_file_without_a_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str], in_memory: bool
) -> None:
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create")
    file = bare._file(str(tmp_path))
    assert os.fstat(file).st_nlink == 0
    assert os.listdir(tmp_path) == []
    assert not os.get_inheritable(file)
    assert os.write(file, b"x") == 1
    os.close(file)


def test_an_interpreter_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    command = Command(b"/nowhere", [], {}, None, [], [])
    directory = RuntimeDirectory()
    with ours, theirs, pytest.raises(OSError, match="No such file"):
        bare.start(theirs, directory, command)
    directory.remove()
    directory.close()
