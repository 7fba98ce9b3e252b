from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.bridge.utf8 import unfinished


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"", 0),
        (b"a", 0),
        ("é".encode()[:1], 1),
        (b"a" + "€".encode()[:1], 1),
        (b"a" + "€".encode()[:2], 2),
        ("€".encode(), 0),
        ("\U0001f600".encode()[:3], 3),
        ("\U0001f600".encode(), 0),
        (b"\x80", 0),
        (b"\xac\xac\xac\xac", 0),
        (b"\xff", 0),
        (b"\xc0", 0),
        (b"\xe0\x80", 0),  # no character begins like this
        (b"\xf5", 0),
    ],
)
def test_examples(data: bytes, size: int) -> None:
    assert unfinished(data) == size


@given(st.text(), st.characters(min_codepoint=128, exclude_categories=["Cs"]), st.data())
def test_every_cut_character_is_found(before: str, character: str, data: st.DataObject) -> None:
    whole = character.encode()
    size = data.draw(st.integers(1, len(whole) - 1))
    assert unfinished(before.encode() + whole[:size]) == size
    assert unfinished(before.encode() + whole) == 0
