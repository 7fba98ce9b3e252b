"""The memory of processes, as Linux counts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Weight:
    """The proportional set size of a process in MiB, and what kinds of memory it is made of."""

    total: float
    anonymous: float
    file: float
    shared: float


def weigh(process: int) -> Weight:
    """What a process weighs."""
    kib = {}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, _ = line.split()
        kib[name] = int(value) / 1024
    return Weight(kib["Pss:"], kib["Pss_Anon:"], kib["Pss_File:"], kib["Pss_Shmem:"])
