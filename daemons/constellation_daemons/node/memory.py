"""How the memory of the machine stands, and that of the control groups that this process is in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from constellation_daemons.node.capacity import first_version_groups, own_groups
from constellation_daemons.node.pressure import Memory

__all__ = ["memories"]

_STALLS = Path("/proc/pressure/memory")
_DROPPABLE = ("inactive_file", "active_file", "slab_reclaimable")
_FIRST_DROPPABLE = ("total_inactive_file", "total_active_file")


def memories() -> Iterator[Memory]:
    """The machine's, and that of each control group with a limit."""
    machine = psutil.virtual_memory()
    yield Memory(int(machine.total), int(machine.available), _stalled(_STALLS))
    for group in own_groups():
        memory = group_memory(group)
        if memory is not None:
            yield memory
    for group in first_version_groups("memory"):
        memory = first_version_memory(group)
        # Where there is no limit it is a number larger than any memory.
        if memory is not None and memory.total < machine.total:
            yield memory


def group_memory(group: Path) -> Memory | None:
    """That of a control group; None: it has no limit."""
    found = _limited(group, "memory.max", "memory.current", _DROPPABLE)
    if found is None:
        return None
    return Memory(*found, _stalled(group / "memory.pressure"))


def first_version_memory(group: Path) -> Memory | None:
    """The same of one of version 1, where the kernel says nothing of who waits for memory."""
    names = "memory.limit_in_bytes", "memory.usage_in_bytes"
    found = _limited(group, *names, _FIRST_DROPPABLE)
    return None if found is None else Memory(*found)


def _limited(
    group: Path, most: str, used: str, droppable: tuple[str, ...]
) -> tuple[int, int] | None:
    """The limit of a control group, and how much of it can still be had."""
    try:
        limit = int((group / most).read_text())
        current = int((group / used).read_text())
        lines = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None  # it says "max", or there are no such files
    counts = dict(line.split(maxsplit=1) for line in lines)
    dropped = sum(int(counts.get(name, 0)) for name in droppable)
    return limit, min(limit, max(0, limit - current + dropped))


def _stalled(path: Path) -> float | None:
    """The part of the last ten seconds in which all waited; None: the kernel does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            kind, *values = line.split()
            if kind == "full":
                averages = dict(value.split("=", 1) for value in values)
                return float(averages["avg10"]) / 100
    return None
