"""What a machine has to give: its memory and processors, or what control groups leave of them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

from constellation_daemons.master.values import Amount

__all__ = ["first_version_groups", "machine_capacity", "own_groups"]

_CGROUP = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_BILLION = 10**9


def machine_capacity() -> Amount:
    """The memory and the cores that this process may use."""
    mem = int(psutil.virtual_memory().total)
    cpu = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    billionths = cpu * _BILLION
    for directory in own_groups():
        limit = _number(directory / "memory.max")
        if limit is not None:
            mem = min(mem, limit)
        quota = _quota(directory / "cpu.max")
        if quota is not None:
            billionths = min(billionths, quota)
    for directory in first_version_groups("memory"):
        # Where there is no limit it is a number larger than any memory.
        limit = _number(directory / "memory.limit_in_bytes")
        if limit is not None:
            mem = min(mem, limit)
    for directory in first_version_groups("cpu"):
        quota = _number(directory / "cpu.cfs_quota_us")
        period = _number(directory / "cpu.cfs_period_us")
        if quota is not None and period and quota > 0:  # -1: no limit
            billionths = min(billionths, quota * _BILLION // period)
    return Amount(mem, billionths)


def own_groups() -> list[Path]:
    """The control groups that this process is in (version 2), from its own to the outermost."""
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        return []
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    return [] if path is None else _upwards(_CGROUP, path)


def first_version_groups(controller: str) -> list[Path]:
    """The same in the hierarchy of a controller of version 1, which some machines still have."""
    try:
        lines = _MEMBERSHIP.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return _upwards(_CGROUP / controller, path)
    return []


def _upwards(root: Path, path: str) -> list[Path]:
    own = root / path.lstrip("/")
    return [own, *(each for each in own.parents if each == root or root in each.parents)]


def _number(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return int(path.read_text())
    return None  # "max", or there is no such file


def _quota(path: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        quota, period = path.read_text().split()
        return int(quota) * _BILLION // int(period)
    return None
