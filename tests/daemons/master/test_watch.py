from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from scheduling import Cluster

from constellation.awaited import (
    Awaited,
    AwaitsAll,
    AwaitsAny,
    AwaitsRoom,
    AwaitsValues,
    AwaitsWindow,
)
from constellation_daemons.master import watch as watching
from constellation_daemons.master.events import Deadlocked
from constellation_daemons.master.values import RequestId
from constellation_daemons.master.watch import ANSWER, Watch


@dataclass
class Bench:
    """A cluster with room for four, four that hold it, and what each of them waits for."""

    cluster: Cluster = field(default_factory=Cluster)
    waits: dict[RequestId, tuple[Awaited, ...]] = field(default_factory=dict)
    progress: dict[RequestId, int] = field(default_factory=dict)
    late: int = 0  # since so many questions before

    def __post_init__(self) -> None:
        self.cluster.join("n", 4)
        self.parents = [self.cluster.run(1) for _ in range(4)]
        self.children = [self.cluster.ask(1) for _ in self.parents]
        for parent, child in zip(self.parents, self.children, strict=True):
            self.waits[parent] = (AwaitsRoom(child.number),)
        self.watch = Watch(self.cluster.scheduler, 1000)

    def key(self, request: RequestId) -> bytes:
        return bytes.fromhex(self.cluster.running[request].pid)

    def round(self) -> Deadlocked | None:
        question = self.watch.ask(self.cluster.now)
        for parent, threads in self.waits.items():
            progress = self.progress.get(parent, 0)
            self.watch.heard("n", parent, question - self.late, threads, progress)
        self.cluster.wait_renewing(ANSWER)
        found = self.watch.check(self.cluster.now)
        self.cluster.wait_renewing(self.watch.pause())
        return found


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_two_rounds_find_the_youngest(bench: Bench) -> None:
    assert bench.round() is None
    found = bench.round()
    assert found is not None
    assert found.request == bench.children[-1]
    assert bench.cluster.running[bench.parents[-1]].pid[:7] in found.text


def test_whoever_does_not_answer_may_make_room(bench: Bench) -> None:
    silent = bench.waits.pop(bench.parents[0])
    for _ in range(5):
        assert bench.round() is None
    bench.waits[bench.parents[0]] = silent
    assert bench.round() is None
    assert bench.round() is not None


def test_whoever_answers_no_more_is_forgotten(bench: Bench) -> None:
    bench.round()
    del bench.waits[bench.parents[0]]
    for _ in range(5):
        assert bench.round() is None


def test_whoever_is_gone_is_forgotten(bench: Bench) -> None:
    bench.round()
    bench.cluster.end(bench.parents[0])
    # Its room is another's, and that one does not wait.
    assert bench.cluster.where(bench.children[0]) == "n"
    for _ in range(5):
        assert bench.round() is None


def test_whoever_is_on_a_node_that_is_lost_is_forgotten(bench: Bench) -> None:
    bench.round()
    bench.cluster.lose("n")
    for _ in range(5):
        assert bench.round() is None


def test_what_has_happened_in_between(bench: Bench) -> None:
    for count in range(5):
        bench.progress[bench.parents[0]] = count
        assert bench.round() is None


def test_an_answer_counts_as_of_its_question(bench: Bench) -> None:
    """What is so since the question before is confirmed one round later."""
    bench.round()
    bench.late = 1
    assert bench.round() is None
    assert bench.round() is not None


def test_answers_to_questions_that_nobody_remembers(bench: Bench) -> None:
    bench.late = 100
    for _ in range(5):
        assert bench.round() is None


def test_nothing_is_known_after_a_pause(bench: Bench) -> None:
    bench.round()
    bench.watch.reset()
    assert bench.round() is None
    assert bench.round() is not None


def test_no_threads_are_no_report(bench: Bench) -> None:
    bench.waits[bench.parents[0]] = ()
    for _ in range(5):
        assert bench.round() is None


def test_processes_that_wait_for_each_other(bench: Bench) -> None:
    one, two, three, _ = bench.parents
    key = bench.key(two)
    bench.waits[one] = (AwaitsValues(key), AwaitsAny((AwaitsWindow(key), AwaitsValues(key))))
    bench.waits[three] = (AwaitsAll((AwaitsValues(b"s" * 16), AwaitsWindow(key))),)
    bench.round()
    assert bench.round() is not None


@pytest.mark.parametrize(
    ("kind", "found"), [(AwaitsAny, False), (AwaitsAll, True)], ids=["any", "all"]
)
def test_a_spawn_that_does_not_wait_any_more(
    bench: Bench, kind: type[AwaitsAny | AwaitsAll], found: bool
) -> None:
    """It was placed, which its process is about to be told."""
    one = bench.parents[0]
    gone = AwaitsRoom(12345)
    bench.waits[one] = (kind((gone, *bench.waits[one])),)
    bench.round()
    assert (bench.round() is not None) == found
    bench.waits[one] = (gone,)
    for _ in range(5):
        assert bench.round() is None


def test_many_processes_are_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "RATE", 10)
    cluster = Cluster()
    cluster.join("n", 100)
    watch = Watch(cluster.scheduler, 0)
    assert watch.pause() == 1.0
    for _ in range(30):
        cluster.run(1)
    assert watch.pause() == 3.0
