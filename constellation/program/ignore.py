"""What of a program's directory is not shipped. Pure: listings and patterns come as arguments.

What decides about a file or directory is the first of these that has something to say about it:

1. ``--exclude PATTERN``: it stays behind, with everything below it.
2. ``--include PATTERN``: it is shipped; a directory with everything below it, save what 1 and 3 say
   of that.
3. What nobody ships: :data:`NAMES`, environments and caches that :func:`marked` tells.
4. The ``.gitignore`` files, as git reads them: the one nearest to it first, in each the last
   pattern that matches, ``!`` taking back what the ones before it said.

Otherwise it is shipped. As in git nothing below a directory that stays behind is looked at, with
one exception: an ``--include`` with a slash inside, such as ``data/model.bin``, leads into
directories that stay behind by 3 or 4. One without, such as ``*.bin``, would search all of them.

Patterns are those of ``.gitignore``, relative to the program's directory. They are matched by
`pathspec <https://pypi.org/project/pathspec/>`_, one by one and against the very entry: that one
matches a directory above it says nothing here, since that was decided when the walk came there.
"""

from __future__ import annotations

import enum
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from constellation.program.errors import PackError
from constellation.program.manifest import shown

__all__ = ["NAMES", "Fate", "GitIgnore", "Place", "Rules", "literal", "marked"]

NAMES = (
    # version control
    ".git", ".hg", ".svn", ".bzr", ".jj", "_darcs", "CVS",
    # what tools keep
    "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".pytype", ".hypothesis",
    ".ipynb_checkpoints", ".tox", ".nox", ".eggs", "*.egg-info", "node_modules", ".DS_Store",
)  # fmt: skip
"""Patterns of what is not shipped wherever it is."""

_CACHE_TAG = "CACHEDIR.TAG"
_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")


def marked(names: Collection[str]) -> bool:
    """Whether a directory with these names in it is an environment of Python, or a cache.

    Args:
        names: What is in it. ``pyvenv.cfg`` is in each virtual environment, ``conda-meta`` in each
            of conda, and ``CACHEDIR.TAG`` in what follows the `specification of cache directories
            <https://bford.info/cachedir/>`_.
    """
    return _CACHE_TAG in names or any(name in names for name in _ENVIRONMENTS)


def literal(path: bytes) -> str:
    """The pattern that matches this path of the program's directory and no other."""
    return "/" + GitIgnoreSpecPattern.escape(shown(path))


class Fate(enum.Enum):
    """What becomes of a file or directory."""

    SHIPPED = "shipped"
    WHOLE = "whole"
    """It is shipped, and no `.gitignore` has a say below it."""
    SEARCHED = "searched"
    """A directory that stays behind, with something below it that may be included."""
    LEFT_OUT = "left out"


class GitIgnore:
    """The patterns of one `.gitignore`.

    Args:
        text: Its content.
        above: Where it is as seen from the program's directory, for one above that: what leads from
            its directory to the program's, such as ``examples/``. Else "".
        below: Where it is, for one in the program's directory or below: such as ``pkg/``. Else "".
    """

    __slots__ = ("_above", "_below", "_patterns")

    def __init__(self, text: bytes, *, above: str = "", below: str = "") -> None:
        self._above = above
        self._below = below
        lines = text.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape").split("\n")
        patterns = (_compiled(line.removesuffix("\r")) for line in lines)
        self._patterns = [pattern for pattern in patterns if pattern is not None][::-1]

    def ignores(self, path: str, directory: bool) -> bool | None:
        """What it says of a path below the program's directory; None: nothing."""
        path = self._above + path[len(self._below) :]
        for pattern in self._patterns:
            if pattern.matches(path, directory):
                return pattern.ignores
        return None


@dataclass(frozen=True, slots=True)
class Place:
    """A directory on the walk.

    Attributes:
        path: Below the program's directory, with a slash at the end; "" for that itself.
        fate: What has become of it.
        gitignores: What is said of what is in it, the nearest first.
    """

    path: str
    fate: Fate
    gitignores: tuple[GitIgnore, ...]


