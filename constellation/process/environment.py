"""The spawner's surroundings, for the process it spawns: as a difference from the image.

Arguments, environment, import path and working directory are those of the spawner at the spawn. The
new process has those of the program at `init()`, since it is a fork of it; what has changed since
travels with the closure, and is applied before anything of that is unpickled. A process that starts
fresh may have found others at its own `init()`, so there all of them travel.
"""

from __future__ import annotations

import os
import sys

import msgspec

from constellation.errors import SpawnError
from constellation.process.image import Image, directory_identity, working_directory

__all__ = ["apply", "difference"]


class _Difference(msgspec.Struct, array_like=True):
    """What is not as it was at `init()`; None and empty: it is.

    Where `whole` is true, `set` is the whole environment.
    """

    argv: list[str] | None
    path: list[str] | None
    cwd: str | None
    set: dict[bytes, bytes]
    unset: list[bytes]
    whole: bool


_decoder = msgspec.msgpack.Decoder(_Difference)


def difference(image: Image) -> bytes:
    """What of this process differs from the program at `init()`.

    Raises:
        SpawnError: This process is in a directory that has been removed, which has no name.
    """
    old = image.environ
    new = dict(os.environb)
    whole = image.fresh
    if whole:
        changed = new
    else:
        changed = {} if new == old else {k: v for k, v in new.items() if old.get(k) != v}
    argv = [str(each) for each in sys.argv]
    path = [each for each in sys.path if isinstance(each, str)]
    moved = directory_identity() != image.directory
    cwd = working_directory() if moved or whole else None
    if moved and cwd is None:
        raise SpawnError("the working directory, which a new process would have, was removed")
    found = _Difference(
        argv=None if argv == image.argv and not whole else argv,
        path=None if path == image.path and not whole else path,
        cwd=cwd,
        set=changed,
        unset=[name for name in old if name not in new],
        whole=whole,
    )
    return msgspec.msgpack.encode(found)


def apply(data: bytes | bytearray | memoryview) -> None:
    """Make this process's surroundings those of its spawner.

    Raises:
        OSError: The spawner's working directory cannot be entered.
    """
    found = _decoder.decode(data)
    if found.argv is not None:
        sys.argv[:] = found.argv
    if found.path is not None:
        sys.path[:] = found.path
    unset = [each for each in os.environb if each not in found.set] if found.whole else found.unset
    for name in unset:
        os.environb.pop(name, None)
    for name, value in found.set.items():
        if os.environb.get(name) != value:
            os.environb[name] = value
    if found.cwd is not None:
        os.chdir(found.cwd)
