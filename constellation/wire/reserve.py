"""Places for streams that may be two windows ahead of their readers, in place of one.

Two threads that encrypt and decrypt, a core each, have always something to do only if so many large
values are on their way. All streams of a process share a few places, so what its memory is bounded
by grows by those, and not with every stream.
"""

from __future__ import annotations

from typing import Final

__all__ = ["PLACES", "Reserve"]

PLACES: Final = 8
"""How many streams of a process, in both directions together, may have a wide window at a time."""


class Reserve:
    """The places of one process. Guarded like its links.

    Args:
        places: How many there are.
    """

    __slots__ = ("_holders", "_places")

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._holders: set[object] = set()

    def take(self, stream: object) -> bool:
        """Have a place for a stream, if there is one left or it has one; says whether it has."""
        if stream in self._holders:
            return True
        if len(self._holders) >= self._places:
            return False
        self._holders.add(stream)
        return True

    def give_back(self, stream: object) -> None:
        """A stream needs no place any more."""
        self._holders.discard(stream)
