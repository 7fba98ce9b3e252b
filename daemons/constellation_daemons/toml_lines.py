"""On which line of a TOML file a key is, pure: the libraries that read TOML do not tell."""

from __future__ import annotations

import bisect
import re
import sys
from collections import Counter
from typing import Final, TypeAlias

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Path", "key_lines"]

Path: TypeAlias = tuple[str | int, ...]
"""Where a value is: names of keys, and indices in arrays."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'  # up to two more quotes may stand before the end
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_BARE_KEY: Final = re.compile(r"[^\s.=\]\"'#]+")
_BARE_VALUE: Final = re.compile(r"[^,\]}#\n]*")


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every key, table and element of an array.

    A table that is continued elsewhere is where it began.

    Args:
        text: TOML that has been read before, and so is well-formed.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


class _Scanner:
    """One pass over the text. What is not well-formed makes it stop early, and not fail."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._ends = [match.start() for match in re.finditer("\n", text)]
        self._tables: Counter[Path] = Counter()  # arrays of tables -> tables so far

    def document(self) -> None:
        table: Path = ()
        while self._more():
            before = self._at
            if self._take("["):
                table = self._header(double=self._take("["))
            else:
                self._pair(table)
            if self._at == before:
                return

    def _header(self, *, double: bool) -> Path:
        start = self._at
        *parents, name = self._key()
        self._take("]")
        if double:
            self._take("]")
        path: Path = ()
        for parent in parents:
            path = (*path, parent)
            self._note(path, start)
            path = self._latest(path)
        path = (*path, name)
        if double:
            self._note(path, start)
            self._tables[path] += 1
            path = self._latest(path)
        self._note(path, start)
        return path

    def _latest(self, path: Path) -> Path:
        """The last table of an array of tables, or what else is under this path."""
        count = self._tables.get(path)
        return path if count is None else (*path, count - 1)

    def _pair(self, table: Path) -> None:
        start, path = self._at, table
        for name in self._key():
            path = (*path, name)
            self._note(path, start)
        if self._take("="):
            self._value(path)

    def _key(self) -> list[str]:
        names = []
        while True:
            self._skip(_SPACE)
            string = self._skip(_STRING)
            names.append(_text_of(string) if string else self._skip(_BARE_KEY))
            self._skip(_SPACE)
            if not self._take("."):
                return names

    def _value(self, path: Path) -> None:
        self._skip(_SPACE)
        if self._take("["):
            self._elements(path)
        elif self._take("{"):
            self._inline_table(path)
        elif not self._skip(_STRING):
            self._skip(_BARE_VALUE)

    def _elements(self, path: Path) -> None:
        index = 0
        while self._more() and not self._take("]"):
            before = self._at
            self._note((*path, index), before)
            self._value((*path, index))
            index += 1
            self._more()
            self._take(",")
            if self._at == before:
                return

    def _inline_table(self, path: Path) -> None:
        while self._more() and not self._take("}"):
            before = self._at
            self._pair(path)
            self._more()
            self._take(",")
            if self._at == before:
                return

    def _note(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, bisect.bisect_left(self._ends, at) + 1)

    def _more(self) -> bool:
        """Whether there is something behind blanks and comments, which are skipped."""
        self._skip(_BLANK)
        return self._at < len(self._text)

    def _take(self, mark: str) -> bool:
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]


def _text_of(string: str) -> str:
    """What a string stands for, without its quotes and escapes."""
    try:
        value = tomllib.loads(f"key = {string}")["key"]
    except tomllib.TOMLDecodeError:
        return string
    return str(value)
