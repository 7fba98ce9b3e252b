"""What a program consists of: names, sizes and digests, and nothing that is no file of it. Pure.

A manifest is a value: the same tree has the same manifest, the same bytes, and the same digest,
which names the program. One that could be laid out in two ways, or outside of its directory, does
not exist: making one checks it, and so does reading one from bytes.

What holds for each manifest, and raises :class:`~constellation.program.errors.ManifestError` in its
absence:

- A path is relative, of at most :data:`PATH_LIMIT` bytes and :data:`DEPTH_LIMIT` names; no name in
  it is empty, ``.`` or ``..``, has a NUL or more than 255 bytes.
- Entries are in the order of their paths, name by name, so none is there twice.
- Nothing lies below a file or a link. A directory is an entry of its own only where it is empty.
- A link's target is relative, and does not leave the tree, through whatever other links it leads.
  That it leads to something is not asked.
- The same digest has the same size everywhere; no size is negative.
- There are at most :data:`ENTRIES_LIMIT` entries.
- It has a script, which is one of the files, or else a module.

Paths are bytes, as they are to the file system: a name that is not UTF-8 travels as it is, and no
locale of any machine has a part in it. Names that differ only in case are different names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Annotated, TypeAlias

import msgspec

from constellation.program.errors import ManifestError

__all__ = [
    "DEPTH_LIMIT",
    "ENTRIES_LIMIT",
    "MANIFEST_LIMIT",
    "PATH_LIMIT",
    "Directory",
    "Entry",
    "File",
    "Link",
    "Manifest",
    "leaving",
    "order",
    "shown",
]

PATH_LIMIT = 2048
"""Bytes of the longest path. Systems allow 4096, and the directory of the tree comes before it."""
DEPTH_LIMIT = 128
"""Names of the longest path."""
ENTRIES_LIMIT = 100_000
MANIFEST_LIMIT = 32 << 20
"""Bytes of the longest manifest."""

_NAME_LIMIT = 255
_HOPS_LIMIT = 40  # links that Linux follows for one path; beyond, the path leads nowhere
_STEPS_LIMIT = 1_000_000  # names looked at for all links of a tree, far more than a real one has

_Path: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=1, max_length=PATH_LIMIT)]
Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Size: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Value(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The base of what a manifest is made of."""


class File(_Value, frozen=True, tag="file"):
    """A regular file.

    Attributes:
        path: Where it is in the tree.
        size: Its bytes.
        sha256: The digest of its content.
        executable: Whether its owner may execute it. No other mode is kept.
    """

    path: _Path
    size: Size
    sha256: Digest
    executable: bool = False


class Link(_Value, frozen=True, tag="link"):
    """A symbolic link.

    Attributes:
        path: Where it is in the tree.
        target: What it says: a path relative to the directory it is in.
    """

    path: _Path
    target: _Path


class Directory(_Value, frozen=True, tag="directory"):
    """A directory with nothing in it. All others are there because something is in them.

    Attributes:
        path: Where it is in the tree.
    """

    path: _Path


Entry: TypeAlias = File | Link | Directory


class Manifest(_Value, frozen=True, tag="program"):
    """What a program consists of, and how it is run.

    Attributes:
        entries: What is in its directory, in :func:`order`.
        script: The path of the file that is run; None: it is ``module``.
        module: The name for ``python -m``; None: it is ``script``.

    Raises:
        ManifestError: It breaks a rule of those above.
    """

    entries: tuple[Entry, ...]
    script: _Path | None = None
    module: str | None = None

    def __post_init__(self) -> None:
        if len(self.entries) > ENTRIES_LIMIT:
            raise ManifestError(f"{len(self.entries)} entries, of {ENTRIES_LIMIT} allowed")
        _check_paths(self.entries)
        _check_sizes(self.files)
        links = [entry for entry in self.entries if type(entry) is Link]
        for link in leaving(links):
            raise ManifestError(
                f"the link {shown(link.path)} leads to {shown(link.target)}, out of the program"
            )
        self._check_program()

    def _check_program(self) -> None:
        if (self.script is None) == (self.module is None):
            raise ManifestError("it needs either a script or a module")
        if self.script is not None and all(file.path != self.script for file in self.files):
            raise ManifestError(f"its script {shown(self.script)} is none of its files")
        if self.module is not None and not is_module(self.module):
            raise ManifestError(f"{self.module!r} is not the name of a module")

    @property
    def files(self) -> list[File]:
        """The regular files among the entries."""
        return [entry for entry in self.entries if type(entry) is File]

    @property
    def size(self) -> int:
        """The bytes that the tree takes when it is laid out."""
        return sum(file.size for file in self.files)

    @property
    def blobs(self) -> dict[bytes, File]:
        """By digest: one of the files with that content, the first one."""
        found: dict[bytes, File] = {}
        for file in self.files:
            found.setdefault(file.sha256, file)
        return found

    def encode(self) -> bytes:
        """The bytes of it, in MessagePack. Equal manifests have equal bytes."""
        return msgspec.msgpack.encode(self)

    def digest(self) -> bytes:
        """The SHA-256 of those bytes, which names the program."""
        return hashlib.sha256(self.encode()).digest()

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """The manifest that came as ``data``.

        Raises:
            ManifestError: They are no manifest.
        """
        if len(data) > MANIFEST_LIMIT:
            raise ManifestError(f"{len(data)} bytes, of {MANIFEST_LIMIT} allowed")
        try:
            return _decoder.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ManifestError(str(error)) from error


