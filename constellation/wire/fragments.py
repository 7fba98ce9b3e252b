"""Large values in pieces, and whole again."""

from __future__ import annotations

from constellation.wire.frames import Buffer

__all__ = ["growing", "split"]


def split(parts: list[Buffer], limit: int) -> list[tuple[bool, list[Buffer]]]:
    """Parts cut into fragments of at most `limit` bytes.

    For each: whether it goes on with the last part of the one before, and its pieces.
    """
    fragments: list[tuple[bool, list[Buffer]]] = []
    pieces: list[Buffer] = []
    joined = False
    room = limit
    for part in parts:
        view = memoryview(part)
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
