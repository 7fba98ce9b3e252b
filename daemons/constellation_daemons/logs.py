"""How services log."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

from constellation.plain import PlainFormatter, log_with, plain
from constellation.settings import Format

__all__ = ["current_format", "set_up"]

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
    _formatter = JsonFormatter() if form is Format.JSON else PlainFormatter(_LAYOUT)
    log_with(_formatter, sys.stderr, level)


def current_format() -> Format:
    """How this service logs, as its parts are to do too."""
    return Format.JSON if isinstance(_formatter, JsonFormatter) else Format.HUMAN
