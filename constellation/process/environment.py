"""The spawner's surroundings, for the process it spawns: as a difference from the image.

Arguments, environment, import path and working directory are those of the spawner at the spawn. The
new process has those of the program at `init()`, since it is a fork of it; what has changed since
travels with the closure, and is applied before anything of that is unpickled. A process that starts
fresh may have found others at its own `init()`, so there all of them travel.

On a cluster the new process may be on another node. What belongs to a machine stays there, the
working directory as well, and what of the import path is inside of the program is inside of it
where that is laid out on the other node. The import path names places of the machine, so there it
travels only if it has changed, however processes start.
"""

from __future__ import annotations

import os
import sys

import msgspec

from constellation.errors import SpawnError
from constellation.machine import machine_bound
from constellation.process.image import Image, directory_identity, working_directory

__all__ = ["apply", "difference"]


class _Difference(msgspec.Struct, array_like=True):
    """What is not as it was at `init()`; None and empty: it is.

    Where `whole` is true, `set` is the whole environment, but for what belongs to a machine where
    that may be another.
    """

    argv: list[str] | None
    path: list[str] | None
    cwd: str | None
    set: dict[bytes, bytes]
    unset: list[bytes]
    whole: bool


_decoder = msgspec.msgpack.Decoder(_Difference)
_encode = msgspec.msgpack.Encoder().encode
_ROOT = "\0program"  # no path has a zero byte


def difference(image: Image) -> bytes:
    """What of this process differs from the program at `init()`.

    Raises:
        SpawnError: This process is in a directory that has been removed, which has no name.
    """
    old = image.environ
    new = _environ()
    whole = image.fresh
    if whole:
        changed = new
    else:
        changed = {} if new == old else {k: v for k, v in new.items() if old.get(k) != v}
    argv = [str(each) for each in sys.argv]
    path = [each for each in sys.path if isinstance(each, str)]
    if image.root is not None:
        return _encode(_between_nodes(image, argv, path, changed))
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
    return _encode(found)


def _environ() -> dict[bytes, bytes]:
    """A copy of the environment.

    `os.environb` checks and encodes each name anew, in Python; what it keeps is in this form.
    """
    kept = getattr(os.environb, "_data", None)
    return dict(kept) if type(kept) is dict else dict(os.environb)


def _between_nodes(
    image: Image, argv: list[str], path: list[str], changed: dict[bytes, bytes]
) -> _Difference:
    """What differs for a process that may be on another node."""
    unset = [name for name in image.environ if name not in os.environb]
    return _Difference(
        argv=None if argv == image.argv and not image.fresh else argv,
        path=None if path == image.path else [_rooted(each, image.root, _ROOT) for each in path],
        cwd=None,
        set={name: value for name, value in changed.items() if not _bound(name)},
        unset=[name for name in unset if not _bound(name)],
        whole=image.fresh,
    )


def _bound(name: bytes) -> bool:
    return machine_bound(os.fsdecode(name))


def _rooted(path: str, root: str | None, new: str) -> str:
    """A path that is inside of `root` as it is inside of `new`; any other as it is."""
    if root is None or not (path == root or path.startswith(root + os.sep)):
        return path
    return new + path[len(root) :]


def apply(data: bytes | bytearray | memoryview, image: Image) -> None:
    """Make this process's surroundings those of its spawner.

    Args:
        data: How they differ from the image.
        image: The program at this process's `init()`.

    Raises:
        OSError: The spawner's working directory cannot be entered.
    """
    found = _decoder.decode(data)
    if found.argv is not None:
        sys.argv[:] = found.argv
    if found.path is not None:
        path = found.path
        if image.root is not None:
            path = [_rooted(each, _ROOT, image.root) for each in path]
        sys.path[:] = path
    unset = found.unset
    if found.whole:
        bound = _bound if image.root is not None else lambda _: False
        unset = [each for each in os.environb if each not in found.set and not bound(each)]
    for name in unset:
        os.environb.pop(name, None)
    for name, value in found.set.items():
        if os.environb.get(name) != value:
            os.environb[name] = value
    if found.cwd is not None:
        os.chdir(found.cwd)
