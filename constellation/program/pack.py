"""From the directory of a program to its manifest.

The program ``prog.py`` is the directory that it is in, after links; ``-m pkg.mod`` is the working
directory. What of it is shipped says :mod:`~constellation.program.ignore`, save that the script
itself always is.

Sizes are looked at before anything is read: a directory that is too large is refused in the time
that it takes to list it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from dataclasses import dataclass

from constellation.program.errors import ManifestError, PackError
from constellation.program.hashes import Hashes, Stamp
from constellation.program.ignore import Rules, literal
from constellation.program.manifest import Entry, File, Manifest, is_module, leaving, order, shown
from constellation.program.sizes import check_size
from constellation.program.walk import Found, unreadable, walk
from constellation.units import Mem, MemLike

__all__ = ["MAX_SIZE", "Package", "pack_module", "pack_script"]

MAX_SIZE = Mem("100 MiB")

_ATTEMPTS = 3  # at a file that changes while it is read
_AT_ONCE = 1 << 20
_SHOWN = 10  # links that an error lists


@dataclass(frozen=True, slots=True)
class Package:
    """A program that can be shipped.

    Attributes:
        directory: Its directory, in full and without links in it.
        manifest: What of that is shipped.
        notes: What was left out because it cannot be shipped, one line for each.
        ignored: What `.gitignore` files leave out, a line for people; None: nothing that anybody
            could miss.
    """

    directory: str
    manifest: Manifest
    notes: tuple[str, ...]
    ignored: str | None = None

    def read(self, file: File, offset: int, size: int) -> bytes:
        """Read from the content of a file of the manifest.

        Returns:
            ``size`` bytes; fewer where the file has become shorter since it was packed.

        Raises:
            PackError: The file is gone, or cannot be read any more.
        """
        path = os.path.join(os.fsencode(self.directory), file.path)
        try:
            descriptor = os.open(path, _FLAGS)
            try:
                return os.pread(descriptor, size, offset)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise PackError(
                f"{shown(file.path)} cannot be read any more: {error.strerror}; "
                f"the program has changed since it was looked at, deploy it again"
            ) from error


def pack_script(
    path: str,
    rules: Rules | None = None,
    *,
    max_size: MemLike = MAX_SIZE,
    cache: str | None = None,
) -> Package:
    """Pack the program that a script is.

    Args:
        path: The script.
        rules: What is not shipped.
        max_size: The most that may be shipped.
        cache: Where digests are kept from one time to the next; None: in the user's cache
            directory.

    Raises:
        PackError: There is no such file, it is nowhere that could be shipped, it is too large, it
            has links that leave it, or something cannot be read. The text says what would be right.
    """
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        what = "a directory" if os.path.isdir(real) else "no file"
        raise PackError(f"{path} is {what}; name the script that is to run, or -m and a module")
    directory, name = os.path.split(real)
    _check_place(directory)
    script = os.fsencode(name)
    found = walk(directory, rules or Rules(), script)
    return _pack(directory, found, script, None, Mem(max_size), cache)


def pack_module(
    name: str,
    directory: str,
    rules: Rules | None = None,
    *,
    max_size: MemLike = MAX_SIZE,
    cache: str | None = None,
) -> Package:
    """Pack the program that a module is, as in ``python -m name``.

    Args:
        name: The module, or a package with a ``__main__``.
        directory: Where it is found: the working directory.
        rules: What is not shipped.
        max_size: The most that may be shipped.
        cache: As for :func:`pack_script`.

    Raises:
        PackError: As for :func:`pack_script`; there is no such module, or it is left out.
    """
    root = os.path.realpath(directory)
    if not is_module(name):
        raise PackError(f"{name!r} is not the name of a module; write it as for `python -m`")
    base = name.replace(".", "/")
    places = [f"{base}.py", f"{base}/__main__.py"]
    there = [place for place in places if os.path.isfile(os.path.join(root, place))]
    if not there:
        raise PackError(
            f"there is no module {name} in {root}: neither {places[0]} nor {places[1]}; "
            f"deploy from the directory that it is in"
        )
    _check_place(root)
    found = walk(root, rules or Rules())
    if not any(os.fsencode(place) in found.files for place in there):
        raise PackError(f"{there[0]} is what is to run, and is left out; ship it with --include")
    return _pack(root, found, None, name, Mem(max_size), cache)


def _check_place(directory: str) -> None:
    home = os.path.realpath(os.path.expanduser("~"))
    if directory == home:
        what = "your home directory"
    elif os.path.dirname(directory) == directory or home.startswith(directory + "/"):
        what = f"the directory {directory}"
    else:
        return
    raise PackError(
        f"the program is in {what}, and all that is there would be shipped with it; "
        f"move it into a directory of its own"
    )


def _pack(
    directory: str,
    found: Found,
    script: bytes | None,
    module: str | None,
    max_size: Mem,
    cache: str | None,
) -> Package:
    _check_links(found)
    sizes = {path: status.st_size for path, status in found.files.items()}
    check_size(directory, sizes, max_size, len(found.links) + len(found.empty))
    files = _hashed(directory, found, Hashes(directory, cache))
    # What has grown in the meantime counts as well.
    check_size(directory, {file.path: file.size for file in files}, max_size)
    entries: list[Entry] = [*files, *found.links, *found.empty]
    entries.sort(key=lambda entry: order(entry.path))
    try:
        manifest = Manifest(tuple(entries), script, module)
    except ManifestError as error:
        raise PackError(f"the program in {directory} cannot be shipped: {error.reason}") from error
    return Package(directory, manifest, tuple(found.notes), _ignored(found.ignored))


def _ignored(paths: list[bytes]) -> str | None:
    if not paths:
        return None
    # What a program reads is more likely a file, and not hidden, than something else.
    example = min(paths, key=lambda path: (path.startswith(b"."), path.endswith(b"/"), path))
    if len(paths) == 1:
        return f"not shipped: {shown(example)}, which .gitignore names; --include ships it"
    directories = any(path.endswith(b"/") for path in paths)
    what = "files and directories" if directories else "files"
    return (
        f"not shipped: {len(paths)} {what} that .gitignore names, such as {shown(example)}; "
        f"--include ships them"
    )


def _check_links(found: Found) -> None:
    try:
        left = leaving(found.links)
    except ManifestError as error:
        raise PackError(f"the program cannot be shipped: {error.reason}") from error
    if not left:
        return
    lines = [f"    {shown(link.path)} -> {shown(link.target)}" for link in left[:_SHOWN]]
    if len(left) > _SHOWN:
        lines.append(f"    and {len(left) - _SHOWN} more")
    raise PackError(
        "these links lead out of the program's directory, and would lead nowhere on a node:\n"
        + "\n".join(lines)
        + f"\nLeave them out, as with --exclude '{literal(left[0].path)}', "
        "or put what they lead to in their place."
    )


# -- reading --------------------------------------------------------------------------------------

# A file that has become a link or a pipe since it was found is noticed, and not waited for.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _hashed(directory: str, found: Found, hashes: Hashes) -> list[File]:
    files = []
    for path, status in found.files.items():
        stamp = Stamp.of(status)
        mode = status.st_mode
        sha256 = hashes.get(path, stamp)
        if sha256 is None:
            now = time.time_ns()
            read = _read(directory, path)
            if read is None:
                found.notes.append(f"{shown(path)} vanished while the program was packed")
                continue
            stamp, sha256, mode = read
            hashes.put(path, stamp, sha256, now)
        files.append(File(path, stamp.size, sha256, bool(mode & stat.S_IXUSR)))
    hashes.save()
    return files


def _read(directory: str, path: bytes) -> tuple[Stamp, bytes, int] | None:
    """The digest of a file, and its mode while it had that; None: there is none any more."""
    full = os.path.join(os.fsencode(directory), path)
    for _ in range(_ATTEMPTS):
        try:
            descriptor = os.open(full, _FLAGS)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                continue
            raise unreadable(os.fsdecode(full), error) from error
        try:
            before = os.fstat(descriptor)
            if stat.S_ISREG(before.st_mode):
                sha256 = _digest(descriptor, before.st_size)
                stamp = Stamp.of(os.fstat(descriptor))
                if sha256 is not None and stamp == Stamp.of(before):
                    return stamp, sha256, before.st_mode
        except OSError as error:
            raise unreadable(os.fsdecode(full), error) from error
        finally:
            os.close(descriptor)
    raise PackError(
        f"{shown(path)} changes while it is read; wait until it does not, "
        f"or leave it out with --exclude '{literal(path)}'"
    )


def _digest(descriptor: int, size: int) -> bytes | None:
    """The SHA-256 of a file; None if it is not of this size, which it may outgrow for ever."""
    sha256 = hashlib.sha256()
    buffer = memoryview(bytearray(min(size + 1, _AT_ONCE)))
    left = size
    while count := os.readv(descriptor, [buffer]):
        left -= count
        if left < 0:
            return None
        sha256.update(buffer[:count])
    return sha256.digest() if left == 0 else None
