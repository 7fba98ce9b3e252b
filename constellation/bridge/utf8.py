"""Where a character is cut in two."""

from __future__ import annotations

import codecs


def unfinished(data: bytes) -> int:
    """How many bytes at the end of `data` are the beginning of a UTF-8 character: 0 to 3."""
    for size in range(1, min(3, len(data)) + 1):
        first = data[-size]
        if first < 0x80:
            return 0
        if first >= 0xC0:
            try:
                # Takes nothing, and does not complain, of what more bytes could complete.
                return size if codecs.utf_8_decode(data[-size:], "strict", False)[1] == 0 else 0
            except UnicodeDecodeError:
                return 0
    return 0