_decoder = msgspec.msgpack.Decoder(Manifest)


def order(path: bytes) -> bytes:
    """What paths are sorted by: what is below a name follows right after that name.

    Plain bytes would put ``a-b`` between ``a`` and ``a/b``. No name has a NUL.
    """
    return path.replace(b"/", b"\0")


def shown(path: bytes) -> str:
    """A path as text for people, whatever is in it."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else repr(text)[1:-1]


def is_module(name: str) -> bool:
    """Whether ``name`` may follow ``python -m``: names with dots between them."""
    parts = name.split(".")
    return all(part.isprintable() and part and "/" not in part for part in parts) and (
        not name.startswith("-")
    )


def leaving(links: Iterable[Link]) -> list[Link]:
    """Those of a tree's links that lead out of it, or pretend that the root is elsewhere.

    They are followed as the system would, through each other. To look at their text alone is not
    enough: with ``a/b/up -> ../..``, the target ``up/..`` of a link in ``a/b`` leaves.

    Raises:
        ManifestError: They lead through so many others that it takes too long to tell.
    """
    targets = {link.path: link.target for link in links}
    steps = 0
    found = []
    for link, target in targets.items():
        left, taken = _follow(link, targets)
        steps += taken
        if steps > _STEPS_LIMIT:
            raise ManifestError("its links lead through too many others")
        if left:
            found.append(Link(link, target))
    return found


def _follow(link: bytes, targets: dict[bytes, bytes]) -> tuple[bool, int]:
    """Whether a link leads out of the tree, and how many names it took to tell."""
    at = link.split(b"/")[:-1]  # no parent of an entry is a link
    target = targets[link]
    if target.startswith(b"/"):
        return True, 1
    ahead = target.split(b"/")[::-1]
    hops = 1
    steps = 0
    while ahead:
        steps += 1
        name = ahead.pop()
        if name == b"..":
            if not at:
                return True, steps
            at.pop()
        elif name not in {b"", b"."}:
            at.append(name)
            further = targets.get(b"/".join(at))
            if further is None:
                continue
            if further.startswith(b"/"):
                return True, steps
            hops += 1
            if hops > _HOPS_LIMIT:
                return False, steps
            at.pop()
            ahead += further.split(b"/")[::-1]
    return False, steps


def _check_paths(entries: tuple[Entry, ...]) -> None:
    before: Entry | None = None
    for entry in entries:
        _check_path(entry.path)
        if type(entry) is Link and b"\0" in entry.target:
            raise ManifestError(f"the target of the link {shown(entry.path)} has a NUL in it")
        if before is not None:
            _check_neighbours(before, entry)
        before = entry


def _check_path(path: bytes) -> None:
    if not 0 < len(path) <= PATH_LIMIT:
        raise ManifestError(f"a path of {len(path)} bytes; 1 to {PATH_LIMIT} are allowed")
    if path.startswith(b"/"):
        raise ManifestError(f"the path {shown(path)} is absolute")
    if b"\0" in path:
        raise ManifestError(f"the path {shown(path)} has a NUL in it")
    names = path.split(b"/")
    if len(names) > DEPTH_LIMIT:
        raise ManifestError(
            f"the path {shown(path)} has {len(names)} names, of {DEPTH_LIMIT} allowed"
        )
    for name in names:
        if name in {b"", b".", b".."}:
            raise ManifestError(f"the path {shown(path)} has {shown(name)!r} as a name in it")
        if len(name) > _NAME_LIMIT:
            raise ManifestError(
                f"the path {shown(path)} has a name of {len(name)} bytes, of {_NAME_LIMIT} allowed"
            )


def _check_neighbours(before: Entry, entry: Entry) -> None:
    if entry.path == before.path:
        raise ManifestError(f"the path {shown(entry.path)} is there twice")
    if order(entry.path) < order(before.path):
        raise ManifestError(f"{shown(entry.path)} after {shown(before.path)}: not in their order")
    # In that order, whatever is below an entry begins right after it.
    if entry.path.startswith(before.path + b"/"):
        if type(before) is Directory:
            reason = f"{shown(before.path)} is said to be empty, and has {shown(entry.path)} in it"
        else:
            reason = f"{shown(before.path)} is no directory, and has {shown(entry.path)} below it"
        raise ManifestError(reason)


def _check_sizes(files: list[File]) -> None:
    sizes: dict[bytes, int] = {}
    for file in files:
        if len(file.sha256) != 32 or not 0 <= file.size < 2**63:
            raise ManifestError(
                f"{shown(file.path)} has {file.size} bytes and a digest of {len(file.sha256)}"
            )
        if sizes.setdefault(file.sha256, file.size) != file.size:
            raise ManifestError(
                f"the content {file.sha256.hex()[:12]} has {sizes[file.sha256]} bytes, "
                f"and {file.size} at {shown(file.path)}"
            )
