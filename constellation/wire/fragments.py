"""Large values in pieces, and whole again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from constellation.wire.frames import Buffer

__all__ = ["Part", "Pieces", "growing", "split"]


class Pieces:
    """A part that is to be sent, in several places of memory.

    Each of them is free when it was delivered, and not all at the end of the last one.
    """

    __slots__ = ("_size", "pieces")

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self._size = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._size


Part = Buffer | Pieces
"""Of what is to be sent."""


def split(parts: Iterable[Part], limit: int) -> list[tuple[bool, list[Buffer]]]:
    """Parts cut into fragments of at most `limit` bytes.

    For each: whether it goes on with the last part of the one before, and its pieces.
    """
    fragments: list[tuple[bool, list[Buffer]]] = []
    pieces: list[Buffer] = []
    joined = False
    room = limit
    for part in parts:
        for index, piece in enumerate(part.pieces if isinstance(part, Pieces) else (part,)):
            view = memoryview(piece)
            if index:
                # What a fragment begins with may go on with the part before, and nothing else.
                fragments.append((joined, pieces))
                pieces, joined, room = [], True, limit
            at = 0
            while len(view) - at > room:
                pieces.append(view[at : at + room])
                fragments.append((joined, pieces))
                at += room
                pieces, joined, room = [], True, limit
            pieces.append(view[at:])
            room -= len(view) - at
    fragments.append((joined, pieces))
    return fragments


def growing(parts: list[Buffer]) -> bytearray:
    """The last of the parts, as one that can be added to: nobody has to join them at the end.

    Its memory can be written to also by who reads it at last, which arrays need.
    """
    last = parts[-1]
    if type(last) is not bytearray:
        last = parts[-1] = bytearray(last)
    return last