class Rules:
    """What decides, for one program.

    Args:
        include: The patterns of ``--include``.
        exclude: The patterns of ``--exclude``.

    Raises:
        PackError: A pattern is none, or begins with ``!``.
    """

    __slots__ = ("_exclude", "_include", "_leading", "_names")

    def __init__(self, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> None:
        include = list(include)
        self._include = [_given("--include", text) for text in include]
        self._exclude = [_given("--exclude", text) for text in exclude]
        leading = (_compiled(lead) for text in include for lead in _leading(text))
        self._leading = [pattern for pattern in leading if pattern is not None]
        self._names = [_given("NAMES", text) for text in NAMES]

    def root(self, gitignores: Sequence[GitIgnore] = ()) -> Place:
        """The program's directory itself, which is shipped whatever it is called.

        Args:
            gitignores: Those of the directories above that belong to the same repository, the
                nearest first.
        """
        return Place("", Fate.SHIPPED, tuple(gitignores))

    def enter(
        self, place: Place, name: str, fate: Fate, gitignore: Callable[[], bytes | None]
    ) -> Place:
        """The directory ``name`` in ``place``, for what is in it.

        Args:
            place: Where it is.
            name: Its name; "" for the program's directory.
            fate: What has become of it.
            gitignore: Reads its `.gitignore`; None: it has none.
        """
        path = f"{place.path}{name}/" if name else ""
        text = gitignore() if fate is Fate.SHIPPED else None
        if text is None:
            return Place(path, fate, place.gitignores)
        return Place(path, fate, (GitIgnore(text, below=path), *place.gitignores))

    def fate(
        self, place: Place, name: str, listing: Callable[[], Collection[str]] | None = None
    ) -> Fate:
        """What becomes of ``name`` in ``place``.

        Args:
            place: Where it is, which is not left out.
            name: Its name.
            listing: For a directory: what is in it. Anything else has none, a link too.
        """
        path = place.path + name
        directory = listing is not None
        if _any(self._exclude, path, directory):
            return Fate.LEFT_OUT
        searched = place.fate is Fate.SEARCHED
        include = [one for one in self._include if one.anchored] if searched else self._include
        if _any(include, path, directory):
            return Fate.WHOLE
        if searched or self._stays(place, path, listing):
            leads = directory and _any(self._leading, path, directory)
            return Fate.SEARCHED if leads else Fate.LEFT_OUT
        return place.fate

    def _stays(
        self, place: Place, path: str, listing: Callable[[], Collection[str]] | None
    ) -> bool:
        directory = listing is not None
        if _any(self._names, path, directory):
            return True
        if place.fate is not Fate.WHOLE and _git_ignores(place, path, directory):
            return True
        return listing is not None and marked(listing())

    def only_ignored(self, place: Place, name: str, *, directory: bool) -> bool:
        """Whether nothing but a `.gitignore` leaves ``name`` in ``place`` behind.

        Args:
            place: Where it is.
            name: Its name.
            directory: Whether it is a directory. If it is :func:`marked` is not asked.
        """
        path = place.path + name
        if place.fate is not Fate.SHIPPED or not _git_ignores(place, path, directory):
            return False
        return not _any([*self._exclude, *self._names], path, directory)


def _git_ignores(place: Place, path: str, directory: bool) -> bool:
    said = (gitignore.ignores(path, directory) for gitignore in place.gitignores)
    return next((each for each in said if each is not None), False)


# -- patterns -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pattern:
    regex: re.Pattern[str]
    ignores: bool
    directories: bool  # it matches nothing else
    anchored: bool  # it has a slash before its end

    def matches(self, path: str, directory: bool) -> bool:
        if self.directories and not directory:
            return False
        match = self.regex.search(path if self.anchored else path.rpartition("/")[2])
        # pathspec's patterns match what is below as well; this group then has the slash in between.
        return match is not None and match.groupdict().get("ps_d") is None


def _any(patterns: Iterable[_Pattern], path: str, directory: bool) -> bool:
    return any(pattern.matches(path, directory) for pattern in patterns)


def _given(option: str, text: str) -> _Pattern:
    """The pattern of an option of the command."""
    if text.startswith("!"):
        other = "--include" if option == "--exclude" else "--exclude"
        raise PackError(
            f"{option} {text!r}: a pattern here cannot begin with '!'; use {other} "
            f"for the opposite, or '\\!' for a name that begins so"
        )
    pattern = _compiled(text)
    if pattern is None:
        raise PackError(
            f"{option} {text!r} is not a pattern; write one as in .gitignore, "
            f"such as '*.csv', 'data/' or 'data/model.bin'"
        )
    return pattern


def _leading(text: str) -> list[str]:
    """Patterns of the directories in which the pattern of an ``--include`` could match."""
    names = text.strip("/").split("/")
    if len(names) == 1 and not text.startswith("/"):
        return []
    leading = []
    for count in range(1, len(names)):
        if names[count - 1] == "**":
            leading.append("/" + "/".join(names[:count]))
            break
        leading.append("/" + "/".join(names[:count]) + "/")
    return leading


_CLASSES = {
    "[:alnum:]": "0-9A-Za-z", "[:alpha:]": "A-Za-z", "[:blank:]": " \t", "[:digit:]": "0-9",
    "[:lower:]": "a-z", "[:space:]": " \t\n\r\f\v", "[:upper:]": "A-Z", "[:xdigit:]": "0-9A-Fa-f",
}  # fmt: skip


def _compiled(line: str) -> _Pattern | None:
    """The pattern of a line; None: it has none, or one that git takes for none."""
    if line.startswith("#"):
        return None
    line = _without_spaces(line)
    ignores = not line.startswith("!")
    line = line.removeprefix("!")
    directories = line.endswith("/")
    # Without its last slash, and told below, so that it matches the directory and not only what is
    # in it.
    line = line.removesuffix("/")
    if not line:
        return None
    if line[0] in "!#":
        line = "\\" + line
    for name, range_ in _CLASSES.items():
        line = line.replace(name, range_)
    try:
        regex, _ = GitIgnoreSpecPattern.pattern_to_regex(line)
        if regex is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of brackets that begin as "[["
            return _Pattern(re.compile(regex, re.DOTALL), ignores, directories, "/" in line)
    except (ValueError, re.error):
        return None  # a range such as [z-a], a backslash at the end: git matches nothing with it


def _without_spaces(line: str) -> str:
    """Without the spaces at its end, save one that a backslash stands before."""
    stripped = line.rstrip(" ")
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    return stripped + " " if backslashes % 2 and stripped != line else stripped
