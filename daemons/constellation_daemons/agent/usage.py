"""How much memory processes have to themselves.

On Linux this comes from /proc; elsewhere from psutil, which knows each system's own way.

What counts is memory that only one process has, without files that are mapped: the kernel can drop
these and read them again, so they are no burden to the machine.

A process may also share memory with its own descendants and nobody else, such as what it had before
it forked workers. The kernel does not tell that from what they share with the image. But it tells
for how many parts of its pages a process stands, where a page that n processes have is n parts.
Together they can stand for no more of the image than k / (k + 1), if they are k and the image is
one more. What is above that is theirs.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import psutil

from constellation_daemons.agent.limits import Watched

__all__ = ["Meter", "parent_of"]

STALE = 10.0
"""Seconds after which a process is measured again, however little has happened since: in a few ways
it can come to memory of its own unseen, such as by others giving up a part in it."""

_LINUX = sys.platform.startswith("linux")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
_ROLLED = (b"Private_Clean", b"Private_Dirty", b"Private_Hugetlb", b"Pss_Anon", b"Pss_File")
# The fields of /proc/PID/stat, counted from the state.
_PARENT, _MINOR_FAULTS, _MAJOR_FAULTS, _START, _RESIDENT = 1, 7, 9, 19, 21


@dataclass(frozen=True, slots=True)
class _Look:
    """A process, as far as that is cheap to know.

    Attributes:
        start: When it was started, in units of the system's.
        resident: Bytes that it has in reach.
        faults: How many faults of pages it has had.
    """

    start: int
    resident: int
    faults: int


@dataclass(frozen=True, slots=True)
class _Known:
    """What was measured of a process, when, and how it looked then."""

    own: int
    when: float
    look: _Look

    def most(self, look: _Look) -> int | None:
        """The most that it can have to itself now; None: it is another process."""
        if look.start != self.look.start:
            return None
        grown = max(0, look.resident - self.look.resident)
        return self.own + grown + (look.faults - self.look.faults) * _PAGE


class Meter:
    """Measures processes again and again."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def measure(self, watched: Iterable[Watched], image: int | None, now: float) -> dict[int, int]:
        """Measure those that may use more than they were given.

        Args:
            watched: All.
            image: The process id of the image that they were forked from.
            now: The time.

        Returns:
            The bytes that each of them has to itself, by number. Those that cannot have more than
            they were given are left out.
        """
        found: dict[int, int] = {}
        known: dict[int, _Known] = {}
        for each in watched:
            members = _members(each)
            looks = [look for look in map(_look, members) if look is not None]
            if sum(look.resident for look in looks) <= each.mem:
                continue
            pid = members[0]
            alone = looks[0] if len(members) == 1 else None
            before = self._known.get(pid)
            if alone is not None and before is not None and now < before.when + STALE:
                most = before.most(alone)
                if most is not None and most <= each.mem:
                    known[pid] = before
                    continue
            found[each.number] = _own(members, image)
            if alone is not None:
                known[pid] = _Known(found[each.number], now, alone)
        self._known = known
        return found


def parent_of(pid: int) -> int | None:
    """The parent of a process; None: it is gone."""
    if not _LINUX:
        with contextlib.suppress(psutil.Error):
            parent: int = psutil.Process(pid).ppid()
            return parent
        return None
    fields = _stat(pid)
    return None if fields is None else int(fields[_PARENT])


def _members(watched: Watched) -> list[int]:
    """A process and its descendants, those that its keeper has adopted among them."""
    members = [watched.os_pid]
    if watched.keeper is not None:
        # It has no children but the process itself and what it has adopted.
        members = list(_children(watched.keeper))
    for member in members:  # which grows meanwhile
        members += (child for child in _children(member) if child not in members)
    return members


def _children(pid: int) -> Iterator[int]:
    if not _LINUX:
        with contextlib.suppress(psutil.Error):
            yield from (child.pid for child in psutil.Process(pid).children())
        return
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb", buffering=0) as file:
                yield from map(int, file.read(1 << 20).split())
    except _GONE:
        return


def _look(pid: int) -> _Look | None:
    """How a process looks; None: it is gone."""
    if not _LINUX:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            return _Look(int(process.create_time() * 1e6), process.memory_info().rss, 0)
        return None
    fields = _stat(pid)
    if fields is None:
        return None
    faults = int(fields[_MINOR_FAULTS]) + int(fields[_MAJOR_FAULTS])
    return _Look(int(fields[_START]), int(fields[_RESIDENT]) * _PAGE, faults)


def _stat(pid: int) -> list[bytes] | None:
    """The fields of /proc/PID/stat, from the state on, which follows the name; None: it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read(4096).rpartition(b")")[2].split()
    except _GONE:
        return None


def _own(members: list[int], image: int | None) -> int:
    """The bytes that processes have to themselves, together."""
    if not _LINUX:
        size = 0
        for pid in members:
            with contextlib.suppress(psutil.Error):
                size += psutil.Process(pid).memory_full_info().uss
        return size
    rolled = [_fields(f"/proc/{pid}/smaps_rollup", _ROLLED) for pid in members]
    own = sum(map(_unique, rolled))
    if len(members) == 1 or image is None:
        return own
    parts = sum(each.get(b"Pss_Anon", 0) for each in rolled)
    shared = _fields(f"/proc/{image}/status", (b"RssAnon",)).get(b"RssAnon", parts)
    return max(own, parts - shared * len(members) // (len(members) + 1))


def _unique(rolled: dict[bytes, int]) -> int:
    """The bytes that a process has to itself, without files."""
    dirty, huge = rolled.get(b"Private_Dirty", 0), rolled.get(b"Private_Hugetlb", 0)
    if b"Pss_File" not in rolled:  # Linux before 5.9
        return dirty + huge
    # Of files, what it has to itself is whole in there, and of what it shares a part. So this is
    # too little by that part, in favour of the process: a few MiB at most.
    return max(0, dirty + rolled.get(b"Private_Clean", 0) - rolled[b"Pss_File"]) + huge


def _fields(path: str, names: tuple[bytes, ...]) -> dict[bytes, int]:
    """Those lines of a file that are sizes with these names, in bytes; none where it is gone."""
    try:
        with open(path, "rb", buffering=0) as file:
            text = file.read(1 << 16)
    except _GONE:
        return {}
    lines = (line.partition(b":") for line in text.splitlines())
    return {name: int(value.split()[0]) << 10 for name, _, value in lines if name in names}
