"""Directories of programs for tests, and what is in a directory."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from constellation.program.manifest import Directory, Entry, File, Link, Manifest, order


def file(path: str | bytes, content: bytes = b"", *, executable: bool = False) -> File:
    """The entry of a file with that content."""
    digest = hashlib.sha256(content).digest()
    return File(os.fsencode(path), len(content), digest, executable)


def manifest(*entries: Entry, script: bytes | None = b"prog.py") -> Manifest:
    """A manifest of these entries, whose script is added."""
    added = [] if script is None else [file(script, b"print()")]
    return Manifest(tuple(sorted([*added, *entries], key=lambda e: order(e.path))), script)


def grow(directory: Path, tree: dict[str, str | bytes | None]) -> Path:
    """Make what ``tree`` says: by path the content, a link's target after ``->``, None: empty."""
    for name, content in tree.items():
        path = directory / name
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str) and content.startswith("->"):
            path.symlink_to(content[2:].strip())
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def found(directory: str | bytes | Path) -> list[Entry]:
    """What is in a directory, as the entries of a manifest."""
    root = os.fsencode(directory)
    entries: list[Entry] = []
    for parent, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(parent, name)
            below = os.path.relpath(path, root)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                entries.append(Link(below, os.readlink(path)))
            elif stat.S_ISREG(mode):
                with open(path, "rb") as opened:
                    entries.append(file(below, opened.read(), executable=bool(mode & 0o100)))
            elif stat.S_ISDIR(mode) and not os.listdir(path):
                entries.append(Directory(below))
    return sorted(entries, key=lambda entry: order(entry.path))
