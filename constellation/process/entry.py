"""What a process of the user's does between its fork and the user's code.

What is the same for all of them the zygote has done before it forks them: :func:`prepare_first` for
every process, and :func:`prepare` for those that are spawned, once the initial one is forked. One
that starts fresh does it itself: :func:`prepare_fresh`.
"""

from __future__ import annotations

import gc
import os
import sys
from io import TextIOWrapper
from typing import TextIO

from constellation.process import heap, holes, leave, locality, system
from constellation.process.identity import Newborn
from constellation.process.origin import Origin

NATIVE, FABRIC = "native", "fabric"
"""What `CONSTELLATION` says inside the processes of a program that runs without a cluster, and of
one that runs on it."""
SPARE_NAME = "cst-spare"
"""What `ps` calls a process that is not adopted yet."""


def prepare_first(mode: str) -> None:
    """In the zygote: what every process of the user's finds."""
    os.environ["CONSTELLATION"] = mode
    heap.keep()
    for stream in (sys.stdout, sys.__stdout__):
        # Another's may run code of the user's, which the zygote never does.
        if type(stream) is TextIOWrapper:
            _buffer_lines(stream)


def prepare() -> None:
    """In the zygote: what every process finds that is not the initial one."""
    _replace_stdin()
    _forget_lookups()
    holes.fill()
    locality.gather()
    gc.freeze()


def _forget_lookups() -> None:
    """Drop what the interpreter remembers of the attributes that the program's start looked up.

    Each fork would replace it by its own, and for each name that is dropped then copy the page that
    it is on: a fifth of a MiB in all with Python 3.11.
    """
    clear = getattr(sys, "_clear_internal_caches", None)  # from Python 3.13 on
    (sys._clear_type_cache if clear is None else clear)()


def prepare_fresh(mode: str) -> None:
    """In a process that starts fresh, when it has reached `init()` and has its streams."""
    os.environ["CONSTELLATION"] = mode
    heap.keep()
    _replace_stdin()


def _replace_stdin() -> None:
    # The old ones stay referenced: dropping them may run code of the user's.
    _kept.append(sys.stdin)
    _kept.append(sys.__stdin__)
    sys.stdin = _new_stdin(sys.__stdin__)
    sys.__stdin__ = sys.stdin  # type: ignore[misc]


_kept: list[object] = []


def _buffer_lines(stream: object) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        # It is a pipe now, whatever it was; people want to see lines when they are printed.
        reconfigure(line_buffering=True)


def adapt(newborn: Newborn, origin: Origin) -> None:
    """Make this a process of its own. Signals stay blocked, and nothing is collected.

    Args:
        newborn: Who it is.
        origin: The program at `init()`.
    """
    system.set_name(SPARE_NAME)
    origin.restore(initial=newborn.initial, fresh=newborn.fresh)
    for stream in (sys.stdout, sys.__stdout__):
        if not getattr(stream, "line_buffering", False):
            _buffer_lines(stream)
    if not newborn.initial:
        leave.forget_exit_handlers(finalizers=not newborn.fresh)


def _new_stdin(old: TextIO | None) -> TextIOWrapper | None:
    """A standard input without what the program had read ahead before `init()`."""
    if old is None:
        return None
    return open(0, encoding=old.encoding, errors=old.errors, closefd=False)
