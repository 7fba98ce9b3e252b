"""A bare zygote: an interpreter that holds nothing of the program.

Where processes start fresh, the process that reaches `init()` must not fork: it may hold what does
not survive that, which is why they start fresh. So it starts this in place of a fork: a zygote that
has imported nothing but what a zygote and a monitor need, and whose forks are as safe as forks can
be. Its monitors fork once more, and execute the program's command in the child.
"""

from __future__ import annotations

import gc
import os
import socket
import struct
import sys
from typing import NoReturn

import msgspec

from constellation.process import descriptors, holes, zygote
from constellation.process.command import Command
from constellation.process.directory import RuntimeDirectory
from constellation.process.origin import Origin
from constellation.process.system import LINUX

_HEADER = struct.Struct(">Q")

# What the zygote itself needs of what the environment says to Python. All else is the program's.
_NEEDED = (b"PYTHONHOME", b"PYTHONPLATLIBDIR", b"PYTHONDONTWRITEBYTECODE", b"PYTHONPYCACHEPREFIX")

# The package's own __init__ imports all of the library. Not so here: the package is made by hand.
_PROGRAM = """\
import sys, types
sys.path[:] = [path for path in sys.path if path] + sys.argv[4:]
package = sys.modules["constellation"] = types.ModuleType("constellation")
package.__path__ = [sys.argv[3]]
from constellation.process import bare
bare.main(int(sys.argv[1]), int(sys.argv[2]))
"""


class _Setup(msgspec.Struct, frozen=True, array_like=True):
    """What a bare zygote is told first."""

    directory: bytes
    launcher: int
    command: Command


def start(
    ours: socket.socket, theirs: socket.socket, directory: RuntimeDirectory, command: Command
) -> int:
    """Start one. All signals are blocked.

    Args:
        ours: The launcher's end of the connection.
        theirs: The zygote's.
        directory: The program's runtime directory.
        command: What its processes execute.

    Returns:
        Its process id.

    Raises:
        OSError: It cannot be started.
    """
    numbers = [theirs.fileno(), directory.fileno()]
    for number in numbers:
        os.set_inheritable(number, True)
    arguments = [sys.executable, "-s", "-S", "-c", _PROGRAM, *map(str, numbers), *_places()]
    zygote_pid = os.posix_spawn(sys.executable, arguments, _environment())
    theirs.close()
    setup = _Setup(os.fsencode(directory.path), os.getpid(), command)
    data = msgspec.msgpack.encode(setup)
    try:
        ours.sendall(_HEADER.pack(len(data)) + data)
    except OSError:
        ours.close()
        os.waitpid(zygote_pid, 0)  # it ends with the connection, if it has not ended already
        raise
    return zygote_pid


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


def main(connection: int, lock: int) -> NoReturn:
    """Be a bare zygote.

    Args:
        connection: The descriptor of the connection to the launcher.
        lock: That of the runtime directory.
    """
    for descriptor in (connection, lock):
        os.set_inheritable(descriptor, False)
    descriptors.close_all_but({0, 1, 2, connection, lock})
    control = descriptors.adopt_socket(connection)
    (size,) = _HEADER.unpack(_read(control, _HEADER.size))
    setup = msgspec.msgpack.decode(_read(control, size), type=_Setup)
    origin = Origin()
    holes.fill()
    gc.collect()
    gc.freeze()
    directory = RuntimeDirectory.inherited(os.fsdecode(setup.directory), lock)
    zygote.run(control, directory, origin, setup.launcher, setup.command)
    raise AssertionError("its processes execute the program")


def _read(control: socket.SocketType, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = control.recv(size - len(data))
        if not more:
            os._exit(0)  # the launcher is gone
        data += more
    return bytes(data)
