from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from scheduling import amount

from constellation_daemons.master.deadlock import Detector, Victim
from constellation_daemons.master.stuck import find_stuck, rooms
from constellation_daemons.master.values import RequestId
from constellation_daemons.master.waits import AllOf, AnyOf, Blocked, Room, Values, Wait, Window

CAPACITY = {"n1": amount(4)}
PARENTS = [f"{number}" * 32 for number in range(1, 5)]


def spawn(order: int, mem: int = 1) -> Room:
    return Room(RequestId("a", order), amount(mem), order)


def report(pid: str, *threads: Wait, progress: int = 0, received: bool = True) -> Blocked:
    return Blocked(pid, "n1", amount(1), threads, received, progress)


@dataclass
class Bench:
    """A detector that is asked each second, after each process has reported."""

    detector: Detector = field(default_factory=Detector)
    now: float = 100.0

    def second(self, *reports: Blocked) -> Victim | None:
        self.now += 1.0
        for each in reports:
            self.detector.blocked(each, self.now)
        return self.detector.check(CAPACITY, self.now)


FOUR = [report(pid, spawn(order)) for order, pid in enumerate(PARENTS, 1)]


def test_it_has_to_hold_twice_and_the_youngest_gives_way() -> None:
    bench = Bench()
    assert bench.second(*FOUR) is None
    victim = bench.second(*FOUR)
    assert victim is not None
    assert victim.request == RequestId("a", 4)
    assert victim.pid == PARENTS[3]


def test_when_the_victim_goes_on_the_others_wait_for_it() -> None:
    bench = Bench()
    bench.second(*FOUR)
    assert bench.second(*FOUR) is not None
    bench.detector.busy(PARENTS[3])
    assert bench.second(*FOUR[:3]) is None
    # It tries again, and that it fails again is found out as before.
    again = [*FOUR[:3], report(PARENTS[3], spawn(5), progress=1)]
    assert bench.second(*again) is None
    victim = bench.second(*again)
    assert victim is not None
    assert victim.request == RequestId("a", 5)


def test_no_second_report_is_no_deadlock() -> None:
    bench = Bench()
    bench.second(*FOUR)
    assert all(bench.second(*FOUR[:3]) is None for _ in range(20))


def test_a_second_report_that_comes_too_soon_does_not_count() -> None:
    bench = Bench()
    bench.second(*FOUR)
    for each in FOUR:
        bench.detector.blocked(each, bench.now + 0.9)
    assert bench.second() is None


@pytest.mark.parametrize("change", ["progress", "busy"])
def test_what_has_moved_in_between_is_no_deadlock(change: str) -> None:
    bench = Bench()
    for number in range(10):
        if change == "busy":
            bench.detector.busy(PARENTS[0])
        progress = number if change == "progress" else 0
        first = report(PARENTS[0], spawn(1), progress=progress)
        assert bench.second(first, *FOUR[1:]) is None


def test_it_is_found_though_others_come_and_go() -> None:
    # Somebody else becomes stuck each second, by waiting for one of the four.
    bench = Bench()
    found = [
        bench.second(*FOUR, report(f"{number:032x}", Values(PARENTS[0]))) for number in range(2)
    ]
    assert [victim is not None for victim in found] == [False, True]


def test_moments_that_do_not_overlap_prove_nothing() -> None:
    # Each is stuck in the picture all the time, but the first has not reported since the last
    # came: it may have gone on before that.
    bench = Bench()
    bench.second(*FOUR)
    bench.detector.busy(PARENTS[3])
    bench.second(*FOUR[:3])
    late = report(PARENTS[3], spawn(7), progress=1)
    assert bench.second(late) is None
    assert bench.second(late) is None
    assert bench.second(*FOUR[:3], late) is not None


def test_processes_that_only_wait_for_each_other_are_not_ours_to_free() -> None:
    bench = Bench()
    pair = [report(PARENTS[0], Values(PARENTS[1])), report(PARENTS[1], Values(PARENTS[0]))]
    assert [bench.second(*pair) for _ in range(3)] == [None] * 3


def test_a_spawn_that_waits_for_such_is() -> None:
    bench = Bench()
    held = [report(pid, Values(PARENTS[0])) for pid in PARENTS[:3]]
    everything = [*held, report(PARENTS[3], spawn(9))]
    bench.second(*everything)
    victim = bench.second(*everything)
    assert victim is not None
    assert victim.request == RequestId("a", 9)


