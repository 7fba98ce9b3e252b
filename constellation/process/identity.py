"""Who a process is: what it is given at its birth and never changes."""

from __future__ import annotations

from dataclasses import dataclass

from constellation.pid import Pid
from constellation.resources import Resources


@dataclass(frozen=True, slots=True)
class Identity:
    """What a new process of a program knows of itself.

    Attributes:
        pid: Its Pid, which others could connect to before it ran.
        parent: The Pid of the process that spawned it; None for the initial process.
        resources: What it was given.
        directory: The program's runtime directory, where the sockets are.
        listener: The descriptor of its bound and listening socket.
        control: The descriptor of its control stream, whose other end the bridge holds.
    """

    pid: Pid
    parent: Pid | None
    resources: Resources
    directory: str
    listener: int
    control: int
