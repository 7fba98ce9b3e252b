"""The file objects of a process that may hold what has not been written yet.

A process that leaves by `os._exit` skips the finalizers that would write it out, so this does: for
the objects made since `init()`, which the garbage collector lists, and for those made before, which
it does not list once they are frozen, so that `init()` notes them.
"""

from __future__ import annotations

import _io
import contextlib
import gc
import io
import os
import sys
import traceback
import weakref
from collections.abc import Callable
from types import SimpleNamespace, TracebackType

# Text first: it writes into the binary ones.
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")
_KINDS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


class Writers:
    """Those that existed at `init()`.

    Making it writes out what they hold, so that no fork does it again.
    """

    def __init__(self) -> None:
        self._earlier = [weakref.ref(writer) for writer in self._find()[0]]
        self.flush()

    def flush(self) -> None:
        """Write out what every file object holds. Errors are reported as a finalizer's would be.

        Not the standard streams: they come last, and there a failure counts.
        """
        self._flush([*self._before_init(), *self._find()[0]])

    def leave(self) -> None:
        """The same, and close file objects whose class is written in Python, made since `init()`.

        What they hold goes out when they are closed and not before: `gzip` and its like. Some write
        it into another file object, which is flushed after that.
        """
        buffered, wrappers = self._find()
        sound = self._flush([*self._before_init(), *buffered])
        for wrapper in wrappers:
            _attempt(wrapper, wrapper.close)
        if wrappers:
            self._flush(sound)

    def _flush(self, writers: list[io.IOBase]) -> list[io.IOBase]:
        """Flush these, the text ones first, and give those that could be."""
        standard = {id(layer) for stream in (sys.stdout, sys.stderr) for layer in _layers(stream)}
        return [
            writer
            for kind in _KINDS
            for writer in writers
            if isinstance(writer, kind) and id(writer) not in standard
            if _attempt(writer, writer.flush)
        ]

    def _before_init(self) -> list[io.IOBase]:
        return [writer for reference in self._earlier if (writer := reference()) is not None]

    def _find(self) -> tuple[list[io.IOBase], list[io.IOBase]]:
        """The file objects that hold something until they are flushed, or until they are closed."""
        kinds = _subclasses(_io._IOBase)
        buffered, wrappers = [], []
        for candidate in gc.get_objects():
            kind = type(candidate)  # its own __class__ may be anything
            if kind not in kinds:
                continue
            if any(base in kind.__mro__ for base in _KINDS):
                buffered.append(candidate)
            if kind.__module__ != "_io":
                wrappers.append(candidate)
        return buffered, wrappers


def _layers(stream: object) -> tuple[object, object]:
    return stream, getattr(stream, "buffer", stream)


def _subclasses(base: type) -> set[type]:
    """A class, and all that there are below it."""
    found, new = {base}, [base]
    while new:
        below: list[type] = type.__subclasses__(new.pop())
        for kind in below:
            if kind not in found:
                found.add(kind)
                new.append(kind)
    return found


def _attempt(file: io.IOBase, action: Callable[[], None]) -> bool:
    """Flush or close a file object; says whether it can be done, or need not be."""
    try:
        closed = file.closed
    except ValueError:
        return True  # detached from what it wrote to: it holds nothing
    try:
        if not closed:
            action()
    except Exception as error:  # noqa: BLE001 - told
        report(error, file)
        return False
    return True


def report(error: BaseException, source: object, message: str = "Exception ignored in") -> None:
    """Tell of an error that has nobody to raise to, as the interpreter does for finalizers."""
    error = error.with_traceback(users_part(error.__traceback__))
    if sys.unraisablehook is not sys.__unraisablehook__:
        arguments = SimpleNamespace(
            exc_type=type(error),
            exc_value=error,
            exc_traceback=error.__traceback__,
            err_msg=message,
            object=source,
        )
        sys.unraisablehook(arguments)
    elif sys.stderr is not None:
        # The interpreter's own hook takes nothing but a type of its own.
        with contextlib.suppress(OSError, ValueError):  # nowhere is left to tell it
            print(f"{message}: {source!r}", file=sys.stderr)
            traceback.print_exception(error)


def users_part(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of ours that it begins with."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        trace = trace.tb_next
    return trace
