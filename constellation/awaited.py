"""What a process waits for, as it tells those who look for deadlocks.

Where a part of it is not certain, that may be completed at any moment: so of several of which one
is enough nothing can be told then, and of several that are all needed the others still are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec

__all__ = [
    "AwaitsAll",
    "AwaitsAny",
    "AwaitsRoom",
    "AwaitsValues",
    "AwaitsWindow",
    "Awaited",
    "all_of",
    "any_of",
    "is_small",
    "renumbered",
]

MOST: Final = 10_000
"""Waits that a process tells of at once, at most: a message takes no more than 1 MiB."""
LEVELS: Final = 32
"""How deep they may be inside one another."""


class _Awaited(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The base of all: an array that begins with the name of its kind."""


class AwaitsRoom(_Awaited, frozen=True):
    """A spawn that waits for room.

    Attributes:
        request: What whoever tells it calls the spawn.
    """

    request: int


class AwaitsValues(_Awaited, frozen=True):
    """A ``recv`` that waits for a value of the process with this key, or for its end."""

    key: bytes


class AwaitsWindow(_Awaited, frozen=True):
    """A ``send`` that waits for the process with this key to receive, or for its end."""

    key: bytes


class AwaitsAny(_Awaited, frozen=True):
    """One of these is enough."""

    parts: tuple[Awaited, ...]


class AwaitsAll(_Awaited, frozen=True):
    """All of these are needed."""

    parts: tuple[Awaited, ...]


Awaited: TypeAlias = AwaitsRoom | AwaitsValues | AwaitsWindow | AwaitsAny | AwaitsAll


def any_of(parts: Iterable[Awaited | None]) -> Awaited | None:
    """One of these is enough; None where one of them is uncertain, or there is none."""
    certain: list[Awaited] = []
    for part in parts:
        if part is None:
            return None
        certain.append(part)
    return _one_or(AwaitsAny, certain)


def all_of(parts: Iterable[Awaited | None]) -> Awaited | None:
    """All of these are needed; None where all of them are uncertain, or there is none."""
    return _one_or(AwaitsAll, [part for part in parts if part is not None])


def is_small(threads: Iterable[Awaited]) -> bool:
    """Whether what several threads wait for can be told: it is neither too much nor too deep."""
    left = [(thread, 1) for thread in threads]
    count = 0
    while left:
        awaited, level = left.pop()
        count += 1
        if count > MOST or level > LEVELS:
            return False
        if isinstance(awaited, AwaitsAny | AwaitsAll):
            left += [(part, level + 1) for part in awaited.parts]
    return True


def renumbered(awaited: Awaited, number: Callable[[int], int | None]) -> Awaited | None:
    """The same with other numbers for spawns.

    Args:
        awaited: What is waited for.
        number: Gives the new number of a spawn, None where it does not wait for room any more.

    Returns:
        None where nothing of it is certain.
    """
    match awaited:
        case AwaitsRoom(request):
            other = number(request)
            return None if other is None else AwaitsRoom(other)
        case AwaitsAny(parts):
            return any_of(renumbered(part, number) for part in parts)
        case AwaitsAll(parts):
            return all_of(renumbered(part, number) for part in parts)
        case _:
            return awaited


def _one_or(kind: type[AwaitsAny | AwaitsAll], parts: list[Awaited]) -> Awaited | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    return kind(tuple(parts))
