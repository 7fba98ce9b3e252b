"""Large values in pieces, and whole again."""

from __future__ import annotations

from constellation.wire.frames import Buffer

__all__ = ["split", "whole"]


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


def whole(parts: list[list[Buffer]]) -> list[Buffer]:
    """Parts that are given in pieces."""
    # A bytearray, since who reads it may have to have it writable.
    return [pieces[0] if len(pieces) == 1 else bytearray().join(pieces) for pieces in parts]
