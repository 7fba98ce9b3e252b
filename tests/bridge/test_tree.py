from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from constellation.bridge.events import EofEvent, ExitEvent, OutputEvent, SpawnEvent
from constellation.bridge.tree import Notice, Output, ProgramTree, TreeError
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.units import Mem

A, B, C = (Pid(bytes([number]) * 16, f"ipc:///tmp/{number}") for number in range(3))
OK = ExitStatus(code=0)
LOST = ExitStatus(lost="monitor killed")


@pytest.fixture
def tree() -> ProgramTree:
    """A program with A, its initial process."""
    tree = ProgramTree()
    assert tree.placed(A, None, 0) == []
    assert tree.accept(A) == [SpawnEvent(A, None)]
    return tree


def test_the_whole_of_a_process(tree: ProgramTree) -> None:
    assert tree.output(A, 1, b"x") == [OutputEvent(A, 1, b"x")]
    assert tree.died(A, OK) == []
    assert tree.output(A, 2, b"y") == [OutputEvent(A, 2, b"y")]
    assert tree.eof(A, 2) == [EofEvent(A, 2)]
    assert not tree.finished
    assert tree.eof(A, 1) == [EofEvent(A, 1), ExitEvent(A, OK)]
    assert tree.finished
    assert tree.monitor_lost(A, "monitor killed") == []


def test_streams_may_end_before_the_process(tree: ProgramTree) -> None:
    tree.eof(A, 1)
    tree.eof(A, 2)
    assert not tree.finished
    assert tree.died(A, OK) == [ExitEvent(A, OK)]


def test_the_exit_does_not_wait_for_descendants(tree: ProgramTree) -> None:
    tree.died(A, OK)
    tree.eof(A, 2)
    assert tree.drained(A) == [ExitEvent(A, OK)]
    assert tree.finished
    assert tree.output(A, 1, b"late") == [OutputEvent(A, 1, b"late")]
    assert tree.eof(A, 1) == [EofEvent(A, 1)]


def test_drained_after_the_exit_is_nothing_new(tree: ProgramTree) -> None:
    tree.died(A, OK)
    tree.eof(A, 1)
    tree.eof(A, 2)
    assert tree.drained(A) == []


def test_a_lost_monitor_is_made_up_for(tree: ProgramTree) -> None:
    tree.eof(A, 1)
    assert tree.monitor_lost(A, "monitor killed") == [EofEvent(A, 2), ExitEvent(A, LOST)]
    assert tree.finished


def test_a_monitor_lost_after_the_death_keeps_the_status(tree: ProgramTree) -> None:
    tree.died(A, OK)
    ends = [EofEvent(A, 1), EofEvent(A, 2)]
    assert tree.monitor_lost(A, "monitor killed") == [*ends, ExitEvent(A, OK)]


def test_a_monitor_lost_after_the_exit_ends_the_streams(tree: ProgramTree) -> None:
    tree.died(A, OK)
    tree.drained(A)
    assert tree.monitor_lost(A, "monitor killed") == [EofEvent(A, 1), EofEvent(A, 2)]


def test_nothing_is_told_before_the_spawn(tree: ProgramTree) -> None:
    tree.placed(B, A, 1)
    assert tree.output(B, 2, b"early") == []
    assert tree.eof(B, 1) == []
    assert tree.died(B, OK) == []
    assert tree.monitor_lost(B, "monitor killed") == []
    assert not tree.finished
    assert tree.accept(B) == [
        SpawnEvent(B, A),
        OutputEvent(B, 2, b"early"),
        EofEvent(B, 1),
        EofEvent(B, 2),
        ExitEvent(B, OK),
    ]


def test_a_process_that_is_accepted_late_goes_on(tree: ProgramTree) -> None:
    tree.placed(B, A, 1)
    tree.output(B, 1, b"x")
    assert tree.accept(B) == [SpawnEvent(B, A), OutputEvent(B, 1, b"x")]
    assert tree.output(B, 1, b"y") == [OutputEvent(B, 1, b"y")]


def test_an_abandoned_process_never_was(tree: ProgramTree) -> None:
    tree.placed(B, A, 1)
    tree.output(B, 1, b"x")
    assert tree.abandon(B) == []
    assert tree.output(B, 1, b"y") == []
    assert tree.eof(B, 1) == []
    assert tree.died(B, OK) == []
    assert tree.drained(B) == []
    assert tree.monitor_lost(B, "monitor killed") == []
    assert tree.watch(B.key, A) == [Notice(A, B.key, None)]
    tree.monitor_lost(A, "monitor killed")
    assert tree.finished


