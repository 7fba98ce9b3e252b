"""Keeping what every process writes to on few pages.

A process is a fork of its zygote, and what it writes to first it copies by the page. The
interpreter writes to all that it uses, since it counts references: to the code of a function in
each call, and to the name of an attribute in each access. Those of a process from its start to its
exit are a small part of all that there are, and would lie on as many pages as all of them.

So the names are made before anything else has some of them, and the code is copied in the zygote:
both lie side by side then. `constellation.process.locality_lists` says which they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType

from constellation.process.locality_lists import FUNCTIONS, NAMES

__all__ = ["gather", "named"]

_ROOT = "constellation."

_names = tuple(map(sys.intern, NAMES.split()))

_kept: list[CodeType] = []
"""What was copied: as holes in its place, new objects would go there."""


def gather() -> None:
    """Put the code of the functions that processes run side by side."""
    for module_name, qualified in named():
        module = sys.modules.get(module_name)
        function = None if module is None else find(module, qualified)
        if function is not None:
            _kept.append(function.__code__)
            function.__code__ = function.__code__.replace()


def named() -> Iterator[tuple[str, str]]:
    """The modules and the qualified names of these functions."""
    for line in FUNCTIONS.strip().splitlines():
        module, *functions = line.split()
        yield from ((_ROOT + module, each) for each in functions)


def find(module: ModuleType, qualified: str) -> FunctionType | None:
    """The function of this name, whatever wraps it, if there is one."""
    found: object = module
    for part in qualified.split("."):
        # Not as an attribute: of a class, that could be what a descriptor gives.
        found = getattr(found, "__dict__", {}).get(part)
    return unwrapped(found)


def unwrapped(value: object) -> FunctionType | None:
    """The function in a property, a method of a class, or what `functools.wraps` has made."""
    for wrapper in ("fget", "func", "__func__", "__wrapped__"):
        value = getattr(value, wrapper, value)
    return value if isinstance(value, FunctionType) else None
