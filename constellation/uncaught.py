"""How an error that nobody caught is shown: with the user's frames.

What a program meets of this library's errors is its own doing or its peers'. Where in the library
that came up is nothing to whoever reads the traceback, which so ends at the line that is theirs.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from types import TracebackType

from constellation.errors import ConstellationError

_PACKAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


def show_users_frames(node: str | None = None) -> None:
    """Have errors that nobody caught shown without the frames of this library.

    Only those that users know: of anything else, which is a defect, all is shown. Hooks of the
    user's stay. Again it does nothing but tell of the node.

    A process of a program does this when it begins. Before, a process is the user's alone, and it
    is done where such an error is about to be raised.

    Args:
        node: The node of a cluster that this process runs on, as users name it, for errors that
            depend on it.
    """
    hook = sys.excepthook
    if hook is sys.__excepthook__ or getattr(hook, "func", None) is _excepthook:
        sys.excepthook = functools.partial(_excepthook, node)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_excepthook


def _excepthook(
    node: str | None,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    shown = trace if _interactive() else _without_ours(error, trace)
    sys.__excepthook__(kind, error.with_traceback(shown), shown)
    if isinstance(error, ModuleNotFoundError) and node is not None:
        print(_not_here(error, node), file=sys.stderr)


def _thread_excepthook(arguments: threading.ExceptHookArgs) -> None:
    kind, error, trace, thread = arguments
    if error is not None and not _interactive():
        trace = _without_ours(error, trace)
        error = error.with_traceback(trace)
    threading.__excepthook__(threading.ExceptHookArgs((kind, error, trace, thread)))


def _not_here(error: ModuleNotFoundError, node: str) -> str:
    """What Python does not say: that it depends on the machine whether there is a module."""
    paths = ", ".join(path or os.getcwd() for path in sys.path)
    return (
        f"constellation: there is no module {error.name!r} on {node}, which has looked in "
        f"{paths}: install it there for {sys.executable}, or deploy it with the program"
    )


def _interactive() -> bool:
    return bool(sys.flags.interactive) or hasattr(sys, "ps1")


def _without_ours(error: BaseException, trace: TracebackType | None) -> TracebackType | None:
    if not isinstance(error, (ConstellationError, KeyboardInterrupt, TimeoutError)):
        return trace
    kept = []
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            kept.append(trace)
        trace = trace.tb_next
    shown: TracebackType | None = None
    for each in reversed(kept):
        shown = TracebackType(shown, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return shown
