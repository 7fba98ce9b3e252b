from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from constellation.process import bare
from constellation.process.command import Command
from constellation.process.directory import RuntimeDirectory, sweep

MAIN = "bare.main(int(sys.argv[1]), int(sys.argv[2]))"


def test_what_a_bare_zygote_imports_is_little() -> None:
    """Neither the rest of the library, nor what that needs; nor what lies where it is started."""
    program = bare._PROGRAM.replace(
        "bare.main(int(sys.argv[1]), int(sys.argv[2]))", "print(*sorted(sys.modules), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-c", program, "0", "0", *bare._places()],
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
        [sys.executable, "-s", "-S", "-c", program, "0", "0", *bare._places()],
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
    zygote = bare.start(ours, theirs, directory, command)
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
    numbers = [theirs.fileno(), directory.fileno()]
    for number in numbers:
        os.set_inheritable(number, True)
    arguments = [sys.executable, "-s", "-S", "-c", bare._PROGRAM, *map(str, numbers)]
    zygote = os.posix_spawn(sys.executable, [*arguments, *bare._places()], bare._environment())
    theirs.close()
    ours.sendall(b"\0\0\0")
    ours.close()
    assert os.waitpid(zygote, 0)[1] == 0
    directory.remove()
    directory.close()


def test_an_interpreter_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    command = Command(b"/nowhere", [], {}, None, [], [])
    directory = RuntimeDirectory()
    with ours, theirs, pytest.raises(OSError, match="No such file"):
        bare.start(ours, theirs, directory, command)
    directory.remove()
    directory.close()