def test_room_elsewhere_is_no_deadlock() -> None:
    bench = Bench()
    bench.second(*FOUR)
    bench.now += 1
    for each in FOUR:
        bench.detector.blocked(each, bench.now)
    assert bench.detector.check({**CAPACITY, "n2": amount(1)}, bench.now) is None


def test_the_text_names_the_chain() -> None:
    bench = Bench()
    everything = [
        report(PARENTS[0], AnyOf((spawn(1), Values(PARENTS[1])))),
        report(PARENTS[1], Window(PARENTS[2]), Values(PARENTS[0])),
        report(PARENTS[2], AllOf((spawn(2), spawn(3)))),
        report(PARENTS[3], spawn(9)),
    ]
    bench.second(*everything)
    victim = bench.second(*everything)
    assert victim is not None
    assert victim.text.splitlines() == [
        "process 4444444 can never have room for 1 B and 0 cores, as things are:",
        "    4444444 on n1 waits for room for 1 B and 0 cores",
        "    n1 (4 B and 0 cores) is held by 1111111, 2222222, 3333333, 4444444",
        "    1111111 on n1 waits for one of (room for 1 B and 0 cores, a value of 2222222)",
        "    2222222 on n1 waits for 3333333 to receive and a value of 1111111",
        "    3333333 on n1 waits for all of (room for 1 B and 0 cores, room for 1 B and 0 cores)",
    ]


def test_a_long_text_is_cut() -> None:
    many = [Blocked(f"{n:032x}", "n1", amount(1), (spawn(n),), True, 0) for n in range(100)]
    detector = Detector()
    for now in (0.0, 1.0):
        for each in many:
            detector.blocked(each, now)
        victim = detector.check({"n1": amount(100)}, now)
    assert victim is not None
    lines = victim.text.splitlines()
    assert len(lines) == 11
    assert lines[2].endswith("and 96 more")
    assert lines[-1] == "    and 92 more wait in the same way"


def test_a_report_without_a_thread_is_refused() -> None:
    with pytest.raises(ValueError, match="names no thread"):
        Detector().blocked(report("1"), 0.0)


# -- whatever moves, only what is stuck is ever found


class Movers(RuleBasedStateMachine):
    """Processes that wait, go on and report in their own time; the truth is known here.

    The truth of a moment is what `find_stuck` says of what all of them do at that moment. What was
    reported is older.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.detector = Detector()
        self.doing: dict[str, Blocked | None] = dict.fromkeys(PARENTS)
        self.progress = 0

    @rule(pid=st.sampled_from(PARENTS), other=st.sampled_from(PARENTS), room=st.booleans())
    def begin_to_wait(self, pid: str, other: str, room: bool) -> None:
        if self.doing[pid] is None and pid != other:
            self.progress += 1
            wait: Wait = spawn(self.progress) if room else Values(other)
            self.doing[pid] = report(pid, wait, progress=self.progress)

    @rule(pid=st.sampled_from(PARENTS))
    def go_on(self, pid: str) -> None:
        """What is not stuck may be completed; its report, that it is busy, is late or lost."""
        if pid not in self.truth():
            self.doing[pid] = None

    @rule(pid=st.sampled_from(PARENTS))
    def report_one(self, pid: str) -> None:
        doing = self.doing[pid]
        if doing is None:
            self.detector.busy(pid)
        else:
            self.detector.blocked(doing, self.now)

    @rule()
    def report_all(self) -> None:
        for pid in PARENTS:
            self.report_one(pid)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 1.0, 3.0]))
    def look(self, seconds: float) -> None:
        self.now += seconds
        victim = self.detector.check(CAPACITY, self.now)
        if victim is not None:
            doing = self.truth().get(victim.pid)
            assert doing is not None, "who was not stuck is to give way"
            assert victim.request in [room.request for room in rooms(doing)]
            self.doing[victim.pid] = None  # its spawn raises

    @invariant()
    def what_lasts_is_found(self) -> None:
        truth = self.truth()
        waiting = [room for each in truth.values() for room in rooms(each)]
        if not waiting:
            return
        detector, victim = Detector(), None
        for now in (0.0, 1.0):
            for each in truth.values():
                detector.blocked(each, now)
            victim = detector.check(CAPACITY, now)
        assert victim is not None
        assert victim.request == max(waiting, key=lambda room: room.order).request

    def truth(self) -> dict[str, Any]:
        return find_stuck((each for each in self.doing.values() if each), CAPACITY)


TestMovers = Movers.TestCase
TestMovers.settings = settings(max_examples=100, stateful_step_count=50)
