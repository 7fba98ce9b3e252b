from __future__ import annotations

from constellation.process.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_few_are_made_at_a_time() -> None:
    pace = Pace(2, Clock())
    assert pace.has_room()
    assert pace.deadline is None
    pace.begin(1)
    assert pace.has_room()
    pace.begin(2)
    assert not pace.has_room()
    pace.end(1)
    assert pace.has_room()
    pace.end(1)  # again
    pace.begin(3)
    assert not pace.has_room()


def test_a_process_is_counted_for_a_moment_at_most() -> None:
    clock = Clock()
    pace = Pace(2, clock)
    pace.begin(1)
    clock.now += 0.02
    pace.begin(2)
    assert pace.deadline is not None
    assert 100.02 < pace.deadline < 101
    clock.now = pace.deadline
    assert pace.deadline is None
    assert pace.has_room()
    pace.begin(3)
    assert not pace.has_room()
    assert pace.deadline is not None
    clock.now = pace.deadline
    assert pace.has_room()


def test_there_is_room_for_more_than_there_are_processors() -> None:
    pace = Pace()
    for number in range(3):
        assert pace.has_room()
        pace.begin(number)
    assert pace.most >= 3
