"""How a spawned process leaves, which never returns into the program's own frames.

As close to the end of an interpreter as a fork can come: the threads that are no daemons, what was
registered with `atexit` in this process, unflushed files, the standard streams, C's own buffers,
then `os._exit`. The initial process leaves through the interpreter itself.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import signal
import sys
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import NoReturn, TextIO

from constellation.process import system
from constellation.process.writers import report

_FLUSH_FAILED = 120  # what the interpreter exits with then
_PACKAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


def forget_exit_handlers(*, finalizers: bool) -> None:
    """Start with an empty `atexit` table: what was registered before is the initial process's.

    The modules of the standard library that registered themselves when they were imported do so
    again, since they would not by themselves.

    Args:
        finalizers: Whether to forget finalizers too. In a fork they would delete what belongs to
            the initial process: a TemporaryDirectory. A process that starts fresh has made that
            itself.
    """
    atexit._clear()
    util = sys.modules.get("multiprocessing.util")
    if finalizers:
        for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
            finalizer.atexit = False
        # New ones shall register again.
        weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
        if util is not None:
            util._finalizer_registry.clear()
    else:
        atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]
    atexit.register(logging.shutdown)
    if util is not None:
        atexit.register(util._exit_function)


def run_finalizers() -> None:
    """Delete what this process has made for itself, such as a TemporaryDirectory: it leaves.

    For the command where processes start fresh: each of them has made its own.
    """
    util = sys.modules.get("multiprocessing.util")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what nobody could have deleted before
        _attempt(weakref.finalize._exitfunc, "weakref.finalize")  # type: ignore[attr-defined]
        if util is not None:
            _attempt(util._run_finalizers, "multiprocessing.util")


def run(call: Callable[[], object], failing: Callable[[], None]) -> NoReturn:
    """Run a spawned process's work and leave with the status that it earns.

    Args:
        call: The work. A coroutine that it returns is run to its end.
        failing: Called when an exception came out of it, while its frames are still held.
    """
    interrupted = False
    try:
        result = call()
        if isinstance(result, Coroutine):
            import asyncio

            asyncio.run(result)
        code = 0
    except SystemExit as error:
        code = _code_of(error)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it ends the process
        failing()
        interrupted = isinstance(error, KeyboardInterrupt)
        code = _show(error, call)
    leave(code, interrupted=interrupted)


def leave(code: int, *, interrupted: bool = False) -> NoReturn:
    """End this process as the interpreter would, but for its finalizers.

    Args:
        code: What to exit with.
        interrupted: Whether to die of SIGINT in place of that, as after a KeyboardInterrupt.
    """
    _attempt(threading._shutdown, "threading._shutdown")  # type: ignore[attr-defined]
    _attempt(atexit._run_exitfuncs, "atexit")
    # Both, and in this order: of the first one's failure the second tells.
    if not all([_flush(sys.stdout), _flush(sys.stderr)]):
        code = _FLUSH_FAILED
    if interrupted:
        die_of_interrupt()
    system.flush_c_streams()
    os._exit(code & 0xFF)


def die_of_interrupt() -> NoReturn:
    """End this process by SIGINT, as the interpreter does after a KeyboardInterrupt."""
    _flush(sys.stdout)
    _flush(sys.stderr)
    system.flush_c_streams()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(128 + signal.SIGINT)  # it was blocked


def _attempt(step: Callable[[], object], name: str) -> None:
    try:
        step()
    except BaseException as error:  # noqa: BLE001 - the rest of the leaving goes on
        report(error, step, f"Exception ignored in {name}")


def _flush(stream: TextIO | None) -> bool:
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except BaseException as error:  # noqa: BLE001 - told, and counted by the caller
        if stream is not sys.stderr:
            report(error, stream)
        return False
    return True


def _code_of(leaving: SystemExit) -> int:
    code = leaving.code
    if code is None:
        return 0
    if isinstance(code, int):
        # As the interpreter: what does not fit into C's long is -1.
        return code if -sys.maxsize <= code <= sys.maxsize else -1
    if sys.stderr is not None:
        print(code, file=sys.stderr)
    return 1


def _show(error: BaseException, call: Callable[[], object]) -> int:
    part = _users_part(error.__traceback__, call)
    error = error.with_traceback(part)
    try:
        sys.excepthook(type(error), error, error.__traceback__)
        if part is None and isinstance(error, TypeError):
            print(f"constellation: {_hint(error)}", file=sys.stderr)
    except SystemExit as leaving:
        return _code_of(leaving)
    except BaseException as failure:  # noqa: BLE001 - told below
        # As the interpreter does: both, so that a broken hook hides nothing.
        print("Error in sys.excepthook:", file=sys.stderr)
        traceback.print_exception(failure)
        print("\nOriginal exception was:", file=sys.stderr)
        traceback.print_exception(error)
    return 1


def _hint(error: TypeError) -> str:
    """What is likely meant by who gives `spawn` what its function does not take."""
    need = re.search(r"unexpected keyword argument '(mem|cpu)'", str(error))
    if need is not None:
        name = need[1]
        return (
            f"spawn(work, {name}=...) gives {name} to work: what the process needs is "
            f"resources=Resources({name}=...)"
        )
    return "spawn(work, ...) calls work(parent, ...): the Pid of the spawner comes first"


def _users_part(trace: TracebackType | None, call: Callable[[], object]) -> TracebackType | None:
    """A traceback without the frames of ours that called the user's code.

    If that was called and not entered, since it takes other arguments, nothing is left.
    """
    part, innermost = trace, None
    while part is not None and part.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        innermost = part.tb_frame.f_code
        part = part.tb_next
    if part is None and innermost is getattr(call, "__code__", None):
        return None
    return part or trace
