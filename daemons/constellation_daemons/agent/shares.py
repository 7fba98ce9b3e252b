"""What share of the processors a process has, in the terms of the kernel. Pure.

Both follow the cores that a process was given, and say nothing as long as there is no contention:
who has a small share may use the whole machine while nobody else wants it.

*Weights* of control groups are for groups as a whole: 100 is what the kernel gives whom nobody has
given one, so that is one core.

*Nice values* are for each thread. A thread runs on one core at a time, so whoever was given a core
or more has threads that are worth a whole core each: 0, which is what everybody else on the machine
has. From one value to the next the kernel's weight falls by a factor of 1.25; so the value at which
a thread has 1/n of a core's weight is the logarithm of n to that base. There are twenty, down to
1/69 of a core; whoever was given less has the last one. They are never negative: it takes a
privilege, and would put programs above what else the machine has to do, the node among it.
"""

from __future__ import annotations

import math

__all__ = ["nice_of", "weight_of"]

_STEP = 1.25
_LAST_NICE = 19
_CORE = 100
_LARGEST_WEIGHT = 10_000


def nice_of(cores: float) -> int:
    """The nice value of a process that was given so many cores: from 0 to 19."""
    if cores >= 1:
        return 0
    if cores <= _STEP**-_LAST_NICE:
        return _LAST_NICE
    return round(-math.log(cores, _STEP))


def weight_of(cores: float) -> int:
    """The weight of its control group: from 1 to 10000."""
    return min(max(1, round(cores * _CORE)), _LARGEST_WEIGHT)
