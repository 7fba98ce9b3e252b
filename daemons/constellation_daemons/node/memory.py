"""How the memory of the machine stands, and that of the control groups that this process is in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from constellation_daemons.node.capacity import own_groups
from constellation_daemons.node.pressure import Memory

__all__ = ["memories"]

_STALLS = Path("/proc/pressure/memory")
_DROPPABLE = ("inactive_file", "active_file", "slab_reclaimable")


def memories() -> Iterator[Memory]:
    """The machine's, and that of each control group (version 2) with a limit."""
    machine = psutil.virtual_memory()
    yield Memory(int(machine.total), int(machine.available), _stalled(_STALLS))
    for group in own_groups():
        memory = group_memory(group)
        if memory is not None:
            yield memory


def group_memory(group: Path) -> Memory | None:
    """That of a control group; None: it has no limit."""
    try:
        limit = int((group / "memory.max").read_text())
        current = int((group / "memory.current").read_text())
        lines = (group / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None  # it says "max", or there are no such files
    counts = dict(line.split(maxsplit=1) for line in lines)
    droppable = sum(int(counts.get(name, 0)) for name in _DROPPABLE)
    available = min(limit, max(0, limit - current + droppable))
    return Memory(limit, available, _stalled(group / "memory.pressure"))


def _stalled(path: Path) -> float | None:
    """The part of the last ten seconds in which all waited; None: the kernel does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in path.read_text().splitlines():
            kind, *values = line.split()
            if kind == "full":
                averages = dict(value.split("=", 1) for value in values)
                return float(averages["avg10"]) / 100
    return None
