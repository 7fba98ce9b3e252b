"""GNU OpenMP before a fork: its threads are ended, or the user is warned.

A fork has none of its parent's threads. OpenBLAS and LLVM's OpenMP make theirs again in it. GNU
OpenMP takes them for living, and waits for ever for those of the first parallel region in the fork.
Since GCC 9 it can end and forget them (`omp_pause_resource_all`), and makes new ones when they are
needed. Wheels bring copies of their own, and most of these are older.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
import time
import warnings
from collections.abc import Iterable

from constellation.process import system

__all__ = ["prepare"]

_SPINNING = 0.25
"""Seconds after which a thread that still does not sleep is taken for one that computes."""

_DEEP = 1024
"""Bytes of a stack that hold the calls of a library whose thread sleeps."""

_SOFT = 1
"""The way to pause that keeps what the program has set."""

_FORKED = 0x40
"""Of the kernel's flags of a process: it has run no program since it was forked."""

_code = re.compile(r"(\w+)-(\w+) ..x. \S+ \S+ \S+ +(/.*/libgomp[^/\n]*)$")

_Libraries = dict[str, list[range]]
"""The addresses of the code of libraries, by path."""


def prepare(stacklevel: int) -> None:
    """End the threads of every GNU OpenMP in this process, and warn of those that cannot be ended.

    It costs next to nothing where there is one thread, or no such library. Where there is an old
    one, threads that spin before they sleep are waited for, a quarter of a second at most.

    Args:
        stacklevel: Whose line is warned of: 1 is that of the caller.
    """
    if not system.LINUX:
        return  # elsewhere libgomp is rare, and its threads cannot be told from others
    try:
        stuck = _stuck()
    except OSError:
        return  # no /proc, so nothing is known
    if stuck:
        names = " and ".join(os.path.basename(path) for path in stuck)
        warnings.warn(
            f"GNU OpenMP ({names}) has run in parallel before init(), which forks: where it does "
            "so again, it may wait for ever for threads that a fork does not have. Let it run only "
            "after init(), or set OMP_NUM_THREADS=1 or CONSTELLATION_START=fresh",
            RuntimeWarning,
            stacklevel=stacklevel + 1,
        )


def _stuck() -> list[str]:
    """The paths of the libraries whose threads go on to wait."""
    if len(_threads()) < 2:
        return []
    with open("/proc/self/maps", errors="surrogateescape") as file:
        libraries = _libraries(file)
    if not libraries:
        return []
    with open("/proc/self/stat", "rb") as stat:
        forked = _is_fork(stat.read())
    return [
        path
        for path, code in libraries.items()
        # In a fork they may be gone already, and would be waited for.
        if (forked or not _paused(path)) and _has_threads(code)
    ]


def _threads() -> list[str]:
    return os.listdir("/proc/self/task")


def _libraries(maps: Iterable[str]) -> _Libraries:
    """The GNU OpenMPs of a process with these mappings."""
    found: _Libraries = {}
    for line in maps:
        code = _code.match(line) if "/libgomp" in line else None
        if code is not None:
            start, end, path = code.groups()
            found.setdefault(path, []).append(range(int(start, 16), int(end, 16)))
    return found


def _is_fork(stat: bytes) -> bool:
    # The name of the program, in parentheses, may hold anything.
    return bool(int(stat.rpartition(b")")[2].split()[6]) & _FORKED)


def _paused(path: str) -> bool:
    """End the threads of a library. Says whether that could be done."""
    try:
        # The one that is here, and no other.
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        pause = library.omp_pause_resource_all
    except (OSError, AttributeError):
        return False
    return bool(pause(_SOFT) == 0)


def _has_threads(code: list[range]) -> bool:
    """Whether a thread sleeps in that code. Other libraries have threads that wait as well."""
    own = str(threading.get_native_id())
    until = time.monotonic() + _SPINNING
    while True:
        stacks = [_stack(thread) for thread in _threads() if thread != own]
        if any(word in each for stack in stacks if stack for word in stack for each in code):
            return True
        # After its work a thread spins for some milliseconds, and what it runs cannot be seen.
        if None not in stacks or time.monotonic() > until:
            return False
        time.sleep(_SPINNING / 50)  # nothing tells when it goes to sleep


def _stack(thread: str) -> memoryview | None:
    """The topmost words of a sleeping thread's stack; None if it does not sleep.

    Return addresses are among them, the same on every architecture: what makes the system call may
    be the C library.
    """
    try:
        with open(f"/proc/self/task/{thread}/syscall") as file:
            state = file.read().split()
        if len(state) < 2:
            return None
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            return memoryview(os.pread(memory.fileno(), _DEEP, int(state[-2], 16))).cast("L")
    except OSError:
        return memoryview(b"")  # it has ended, or the kernel does not tell
