"""Whose SIGKILL it was that ended a process: ours, or one that somebody sent at the same moment.

The status that `waitpid` gives is the same for both. But of all SIGKILLs the kernel takes the
first, under one lock, and drops the others. And it notes a signal that was sent to one thread
elsewhere than one that was sent to the process: the latter stays in `ShdPnd` of /proc/PID/status
until the process is reaped. So ours goes to the first thread alone. Where `ShdPnd` of the dead
process has a SIGKILL, somebody else's came first: that of `kill`, of the kernel's OOM killer, of a
parent's death, all of which are sent to the process.

A kill that is sent to a thread by others (`cgroup.kill` is) is seen where it came earlier than our
look, which is right before ours is sent. In doubt nothing is claimed.

Elsewhere than on Linux there is no such file: there it counts that the process was alive when ours
was sent.
"""

from __future__ import annotations

import contextlib
import os
import signal

from constellation.process import system

_KILL = 1 << (signal.SIGKILL - 1)
_EXITING = 0x4  # PF_EXITING, of the kernel's include/linux/sched.h
_FLAGS = 6  # the field of /proc/PID/stat, counted from the state, which follows the name


class OwnKill:
    """A SIGKILL of ours to a child, which only its parent can tell from others.

    It is sent as this is made, after which the child may be killed in other ways as well. It must
    not have been reaped.

    Args:
        child: Its process id.
    """

    def __init__(self, child: int) -> None:
        self._child = child
        if system.LINUX:
            self._sent = _untouched(child) and system.kill_thread(child, child, signal.SIGKILL)
        else:
            self._sent = _alive(child)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)

    def was_it(self) -> bool:
        """Whether this has ended the child, if a SIGKILL has.

        It is dead, and not reaped yet.
        """
        if not self._sent or not system.LINUX:
            return self._sent
        pending = _pending(self._child)
        return pending is not None and not pending[1] & _KILL


def _untouched(pid: int) -> bool:
    """Whether a process runs, and no SIGKILL is on its way to it."""
    pending = _pending(pid)
    if pending is None or (pending[0] | pending[1]) & _KILL:
        return False
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in b"ZX" and not int(fields[_FLAGS]) & _EXITING


def _pending(pid: int) -> tuple[int, int] | None:
    """The signals that wait for the first thread, and for the process; None: nobody can say."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            lines = file.read(1 << 16).splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    values = dict(line.split(b":", 1) for line in lines if line.startswith((b"SigPnd", b"ShdPnd")))
    if len(values) != 2:
        return None
    return int(values[b"SigPnd"], 16), int(values[b"ShdPnd"], 16)


def _alive(pid: int) -> bool:
    if not hasattr(os, "waitid"):
        return True  # macOS before Python 3.13
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
