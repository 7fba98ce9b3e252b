"""What the master counts and how it names things."""

from __future__ import annotations

from fractions import Fraction
from typing import Final, NamedTuple

from constellation.resources import Resources
from constellation.units import Cpu, Mem, memory_shown

_BILLIONTH = Cpu(Fraction(1, 10**9))


class Amount(NamedTuple):
    """Memory and cores, as integers.

    :class:`~constellation.Resources` counts the same units underneath, so nothing is rounded on the
    way, and what is added and taken away in any order comes out even. Micro-cores would be coarser
    than what a program may ask for: 1/512 of a core is a whole number of billionths and of nothing
    larger. Plain integers in a tuple, since the master adds and compares them some dozens of times
    for each placement: an operation on a :class:`~constellation.Mem` costs ten times that of an
    ``int``. And they may be negative, which an amount of memory may not: a node whose capacity was
    lowered while it ran things has less than no room.

    Attributes:
        mem: Bytes.
        cpu: Billionths of a core.
    """

    mem: int
    cpu: int

    @classmethod
    def of(cls, resources: Resources) -> Amount:
        """The same as integers."""
        return cls(int(resources.mem), resources.cpu // _BILLIONTH)

    def resources(self) -> Resources:
        """The same as resources. Raises ValueError where one is negative."""
        return Resources(mem=Mem(self.mem), cpu=Cpu(Fraction(self.cpu, 10**9)))

    def plus(self, other: Amount) -> Amount:
        """The sum, where ``+`` would join the tuples."""
        return Amount(self.mem + other.mem, self.cpu + other.cpu)

    def minus(self, other: Amount) -> Amount:
        """The difference, which may be negative."""
        return Amount(self.mem - other.mem, self.cpu - other.cpu)

    def fits(self, room: Amount) -> bool:
        """Whether a process that needs this much has place in ``room``."""
        return self.mem <= room.mem and self.cpu <= room.cpu

    @property
    def possible(self) -> bool:
        """Whether it is an amount that a machine may have, or a process need."""
        return self.mem >= 0 and 0 <= self.cpu <= MOST_CPU

    def __str__(self) -> str:
        if not self.possible:
            return f"{self.mem} B and {self.cpu / 10**9:g} cores"
        return str(self.resources())

    @property
    def shown(self) -> str:
        """For people: memory that is long to write is rounded, as ``status`` does."""
        if not self.possible:
            return str(self)
        cpu = self.resources().cpu
        return f"{memory_shown(self.mem)} and {cpu} core{'' if cpu == 1 else 's'}"


MOST_CPU: Final = 2**52
"""Billionths of a core that are more than any machine has, as for :class:`~constellation.Cpu`."""

NOTHING = Amount(0, 0)


class RequestId(NamedTuple):
    """The name of a request, which its asker has chosen.

    Attributes:
        asker: Who asks, with its incarnation: a bridge that starts anew is another asker.
        number: The asker's number for it, from 1 upwards, never used twice.
    """

    asker: str
    number: int

    def __str__(self) -> str:
        return f"{self.asker}#{self.number}"