def test_a_process_may_be_abandoned_when_all_of_it_is_gone(tree: ProgramTree) -> None:
    tree.placed(B, A, 1)
    tree.monitor_lost(B, "monitor killed")
    assert tree.abandon(B) == []
    assert tree.watch(B.key, A) == [Notice(A, B.key, None)]


# -- watchers


def test_watchers_are_told_at_the_death(tree: ProgramTree) -> None:
    tree.placed(B, A, 1)
    tree.accept(B)
    assert tree.watch(B.key, A) == []
    assert tree.watch(B.key, C) == []
    assert tree.died(B, OK) == [Notice(A, B.key, OK), Notice(C, B.key, OK)]
    assert tree.monitor_lost(B, "x")[-1] == ExitEvent(B, OK)


def test_watchers_are_told_of_a_lost_process(tree: ProgramTree) -> None:
    tree.watch(A.key, B)
    assert tree.monitor_lost(A, "monitor killed")[0] == Notice(B, A.key, LOST)


def test_watchers_of_an_abandoned_process_are_told(tree: ProgramTree) -> None:
    tree.placed(B, A, 1)
    tree.watch(B.key, A)
    assert tree.abandon(B) == [Notice(A, B.key, None)]


@pytest.mark.parametrize(
    "status",
    [
        OK,
        ExitStatus(code=255, max_rss=Mem(0)),
        ExitStatus(code=3, max_rss=Mem("7 GiB")),
        ExitStatus(code=3, cause="so"),
        ExitStatus(signal="SIGSEGV", core_dumped=True, max_rss=Mem(5)),
        LOST,
    ],
    ids=str,
)
def test_who_asks_late_is_answered(tree: ProgramTree, status: ExitStatus) -> None:
    tree.died(A, status)
    for _ in range(2):
        (notice,) = tree.watch(A.key, B)
        assert isinstance(notice, Notice)
        assert notice.status is not None
        assert notice.status.to_json() == status.to_json()
        tree.drained(A)


def test_who_asks_of_a_stranger_is_answered(tree: ProgramTree) -> None:
    assert tree.watch(C.key, A) == [Notice(A, C.key, None)]


def test_who_no_longer_wants_to_know_is_not_told(tree: ProgramTree) -> None:
    tree.watch(A.key, B)
    tree.watch(A.key, C)
    tree.unwatch(A.key, B)
    tree.unwatch(A.key, B)
    tree.watcher_gone(C)
    tree.watcher_gone(C)
    assert tree.died(A, OK) == []


# -- what cannot be


@pytest.mark.parametrize(
    "wrong",
    [
        lambda tree: tree.placed(A, None, 0),
        lambda tree: tree.accept(A),
        lambda tree: tree.abandon(A),
        lambda tree: tree.accept(B),
        lambda tree: tree.output(B, 1, b"x"),
        lambda tree: tree.eof(B, 1),
        lambda tree: tree.died(B, OK),
        lambda tree: tree.drained(B),
        lambda tree: tree.monitor_lost(B, "x"),
        lambda tree: tree.drained(A),
        lambda tree: tree.output(A, 3, b"x"),
        lambda tree: tree.eof(A, 0),
    ],
)
def test_what_cannot_be_raises(tree: ProgramTree, wrong: Callable[[ProgramTree], object]) -> None:
    with pytest.raises(TreeError):
        wrong(tree)
    assert tree.monitor_lost(A, "x")[:2] == [EofEvent(A, 1), EofEvent(A, 2)]


def test_nothing_follows_an_end(tree: ProgramTree) -> None:
    tree.eof(A, 1)
    with pytest.raises(TreeError):
        tree.output(A, 1, b"x")
    with pytest.raises(TreeError):
        tree.eof(A, 1)
    tree.died(A, OK)
    with pytest.raises(TreeError):
        tree.died(A, OK)
    tree.monitor_lost(A, "x")
    with pytest.raises(TreeError):
        tree.monitor_lost(A, "x")
    with pytest.raises(TreeError):
        tree.placed(A, None, 0)


PIDS = [Pid(bytes([number]) * 16, f"ipc:///tmp/{number}") for number in range(5)]


