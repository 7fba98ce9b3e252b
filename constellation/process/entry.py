"""What a process of the user's does between its fork and the user's code."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import TextIO

from constellation.process import leave, system
from constellation.process.identity import Newborn
from constellation.process.origin import Origin

MODE = "native"
"""What `CONSTELLATION` says inside the processes of a program that runs without a cluster."""
SPARE_NAME = "cst-spare"
"""What `ps` calls a process that is not adopted yet."""


def adapt(newborn: Newborn, origin: Origin) -> None:
    """Make a fresh fork a process of its own. Signals stay blocked, and nothing is collected.

    Args:
        newborn: Who it is.
        origin: The program at `init()`.
    """
    system.set_name(SPARE_NAME)
    origin.restore(initial=newborn.initial)
    os.environ["CONSTELLATION"] = MODE
    for stream in {id(stream): stream for stream in (sys.stdout, sys.__stdout__)}.values():
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # It is a pipe now, whatever it was; people want to see lines when they are printed.
            reconfigure(line_buffering=True)
    if not newborn.initial:
        leave.forget_exit_handlers()
        sys.stdin = _new_stdin(sys.__stdin__)
        sys.__stdin__ = sys.stdin  # type: ignore[misc]


def _new_stdin(old: TextIO | None) -> TextIOWrapper | None:
    """A standard input without what the program had read ahead before `init()`."""
    if old is None:
        return None
    return open(0, encoding=old.encoding, errors=old.errors, closefd=False)
