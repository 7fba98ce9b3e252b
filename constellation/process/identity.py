"""Who a process is: what it is given at its birth and never changes."""

from __future__ import annotations

from dataclasses import dataclass

from constellation.pid import Pid
from constellation.resources import Resources
from constellation.units import Cpu, Mem


@dataclass(frozen=True, slots=True)
class Newborn:
    """What a process knows of itself before it is known for whom it is.

    Attributes:
        pid: Its Pid, which others could connect to before it ran.
        initial: Whether it is the initial process.
        directory: The program's runtime directory, where the sockets are.
        listener: The descriptor of its bound and listening socket.
        control: The descriptor of its control stream, whose other end the bridge holds.
    """

    pid: Pid
    initial: bool
    directory: str
    listener: int
    control: int


@dataclass(frozen=True, slots=True)
class Identity:
    """What a process of a program knows of itself.

    Attributes:
        pid: Its Pid, which others could connect to before it ran.
        parent: The Pid of the process that spawned it; None for the initial process.
        mem: The bytes of memory that it was given.
        cpu: The cores that it was given.
    """

    pid: Pid
    parent: Pid | None
    mem: int
    cpu: float

    @property
    def resources(self) -> Resources:
        """What it was given. Made when it is asked for: few processes do."""
        return Resources(mem=Mem(self.mem), cpu=Cpu(self.cpu))
