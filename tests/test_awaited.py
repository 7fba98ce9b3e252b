from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.awaited import (
    LEVELS,
    MOST,
    Awaited,
    AwaitsAll,
    AwaitsAny,
    AwaitsRoom,
    AwaitsValues,
    AwaitsWindow,
    all_of,
    any_of,
    is_small,
    renumbered,
)
from constellation.control.messages import Examined
from constellation.control.stream import MESSAGE_LIMIT

A, B = AwaitsValues(b"a" * 16), AwaitsWindow(b"b" * 16)

LEAVES = st.builds(AwaitsRoom, st.integers(0, 9)) | st.sampled_from([A, B])
WAITS = st.recursive(
    LEAVES,
    lambda parts: (
        st.builds(AwaitsAny, st.lists(parts, min_size=1, max_size=3).map(tuple))
        | st.builds(AwaitsAll, st.lists(parts, min_size=1, max_size=3).map(tuple))
    ),
)


def test_one_of_several_is_certain_where_all_are() -> None:
    assert any_of([A, B]) == AwaitsAny((A, B))
    assert any_of([A]) == A
    assert any_of([A, None]) is None
    assert any_of([]) is None


def test_all_of_several_are_certain_where_one_is() -> None:
    assert all_of([A, B]) == AwaitsAll((A, B))
    assert all_of([A, None]) == A
    assert all_of([None]) is None
    assert all_of([]) is None


@pytest.mark.parametrize(
    ("awaited", "expected"),
    [
        (AwaitsRoom(1), AwaitsRoom(101)),
        (AwaitsRoom(2), None),
        (A, A),
        (AwaitsAny((AwaitsRoom(1), B)), AwaitsAny((AwaitsRoom(101), B))),
        (AwaitsAny((AwaitsRoom(2), B)), None),
        (AwaitsAll((AwaitsRoom(2), B)), B),
        (AwaitsAll((AwaitsRoom(2), AwaitsRoom(4))), None),
    ],
)
def test_spawns_have_other_numbers_elsewhere(awaited: Awaited, expected: Awaited | None) -> None:
    assert renumbered(awaited, lambda number: number + 100 if number % 2 else None) == expected


def test_too_much_is_not_told() -> None:
    assert is_small([A, AwaitsAny((B,) * (MOST - 2))])
    assert not is_small([A, AwaitsAny((B,) * (MOST - 1))])
    most = Examined(1 << 60, (AwaitsAny((B,) * (MOST - 1)),), 1 << 60)
    assert len(msgspec.msgpack.encode(most)) < MESSAGE_LIMIT


def test_what_is_too_deep_is_not_told() -> None:
    awaited: Awaited = A
    for _ in range(LEVELS - 1):
        awaited = AwaitsAll((awaited,))
    assert is_small([awaited])
    assert not is_small([AwaitsAny((awaited,))])


def possible(awaited: Awaited, rooms: set[int], keys: set[bytes]) -> bool:
    """Whether a wait may end if these spawns have room, and these processes go on."""
    match awaited:
        case AwaitsRoom(request):
            return request in rooms
        case AwaitsValues(key) | AwaitsWindow(key):
            return key in keys
        case AwaitsAny(parts):
            return any(possible(part, rooms, keys) for part in parts)
        case AwaitsAll(parts):
            return all(possible(part, rooms, keys) for part in parts)


@given(WAITS, st.sets(st.integers(0, 9)), st.sets(st.sampled_from([A.key, B.key])))
def test_what_is_uncertain_counts_as_what_may_come(
    awaited: Awaited, uncertain: set[int], keys: set[bytes]
) -> None:
    left = renumbered(awaited, lambda number: None if number in uncertain else number)
    ends = left is None or possible(left, uncertain, keys)
    assert ends == possible(awaited, uncertain, keys)


@given(WAITS)
def test_waits_go_over_the_wire(awaited: Awaited) -> None:
    encoded = msgspec.msgpack.encode(awaited)
    assert msgspec.msgpack.Decoder(Awaited).decode(encoded) == awaited
