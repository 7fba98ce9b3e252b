"""The few calls of the operating system that Python does not have.

On Linux they are `prctl` and files of /proc. Elsewhere there is no such thing as a death signal or
a child subreaper: the calls do nothing there, and cleaning up is best effort.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator

LINUX = sys.platform.startswith("linux")

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_GET_NAME = 16
_PR_SET_CHILD_SUBREAPER = 36

_TGKILL = {"x86_64": 234, "aarch64": 131}
"""The number of the system call, for C libraries without a function for it."""

#: More descriptors than this no process of ours can use, and programs that close all that they may
#: have, one by one, would take long where the limit says a milliard.
_DESCRIPTORS_ENOUGH = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)
_python = ctypes.PyDLL(None, use_errno=True)  # called with the interpreter's lock held
_fork = _python.fork
_before_fork, _after_fork_in_child = _python.PyOS_BeforeFork, _python.PyOS_AfterFork_Child
_before_fork.restype = _after_fork_in_child.restype = None
_ZERO = ctypes.c_ulong(0)
_ARGUMENTS = tuple(map(ctypes.c_ulong, range(signal.NSIG)))


def set_parent_death_signal(number: int, parent: int) -> bool:
    """Ask for a signal when the thread that forked this process ends.

    Args:
        number: The signal.
        parent: The parent's process id, as it was known before the fork.

    Returns:
        False if the parent had died before the question was put: no signal will come then.
    """
    if LINUX:
        _ask(_PR_SET_PDEATHSIG, _ARGUMENTS[number])
    return os.getppid() == parent


def become_subreaper(*, adopt: bool = True) -> None:
    """Adopt descendants whose parent dies, in place of the init of the system."""
    if LINUX:
        _ask(_PR_SET_CHILD_SUBREAPER, _ARGUMENTS[adopt])


def name() -> str:
    """The name of this process that `ps` and `top` show."""
    if not LINUX:
        return ""
    buffer = ctypes.create_string_buffer(16)
    _ask(_PR_GET_NAME, buffer)
    return os.fsdecode(buffer.value)


def set_name(name: str) -> None:
    """Name this process for `ps` and `top`; at most 15 bytes of it show."""
    if LINUX:
        _ask(_PR_SET_NAME, ctypes.c_char_p(os.fsencode(name)))


def _ask(
    option: int, argument: ctypes.c_ulong | ctypes.c_char_p | ctypes.Array[ctypes.c_char]
) -> None:
    if _libc.prctl(option, argument, _ZERO, _ZERO, _ZERO):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def fork_role() -> int:
    """Fork a role of ours from another, neither of which has threads.

    As `os.fork`, but without what Python does before and after it: neither the locks of modules nor
    what the user registered with `os.register_at_fork` is of a role's concern. All that is done
    where the role forks the user's process, with `fork_process`.
    """
    child: int = _fork()
    if child < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return child


def fork_process() -> int:
    """Fork a process of the user's from a role of ours, which has no threads.

    What the user registered with `os.register_at_fork` runs in the child, and only there: what is
    to be done before a fork, and then what is to be done after it. To that code it is as if the
    child had been there before. That its `after_in_parent` does not run is nothing to it, since in
    the parent its `before` has not run either.
    """
    child = fork_role()
    if child == 0:
        with _tracker_kept():
            _before_fork()
            _after_fork_in_child()
    return child


def fork_program() -> int:
    """Fork the user's program, which goes on in the child: `os.fork`, and no more."""
    with _tracker_kept():
        return os.fork()


@contextlib.contextmanager
def _tracker_kept() -> Iterator[None]:
    """Keep the resource tracker of `multiprocessing` over a fork.

    In newer Pythons a child of `os.fork` loses it, and only one of `multiprocessing` itself keeps
    it. But what is registered there is the program's.
    """
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    intent = getattr(tracker, "_fork_intent", None)
    if intent is None:
        yield
        return
    before = getattr(intent, "preserve_fd", False)
    intent.preserve_fd = True
    try:
        yield
    finally:
        intent.preserve_fd = before


def kill_thread(process: int, thread: int, number: int) -> bool:
    """Send a signal to one thread of a process: Linux only.

    Returns:
        Whether it was sent: there is such a thread, and the system can do that.
    """
    call = getattr(_libc, "tgkill", None)
    if call is not None:
        return not call(process, thread, number)
    syscall = _TGKILL.get(os.uname().machine)
    if syscall is None:
        return False
    arguments = map(ctypes.c_long, (syscall, process, thread, number))
    return not _libc.syscall(*arguments)


def flush_c_streams() -> None:
    """Write out what C code left in its stdio buffers, which `os._exit` would drop."""
    _libc.fflush(None)


def children() -> list[int]:
    """The process ids of this process's children, the dead and unreaped among them too."""
    if not LINUX:
        import psutil

        return [child.pid for child in psutil.Process().children()]
    found: list[int] = []
    try:
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb", buffering=0) as file:
                found += map(int, file.read(1 << 20).split())
    except FileNotFoundError:
        return _children_by_parent()  # a kernel without that file
    return found


def users_children() -> list[int]:
    """The same, without the one that `multiprocessing` keeps for itself."""
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    spared = getattr(getattr(tracker, "_resource_tracker", None), "_pid", None)
    return [child for child in children() if child != spared]


def _children_by_parent() -> list[int]:
    own = os.getpid()
    found: list[int] = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                # The name of the program, in parentheses, may hold anything; the state and the
                # parent follow the last one.
                fields = file.read(4096).rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if int(fields[1]) == own:
            found.append(int(name))
    return found


def reap(dying: Callable[[int], object]) -> tuple[int, int, resource.struct_rusage] | None:
    """Take the status of a child that is dead, without waiting for one.

    Args:
        dying: Called with its process id while no other process can have that. Python has no
            `waitid` on macOS before 3.13; there it is called right after.

    Returns:
        The process id, the status as `waitpid` gives it, and what the child has used; None if no
        child is dead.

    Raises:
        ChildProcessError: There is no child.
    """
    if hasattr(os, "waitid"):
        dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if dead is None:
            return None
        dying(dead.si_pid)
        return os.wait4(dead.si_pid, 0)
    child, status, usage = os.wait4(-1, os.WNOHANG)
    if child == 0:
        return None
    dying(child)
    return child, status, usage


def raise_descriptor_limit() -> int:
    """Allow this process and its forks as many descriptors as they may have. Gives their number.

    A program's bridge needs two for each process, and a process one for each peer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_ENOUGH
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _DESCRIPTORS_ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        # macOS allows no more than this constant of its sys/syslimits.h, whatever it says.
        wanted = max(soft, 10240)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def max_rss_bytes(usage: resource.struct_rusage) -> int:
    """The largest resident set of what `usage` is about: kilobytes on Linux, bytes on macOS."""
    return usage.ru_maxrss * 1024 if LINUX else usage.ru_maxrss
