r"""Text of others on terminals and in logs: as text, whatever is in it.

A name, an endpoint or a note comes from wherever it comes from, and a terminal obeys what it is
shown. So control characters are written as Python writes them: ``\x1b`` for ESC.
"""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TextIO

__all__ = ["PlainFormatter", "log_with", "plain", "plain_lines"]


def plain(text: str) -> str:
    """The text, on one line, with whatever is not to be printed written as Python writes it."""
    if text.isprintable():
        return text
    return "".join(map(_plain_character, text))


def plain_lines(text: str) -> str:
    """As `plain`, of a text of several lines."""
    return text if text.isprintable() else "\n".join(map(plain, text.split("\n")))


def _plain_character(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


class PlainFormatter(logging.Formatter):
    """Writes each record as one line, and below it the traceback that it has, if any."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line."""
        return plain(super().formatMessage(record))

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """The traceback, whose last line may be text of others too."""
        return plain_lines(super().formatException(ei))


def log_with(formatter: logging.Formatter, stream: TextIO, level: int) -> None:
    """Log to a stream, as a formatter writes it, from a level on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler])
