"""A bare zygote: an interpreter that holds nothing of the program.

Where processes start fresh, the process that reaches `init()` must not fork: it may hold what does
not survive that, which is why they start fresh. So it starts this in place of a fork: a zygote that
has imported nothing but what a zygote and a monitor need, and whose forks are as safe as forks can
be. Its monitors fork once more, and execute the program's command in the child.

On a node of a cluster the program's image *becomes* it: it executes the same interpreter, so its
agent, which watches over this process id, goes on with a zygote as ever.

What it has to know waits in a file without a name, whose descriptor it inherits and closes: the
program's environment and its keys are nothing for a command line.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import msgspec

from constellation.control.messages import Born, Deploy, Site, ToNewborn
from constellation.control.stream import MessageStream
from constellation.process import descriptors, holes, zygote
from constellation.process.command import Command
from constellation.process.deployed import Deployed
from constellation.process.directory import RuntimeDirectory, nameless_file
from constellation.process.origin import Origin
from constellation.process.system import LINUX

# What the zygote itself needs of what the environment says to Python. All else is the program's.
_NEEDED = (b"PYTHONHOME", b"PYTHONPLATLIBDIR", b"PYTHONDONTWRITEBYTECODE", b"PYTHONPYCACHEPREFIX")

# The package's own __init__ imports all of the library. Not so here: the package is made by hand.
_PROGRAM = """\
import sys, types
sys.path[:] = [path for path in sys.path if path] + sys.argv[3:]
package = sys.modules["constellation"] = types.ModuleType("constellation")
package.__path__ = [sys.argv[2]]
from constellation.process import bare
bare.main(int(sys.argv[1]))
"""

_to_newborn = msgspec.msgpack.Decoder(ToNewborn)


class _Setup(msgspec.Struct, frozen=True, array_like=True):
    """What a bare zygote has to know.

    Attributes:
        connection: The descriptor of the connection to the launcher.
        lock: That of the runtime directory.
        directory: Where that is.
        launcher: The launcher's process id.
        command: What its processes execute.
        starter: The descriptor of the stream to who waits for an image; None: nobody does.
        site: Where the program is deployed; None: it runs natively.
    """

    connection: int
    lock: int
    directory: bytes
    launcher: int
    command: Command
    starter: int | None = None
    site: Site | None = None

    @property
    def descriptors(self) -> list[int]:
        """Those that it is started with, but for the file that holds this."""
        each = (self.connection, self.lock, self.starter)
        return [descriptor for descriptor in each if descriptor is not None]


def start(connection: socket.socket, directory: RuntimeDirectory, command: Command) -> int:
    """Start one. All signals are blocked.

    Args:
        connection: The zygote's end of the connection to this process. It is closed here.
        directory: The program's runtime directory.
        command: What its processes execute.

    Returns:
        Its process id.

    Raises:
        OSError: It cannot be started.
    """
    path = os.fsencode(directory.path)
    setup = _Setup(connection.fileno(), directory.fileno(), path, os.getpid(), command)
    with _handed_on(setup) as file:
        os_pid = os.posix_spawn(sys.executable, _arguments(file), _environment())
    connection.close()
    return os_pid


def become(image: Deploy, starter: int, command: Command) -> NoReturn:
    """Turn this process, which was to be an image, into one. All signals are blocked.

    Args:
        image: What the image was told.
        starter: The descriptor of the stream on which it would say that it is ready.
        command: What the program's processes execute.

    Raises:
        OSError: It cannot be done.
    """
    setup = _Setup(
        image.connection,
        image.lock,
        os.fsencode(image.site.directory),
        image.agent,
        command,
        starter,
        image.site,
    )
    for timer in (signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)  # an `exec` keeps them, and the one of real time is stopped
    with _handed_on(setup) as file:
        os.execve(sys.executable, _arguments(file), _environment())


@contextmanager
def _handed_on(setup: _Setup) -> Iterator[int]:
    """Have what is executed in here inherit what it needs. Gives the descriptor of its setup."""
    file = _file(os.fsdecode(setup.directory))
    inherited = [file, *setup.descriptors]
    try:
        with open(file, "wb", closefd=False) as writer:
            writer.write(msgspec.msgpack.encode(setup))
        _let_inherit(inherited, True)
        yield file
    finally:
        _let_inherit(inherited, False)
        os.close(file)


def _file(directory: str) -> int:
    """The descriptor of a file without a name, in memory where there are such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("constellation", os.MFD_CLOEXEC)
    return nameless_file(directory, "setup")


def _let_inherit(numbers: Iterable[int], inherit: bool) -> None:
    for number in numbers:
        os.set_inheritable(number, inherit)


def _arguments(file: int) -> list[str]:
    return [sys.executable, "-s", "-S", "-c", _PROGRAM, str(file), *_places()]


def _places() -> list[str]:
    """Where this package is, and where to look for the others that are needed."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    names = ["msgspec"] if LINUX else ["msgspec", "psutil"]
    files = [getattr(sys.modules.get(name), "__file__", None) for name in names]
    parents = [os.path.dirname(os.path.dirname(file)) for file in files if file is not None]
    return [package, *dict.fromkeys(parents)]


def _environment() -> dict[bytes, bytes]:
    return {
        name: value
        for name, value in os.environb.items()
        if not name.startswith(b"PYTHON") or name in _NEEDED
    }


def main(file: int) -> NoReturn:
    """Be a bare zygote.

    Args:
        file: The descriptor of the file that says what for.
    """
    with open(file, "rb") as reader:
        reader.seek(0)
        setup = msgspec.msgpack.decode(reader.read(), type=_Setup)
    _let_inherit(setup.descriptors, False)
    descriptors.close_all_but({0, 1, 2, *setup.descriptors})
    control = descriptors.adopt_socket(setup.connection)
    origin = Origin()
    holes.fill()
    gc.collect()
    gc.freeze()
    directory = RuntimeDirectory.inherited(os.fsdecode(setup.directory), setup.lock)
    deployed = None
    if setup.site is not None:
        deployed = Deployed(control, directory, setup.launcher, setup.site, security=None)
    if setup.starter is not None:
        _tell_born(setup.starter)
    zygote.run(control, directory, origin, setup.launcher, setup.command, deployed)
    raise AssertionError("its processes execute the program")


def _tell_born(starter: int) -> None:
    stream: MessageStream[ToNewborn] = MessageStream(descriptors.adopt_socket(starter), _to_newborn)
    with contextlib.suppress(ConnectionError):  # the launcher is gone too, as will be seen
        stream.send(Born(fresh=True))
    stream.close()
