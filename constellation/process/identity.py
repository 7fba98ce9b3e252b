"""Who a process is: what it is given at its birth and never changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from constellation.pid import Pid
from constellation.resources import Resources
from constellation.units import Cpu, Mem

if TYPE_CHECKING:
    import socket

    from constellation.control.messages import ToProcess
    from constellation.control.stream import MessageStream
    from constellation.transport.network import Network


@dataclass(slots=True)  # not frozen, which takes a call for each field: one is made for each fork
class Newborn:
    """What a process knows of itself before it is known for whom it is.

    Attributes:
        pid: Its Pid, which others could connect to before it ran.
        initial: Whether it is the initial process.
        listener: Its bound and listening socket.
        control: Its control stream, whose other end the bridge holds.
        fresh: Whether it has run the program up to `init()` itself, and is no fork of it.
        network: How it is reached where its program runs on several machines; None: on one.
    """

    pid: Pid
    initial: bool
    listener: socket.SocketType
    control: MessageStream[ToProcess]
    fresh: bool = False
    network: Network | None = None


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
