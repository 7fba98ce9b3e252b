"""What happens to the processes of a program, as a user is told it. Pure values.

The order in which these come is the program tree's to guarantee: see
:mod:`constellation.bridge.tree`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from constellation.exit_status import ExitStatus
from constellation.pid import Pid


@dataclass(frozen=True, slots=True)
class SpawnEvent:
    """A process has come into being.

    Attributes:
        pid: The process.
        parent: Who spawned it; None for the initial process.
    """

    pid: Pid
    parent: Pid | None


@dataclass(frozen=True, slots=True)
class OutputEvent:
    """A process, or a descendant of it, has written something.

    Attributes:
        pid: The process.
        fd: The descriptor it wrote to, 1 or 2.
        data: What it wrote, at least one byte, cut anywhere.
    """

    pid: Pid
    fd: int
    data: bytes


@dataclass(frozen=True, slots=True)
class EofEvent:
    """Nothing more will come from a descriptor of a process.

    Attributes:
        pid: The process.
        fd: The descriptor, 1 or 2.
    """

    pid: Pid
    fd: int


@dataclass(frozen=True, slots=True)
class ExitEvent:
    """A process has ended.

    Attributes:
        pid: The process.
        status: What became of it.
    """

    pid: Pid
    status: ExitStatus


Event: TypeAlias = SpawnEvent | OutputEvent | EofEvent | ExitEvent
