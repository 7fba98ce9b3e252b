"""How services log."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import datetime, timezone

from constellation.plain import PlainFormatter, log_with, plain
from constellation.settings import Format

__all__ = ["current_format", "descriptor", "move", "set_up"]

_LAYOUT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_formatter: logging.Formatter = PlainFormatter(_LAYOUT)


class JsonFormatter(PlainFormatter):
    """Writes each record as an object of JSON, on a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": plain(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)  # in ASCII: whatever the stream can write


def set_up(level: int, form: Format) -> None:
    """Log to stderr, with the time, from a level on."""
    global _formatter
    _formatter = _of(form)
    log_with(_formatter, sys.stderr, level)


def descriptor() -> int:
    """A new descriptor of where this process logs.

    Raises:
        OSError: There can be none.
    """
    return os.dup(2)


def move(descriptor: int, level: int, form: Format) -> None:
    """Log elsewhere from now on, and so whatever is started from now on.

    Args:
        descriptor: Where. It may be closed then.
        level: From which level on.
        form: How.
    """
    global _formatter
    _formatter = _of(form)
    for number in (1, 2):
        os.dup2(descriptor, number)
    root = logging.getLogger()
    root.setLevel(level)
    for handler in root.handlers:
        handler.setFormatter(_formatter)


def _of(form: Format) -> logging.Formatter:
    return JsonFormatter() if form is Format.JSON else PlainFormatter(_LAYOUT)


def current_format() -> Format:
    """How this service logs, as its parts are to do too."""
    return Format.JSON if isinstance(_formatter, JsonFormatter) else Format.HUMAN
