"""Gives processes their share of the processors: through control groups, or by nice values.

All of this is best effort. What the system refuses is logged once, and the program goes on.

A process has a control group of its own where the node was given some to divide. It is moved there
before it runs the user's code, so its descendants are there too. Where the kernel schedules each
session apart from others (autogroups, as on desktops), a nice value counts within the session only,
and the session has one of its own: it is given both.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections import deque
from pathlib import Path

from constellation.session.loop import Loop, Timer
from constellation_daemons.agent.shares import nice_of, weight_of

__all__ = ["Processors", "sweep"]

logger = logging.getLogger(__name__)

_AUTOGROUPS = Path("/proc/sys/kernel/sched_autogroup_enabled")
_LOOK = 1.0
"""Seconds from one look at what the kernel has killed to the next."""
_AGAIN = 0.15
"""Seconds until the next session may be given a value: the kernel takes ten a second from users."""


class Processors:
    """The shares of a program's processes.

    Args:
        loop: The agent's.
        groups: The directory in which it may make control groups; None: there is none.
    """

    def __init__(self, loop: Loop, groups: str | None) -> None:
        self._loop = loop
        self._groups = None if groups is None else Path(groups)
        self._cores: dict[int, float] = {}
        self._os_pids: dict[int, int] = {}
        self._own: dict[int, Path] = {}  # the groups that were made
        # Of the kernel's OOM killer in each: at the last look but one, and at the last.
        self._kills: dict[int, tuple[int, int]] = {}
        self._timer: Timer | None = None
        self._sessions: deque[int] = deque()  # processes whose sessions are to be given a value
        self._waiting = False
        self._complained: set[str] = set()
        self._autogroups = _reads_one(_AUTOGROUPS)

    def given(self, number: int, cores: float) -> None:
        """A process was given so many cores."""
        self._cores[number] = cores
        self._settle(number)

    def started(self, number: int, os_pid: int) -> None:
        """A process exists."""
        self._os_pids[number] = os_pid
        self._settle(number)

    def gone(self, number: int) -> None:
        """Nothing of a process is left. Of one that is not known this does nothing."""
        self._cores.pop(number, None)
        self._os_pids.pop(number, None)
        group = self._own.pop(number, None)
        if group is not None:
            del self._kills[number]
            self._remove(group)

    def killed_by_kernel(self, number: int) -> int:
        """How often the kernel, out of memory, has just killed in a process's group.

        *Just* is within two seconds: a descendant may have been killed long before. It is known
        only where control groups count memory; else this is 0.
        """
        group = self._own.get(number)
        return 0 if group is None else _kills(group) - self._kills[number][0]

    def close(self) -> None:
        """Remove what was made. All of the program's processes are gone."""
        if self._timer is not None:
            self._timer.cancel()
        for number in list(self._own):
            self.gone(number)
        if self._groups is not None:
            for group in sweep(self._groups, os.getpid()):
                self._complain("a control group stays", OSError(errno.EBUSY, "busy", str(group)))

    # -- settling

    def _settle(self, number: int) -> None:
        if number not in self._cores or number not in self._os_pids:
            return
        if not self._group(number):
            self._nice(number)

    def _group(self, number: int) -> bool:
        """Give a process a control group. Whether it has one."""
        if self._groups is None:
            return False
        group = self._groups / f"cst-{os.getpid()}-{number}"
        try:
            group.mkdir()
            self._own[number], self._kills[number] = group, (0, 0)
            (group / "cpu.weight").write_text(str(weight_of(self._cores[number])))
            (group / "cgroup.procs").write_text(str(self._os_pids[number]))
        except ProcessLookupError:
            pass  # it is gone already
        except OSError as error:
            self._complain("no control group for a process", error)
            if self._own.pop(number, None) is not None:
                del self._kills[number]
                self._remove(group)
            return False
        if self._timer is None:
            self._timer = self._loop.after(_LOOK, self._look)
        return True

    def _look(self) -> None:
        """Count what the kernel has killed by now."""
        self._timer = None
        for number, group in self._own.items():
            self._kills[number] = self._kills[number][1], _kills(group)
        if self._own:
            self._timer = self._loop.after(_LOOK, self._look)

    def _remove(self, group: Path) -> None:
        try:
            group.rmdir()
        except FileNotFoundError:
            pass
        except OSError as error:
            # A process that is on its way out; it is tried again at the end.
            logger.debug("control group %s: %s", group, error)

    def _nice(self, number: int) -> None:
        os_pid, value = self._os_pids[number], nice_of(self._cores[number])
        if value == 0:
            return
        try:
            try:
                # It leads a group of its own, of whose processes this is for all threads ...
                os.setpriority(os.PRIO_PGRP, os_pid, value)
            except ProcessLookupError:
                # ... or not yet: then it has one thread, and what comes of that inherits it.
                os.setpriority(os.PRIO_PROCESS, os_pid, value)
        except ProcessLookupError:
            return
        except OSError as error:
            self._complain("no nice value for a process", error)
            return
        if self._autogroups:
            self._sessions.append(number)
            if not self._waiting:
                self._nice_sessions()

    def _nice_sessions(self) -> None:
        self._waiting = False
        while self._sessions:
            number = self._sessions[0]
            if number in self._os_pids and number in self._cores:
                try:
                    path = Path(f"/proc/{self._os_pids[number]}/autogroup")
                    path.write_text(str(nice_of(self._cores[number])))
                except (FileNotFoundError, ProcessLookupError):
                    pass
                except BlockingIOError:
                    self._waiting = True
                    self._loop.after(_AGAIN, self._nice_sessions)
                    return
                except OSError as error:
                    # What belongs to one that has ended, and was not reaped yet, is root's.
                    if not _has_ended(self._os_pids[number]):
                        self._complain("no nice value for a session", error)
            self._sessions.popleft()

    def _complain(self, what: str, error: OSError) -> None:
        if what not in self._complained:
            self._complained.add(what)
            logger.warning("%s: %s", what, error)


def sweep(groups: Path, agent: int) -> list[Path]:
    """Remove the control groups that an agent has made. Gives those that are still in use."""
    left = []
    for group in groups.glob(f"cst-{agent}-*"):
        with contextlib.suppress(FileNotFoundError):
            try:
                group.rmdir()
            except OSError:
                left.append(group)
    return left


def _reads_one(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.read_text().strip() == "1"
    return False


def _has_ended(os_pid: int) -> bool:
    """Whether a process is dead, reaped or not."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{os_pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
        return state in (b"Z", b"X")
    return True


def _kills(group: Path) -> int:
    """How often the kernel, out of memory, has killed in a group; 0: it does not count that."""
    with contextlib.suppress(OSError, ValueError):
        for line in (group / "memory.events").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
