from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from constellation.transport.strangers import StrangerLog

WHY = "its key is not one that is let in"


def test_the_first_is_told_at_once() -> None:
    log = StrangerLog(10)
    assert log.seen("10.0.0.9", WHY, 100.0) == f"turned away 10.0.0.9: {WHY}"
    assert log.deadline is None
    assert log.told(1000.0) is None


def test_those_that_follow_are_told_together() -> None:
    log = StrangerLog(10)
    log.seen("10.0.0.9", WHY, 100.0)
    for address in ["10.0.0.8", "10.0.0.9", "10.0.0.9", ""]:
        assert log.seen(address, WHY, 101.0) is None
    assert log.deadline == 110.0
    assert log.told(109.0) is None
    assert log.told(112.0) == (
        "turned away 4 more in 12 s: 2 from 10.0.0.9, 1 from 10.0.0.8, 1 from an unknown address"
    )
    assert log.deadline is None
    assert log.told(1000.0) is None


def test_one_that_comes_when_it_is_time_is_among_them() -> None:
    log = StrangerLog(10)
    log.seen("10.0.0.9", WHY, 100.0)
    log.seen("10.0.0.9", WHY, 105.0)
    assert log.seen("10.0.0.9", WHY, 111.0) == "turned away 2 more in 11 s: 2 from 10.0.0.9"
    assert log.seen("10.0.0.9", WHY, 112.0) is None  # a line was told at 111


def test_one_after_a_quiet_time_is_told_at_once() -> None:
    log = StrangerLog(10)
    log.seen("10.0.0.9", WHY, 100.0)
    assert log.seen("10.0.0.8", WHY, 111.0) == f"turned away 10.0.0.8: {WHY}"


def test_nobody_is_left_untold_at_the_end() -> None:
    log = StrangerLog(10)
    assert log.last(1.0) is None
    log.seen("10.0.0.9", WHY, 100.0)
    assert log.last(100.0) is None
    log.seen("10.0.0.9", WHY, 101.0)
    assert log.last(103.0) == "turned away 1 more in 3 s: 1 from 10.0.0.9"
    assert log.last(103.0) is None


def test_many_addresses_take_no_memory() -> None:
    log = StrangerLog(10)
    for number in range(1001):
        log.seen(f"10.0.{number // 256}.{number % 256}", WHY, 100.0)
    line = log.told(110.0)
    assert line is not None
    assert line.startswith("turned away 1000 more in 10 s: 1 from 10.0.0.1, ")
    assert line.endswith(", 992 from elsewhere")


def test_no_address_breaks_a_line() -> None:
    line = StrangerLog(10).seen("evil\n" * 1000, WHY, 100.0)
    assert line is not None
    assert "\n" not in line
    assert len(line) < 200


sights = st.lists(
    st.tuples(st.integers(0, 20).map(str), st.floats(0, 30), st.booleans()), max_size=100
)


@given(sights)
def test_everybody_is_told_of_once_and_no_two_lines_come_soon(
    seen: list[tuple[str, float, bool]],
) -> None:
    log, now, lines = StrangerLog(10), 0.0, []
    for address, pause, ask in seen:
        now += pause
        if ask:
            lines.append((now, log.told(now)))
        lines.append((now, log.seen(address, WHY, now)))
    told = [(at, line) for at, line in lines if line is not None]
    assert all(later - at >= 10 - 1e-9 for (at, _), (later, _) in itertools.pairwise(told))
    last = log.last(now)
    texts = [line for _, line in told] + ([last] if last else [])
    more = [int(match[1]) for line in texts if (match := re.search(r"away (\d+) more", line))]
    assert sum(more) + len(texts) - len(more) == len(seen)
    assert all(sum(map(int, re.findall(r"(\d+) from", t))) in {0, *more} for t in texts)


def test_a_line_says_where_they_knocked() -> None:
    log = StrangerLog(10)
    first = log.seen("10.0.0.9", WHY, 100.0, place="port 9999")
    assert first == f"turned away 10.0.0.9 at port 9999: {WHY}"
    log.seen("10.0.0.9", WHY, 101.0, place="port 9999", count=2)
    log.seen("", WHY, 101.0, place="port 9999")
    assert log.told(110.0) == (
        "turned away 3 more at port 9999 in 10 s: 2 from 10.0.0.9, 1 from an unknown address"
    )
    for port in (1, 2):
        log.seen("10.0.0.9", WHY, 111.0, place=f"port {port}")
    assert log.told(120.0) == (
        "turned away 2 more in 10 s: 1 from 10.0.0.9 at port 1, 1 from 10.0.0.9 at port 2"
    )


def test_where_a_scan_of_ports_came_is_told_as_far_as_there_is_room() -> None:
    log = StrangerLog(10)
    for port in range(101):
        log.seen("10.0.0.9", WHY, 100.0, place=f"port {port}")
    line = log.told(110.0)
    assert line is not None
    assert line.startswith("turned away 100 more in 10 s: 1 from 10.0.0.9 at port 1, ")
    assert line.endswith(", 92 from elsewhere")
    for number in range(101):
        log.seen(str(number), WHY, 110.0, place="port 1")
    line = log.told(120.0)
    assert line is not None
    assert line.startswith("turned away 101 more at port 1 in 10 s: 1 from 0, 1 from 1, ")


def test_what_another_has_counted_is_told_as_that() -> None:
    log = StrangerLog(10)
    assert log.seen("", WHY, 100.0, place="port 1", count=3) == (
        f"turned away 3 from an unknown address at port 1: {WHY}"
    )
    log = StrangerLog(10)
    assert log.seen(None, WHY, 100.0, count=1) == f"turned away 1 from elsewhere: {WHY}"
