"""What of a program's directory is shipped, by the rules of :mod:`~constellation.program.ignore`.

Nothing is read but directories and their ``.gitignore``. Links are noted and not followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from constellation.program.errors import PackError
from constellation.program.ignore import Fate, GitIgnore, Place, Rules, marked
from constellation.program.manifest import Directory, Link, shown

__all__ = ["Found", "unreadable", "walk"]

_T = TypeVar("_T")

_GITIGNORE = ".gitignore"
_SHIPS = {Fate.SHIPPED, Fate.WHOLE}
_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


@dataclass(slots=True)
class Found:
    """What a walk has found.

    Attributes:
        files: By path, the status of each regular file.
        links: The symbolic links.
        empty: The directories with nothing in them.
        notes: What was left out because it cannot be shipped, one line for each.
        ignored: The paths of what a `.gitignore` leaves out, and nobody would expect to be: of
            directories with a slash at the end, and without what is in them.
    """

    files: dict[bytes, os.stat_result] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    empty: list[Directory] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ignored: list[bytes] = field(default_factory=list)


def walk(root: str, rules: Rules, keep: bytes | None = None) -> Found:
    """Find what of a directory is shipped.

    Args:
        root: The directory, in full and without links in it.
        rules: What is not shipped.
        keep: The path of a file in it that is shipped in any case.

    Raises:
        PackError: Something cannot be read. The text names it.
    """
    found = Found()
    _Walk(root, rules, found).run()
    if keep is not None and keep not in found.files:
        found.files[keep] = _asked(os.lstat, os.path.join(root, os.fsdecode(keep)))
        found.ignored = [path for path in found.ignored if path != keep]
    return found


class _Walk:
    def __init__(self, root: str, rules: Rules, found: Found) -> None:
        self._root = root
        self._rules = rules
        self._found = found

    def run(self) -> None:
        place = self._rules.root(_above(self._root))
        ahead = [self._entered(place, "", Fate.SHIPPED)]
        while ahead:
            ahead += self._look(ahead.pop())

    def _entered(self, place: Place, name: str, fate: Fate) -> Place:
        directory = os.path.join(self._root, place.path, name)
        return self._rules.enter(place, name, fate, lambda: _read_gitignore(directory))

    def _look(self, place: Place) -> list[Place]:
        """See to what is in a directory. Gives the directories in it that are to be seen to."""
        inner = []
        directory = os.path.join(self._root, place.path)
        names = _list(directory)
        if not names and place.path and place.fate in _SHIPS:
            self._found.empty.append(Directory(_path(place.path[:-1])))
        for name in names:
            path = os.path.join(directory, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue  # it was there a moment ago
            except OSError as error:
                raise unreadable(path, error) from error
            if stat.S_ISDIR(status.st_mode):
                fate = self._rules.fate(place, name, _listing(path))
                if fate is not Fate.LEFT_OUT:
                    inner.append(self._entered(place, name, fate))
                elif self._rules.only_ignored(place, name, directory=True) and _of_note(path):
                    self._found.ignored.append(_path(place.path + name + "/"))
            elif self._rules.fate(place, name) in _SHIPS:
                self._keep(place.path + name, status)
            elif self._rules.only_ignored(place, name, directory=False):
                self._found.ignored.append(_path(place.path + name))
        return inner

    def _keep(self, name: str, status: os.stat_result) -> None:
        path = _path(name)
        full = os.path.join(self._root, name)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            self._found.files[path] = status
        elif kind == stat.S_IFLNK:
            target = _path(_asked(os.readlink, full, ""))
            if target:
                self._found.links.append(Link(path, self._inner(path, target)))
        else:
            what = _KINDS.get(kind, "of no known kind")
            self._found.notes.append(f"{shown(path)} is {what}, and is not shipped")

    def _inner(self, path: bytes, target: bytes) -> bytes:
        """The target of a link: relative, where it was absolute and leads into the directory."""
        root = _path(self._root)
        if target == root or target.startswith(root.rstrip(b"/") + b"/"):
            return os.path.relpath(target, os.path.dirname(os.path.join(root, path)))
        return target


def _of_note(path: str) -> bool:
    """Whether somebody could miss a directory: it is not empty, no environment and no cache."""
    try:
        names = os.listdir(path)
    except OSError:
        return False  # it stays behind, so that it cannot be read is no error
    return bool(names) and not marked(names)


def _path(name: str) -> bytes:
    return os.fsencode(name)


def _list(path: str) -> list[str]:
    def names(path: str) -> list[str]:
        return os.listdir(path)

    return _asked(names, path, [])


def _listing(path: str) -> Callable[[], list[str]]:
    return lambda: _list(path)


def _asked(call: Callable[[str], _T], path: str, gone: _T | None = None) -> _T:
    """What a call says of a path; where it has vanished since it was found, ``gone`` if given."""
    try:
        return call(path)
    except FileNotFoundError as error:
        if gone is not None:
            return gone
        raise unreadable(path, error) from error
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: OSError) -> PackError:
    """The error that a file or directory of the program cannot be read."""
    return PackError(
        f"{shown(os.fsencode(path))} cannot be read: {error.strerror}; "
        f"make it readable, or leave it out with --exclude"
    )


def _read_gitignore(directory: str) -> bytes | None:
    path = os.path.join(directory, _GITIGNORE)
    try:
        # git follows no link here, and a pipe would never end.
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from error


def _above(root: str) -> list[GitIgnore]:
    """The `.gitignore` files above a directory, up to the top of the repository that it is in."""
    found = []
    directory = root
    below = ""
    while not os.path.exists(os.path.join(directory, ".git")):
        parent, name = os.path.split(directory)
        if not name:
            return []  # it is in no repository
        directory = parent
        below = f"{name}/{below}"
        text = _read_gitignore(directory)
        if text is not None:
            found.append(GitIgnore(text, above=below))
    return found
