"""What a process needs of the machine that it runs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from constellation.units import Cpu, CpuLike, Mem, MemLike


@dataclass(frozen=True, slots=True, init=False)
class Resources:
    """What a process needs: memory, and logical cores.

    ``Resources(mem="20 MiB", cpu=0.01)``. What is left out is as in :data:`RESOURCES_DEFAULT`.

    Attributes:
        mem: The memory, a :class:`~constellation.Mem`. Given as one, as an int of bytes, or as
            text such as ``"20 MiB"``.
        cpu: The cores, a :class:`~constellation.Cpu`. Given as one, as a number, or as text such
            as ``"0.5"`` or ``"1/16"``.

    Raises:
        ValueError: An amount that makes no sense; the text shows one that does.
    """

    mem: Mem
    cpu: Cpu

    def __init__(self, mem: MemLike = 100 * Mem.MIB, cpu: CpuLike = Cpu.CORE / 16) -> None:
        object.__setattr__(self, "mem", mem if isinstance(mem, Mem) else Mem(mem))
        object.__setattr__(self, "cpu", cpu if isinstance(cpu, Cpu) else Cpu(cpu))

    def to_json(self) -> dict[str, int | float]:
        """The form in JSON: bytes and cores, ``{"mem": 104857600, "cpu": 0.0625}``."""
        return {"mem": int(self.mem), "cpu": float(self.cpu)}

    def __str__(self) -> str:
        return f"{self.mem} and {self.cpu} core{'' if self.cpu == 1 else 's'}"


RESOURCES_DEFAULT: Final = Resources()
"""What a process gets that does not say what it needs: 100 MiB and 1/16 of a core."""