class AnyOrder(RuleBasedStateMachine):
    """Any input in any order: what is told obeys the rules, and every watcher is answered once."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = ProgramTree()
        self.told: dict[Pid, list[Any]] = {pid: [] for pid in PIDS}
        self.written: dict[tuple[Pid, int], bytes] = {}
        self.asked: set[tuple[Pid, bytes]] = set()
        self.placed: set[Pid] = set()
        self.accepted: set[Pid] = set()
        self.abandoned: set[Pid] = set()
        self.gone: set[Pid] = set()

    def take(self, action: Callable[[], list[Output]]) -> bool:
        """Whether the tree took it."""
        try:
            outputs = action()
        except TreeError:
            return False
        for output in outputs:
            if isinstance(output, Notice):
                self.asked.remove((output.watcher, output.key))
            else:
                self.told[output.pid].append(output)
        return True

    @rule(pid=st.sampled_from(PIDS))
    def place(self, pid: Pid) -> None:
        if pid not in self.placed:
            assert self.take(lambda: self.tree.placed(pid, None, 0))
            self.placed.add(pid)

    @rule(pid=st.sampled_from(PIDS))
    def accept(self, pid: Pid) -> None:
        if self.take(lambda: self.tree.accept(pid)):
            assert pid in self.placed - self.accepted - self.abandoned
            self.accepted.add(pid)

    @rule(pid=st.sampled_from(PIDS))
    def abandon(self, pid: Pid) -> None:
        if self.take(lambda: self.tree.abandon(pid)):
            assert pid in self.placed - self.accepted - self.abandoned
            self.abandoned.add(pid)

    @rule(pid=st.sampled_from(PIDS), fd=st.sampled_from([1, 2]), data=st.binary(max_size=2))
    def output(self, pid: Pid, fd: int, data: bytes) -> None:
        if self.take(lambda: self.tree.output(pid, fd, data)):
            self.written[pid, fd] = self.written.get((pid, fd), b"") + data

    @rule(pid=st.sampled_from(PIDS), fd=st.sampled_from([1, 2]))
    def eof(self, pid: Pid, fd: int) -> None:
        self.take(lambda: self.tree.eof(pid, fd))

    @rule(pid=st.sampled_from(PIDS))
    def died(self, pid: Pid) -> None:
        self.take(lambda: self.tree.died(pid, OK))

    @rule(pid=st.sampled_from(PIDS))
    def drained(self, pid: Pid) -> None:
        self.take(lambda: self.tree.drained(pid))

    @rule(pid=st.sampled_from(PIDS))
    def monitor_lost(self, pid: Pid) -> None:
        if self.take(lambda: self.tree.monitor_lost(pid, "monitor killed")):
            self.gone.add(pid)

    @rule(pid=st.sampled_from(PIDS), watcher=st.sampled_from(PIDS))
    def watch(self, pid: Pid, watcher: Pid) -> None:
        self.asked.add((watcher, pid.key))
        assert self.take(lambda: self.tree.watch(pid.key, watcher))

    @rule(pid=st.sampled_from(PIDS), watcher=st.sampled_from(PIDS))
    def unwatch(self, pid: Pid, watcher: Pid) -> None:
        self.asked.discard((watcher, pid.key))
        self.tree.unwatch(pid.key, watcher)

    @rule(watcher=st.sampled_from(PIDS))
    def watcher_gone(self, watcher: Pid) -> None:
        self.asked = {each for each in self.asked if each[0] != watcher}
        self.tree.watcher_gone(watcher)

    @invariant()
    def the_rules_hold(self) -> None:
        for pid, told in self.told.items():
            assert bool(told) == (pid in self.accepted)
            kinds = [type(event) for event in told]
            assert kinds.count(SpawnEvent) == len(kinds[:1])
            assert kinds[:1] in ([], [SpawnEvent])
            assert kinds.count(ExitEvent) <= 1
            for fd in (1, 2):
                stream = [event for event in told if getattr(event, "fd", None) == fd]
                ends = [isinstance(event, EofEvent) for event in stream]
                assert not any(ends[:-1])
                data = b"".join(event.data for event in stream if isinstance(event, OutputEvent))
                assert data == (self.written.get((pid, fd), b"") if told else b"")

    @invariant()
    def what_is_gone_is_complete(self) -> None:
        for pid in self.gone & self.accepted:
            kinds = [type(event) for event in self.told[pid]]
            assert (kinds.count(EofEvent), kinds.count(ExitEvent)) == (2, 1)
            assert not [each for each in self.asked if each[1] == pid.key]

    @invariant()
    def finished_means_that_all_exits_were_told(self) -> None:
        exits = {
            pid
            for pid, told in self.told.items()
            if any(isinstance(event, ExitEvent) for event in told)
        }
        assert self.tree.finished == (self.placed - self.abandoned == exits)

    @precondition(lambda self: self.placed)
    @invariant()
    def only_the_living_are_watched(self) -> None:
        for _, key in self.asked:
            pid = next(pid for pid in PIDS if pid.key == key)
            assert pid in self.placed - self.abandoned - self.gone


TestAnyOrder = AnyOrder.TestCase
