"""Where the commands begin, which end quietly when Ctrl-C comes before they have begun.

It is a package of its own because to import anything of ``constellation`` is to import most of
that, which takes a few tenths of a second, and Python shows where in it an interrupt came.
"""

from __future__ import annotations

import importlib
import os
import signal
from types import FrameType

__all__ = ["main", "master_main", "node_main"]


def main() -> None:
    """The command ``constellation``."""
    _run("constellation.cli.main", "main")


def node_main() -> None:
    """The command ``constellation-node``."""
    _run("constellation_daemons.cli", "node_main")


def master_main() -> None:
    """The command ``constellation-master``."""
    _run("constellation_daemons.cli", "master_main")


def _run(module: str, function: str) -> None:
    heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # and not ignored
    if heeded:
        signal.signal(signal.SIGINT, _leave)
    command = getattr(importlib.import_module(module), function)
    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


def _leave(number: int, _frame: FrameType | None) -> None:
    # An exception would come up within imports, some of which make others of it. Nothing has been
    # done yet, and nothing printed.
    os._exit(128 + number)
