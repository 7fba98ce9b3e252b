from __future__ import annotations

import typing

import msgspec
import pytest
from scheduling import Cluster, amount

from constellation_daemons.master.deadlock import Detector
from constellation_daemons.master.events import Deadlocked, Event, Requested
from constellation_daemons.master.instructions import Instruction, Refuse, Why
from constellation_daemons.master.jobs import SchedulerError
from constellation_daemons.master.scheduler import Scheduler
from constellation_daemons.master.values import RequestId
from constellation_daemons.master.waits import Blocked


def test_events_and_instructions_are_closed_unions_of_frozen_values() -> None:
    for union in (Event, Instruction):
        kinds = typing.get_args(union)
        assert len(kinds) >= 10
        for kind in kinds:
            assert issubclass(kind, msgspec.Struct)
            assert kind.__struct_config__.frozen


def test_events_travel() -> None:
    event = Requested(RequestId("a", 1), "p", amount(2**40, 64))
    encoded = msgspec.msgpack.encode(event)
    assert msgspec.msgpack.decode(encoded, type=Requested) == event


def test_what_is_no_event_is_an_error() -> None:
    with pytest.raises(TypeError, match="'x' is no event"):
        Scheduler(0.0).handle("x", 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("now", [-1.0, float("nan")])
def test_time_runs_forwards(now: float) -> None:
    scheduler = Scheduler(0.0)
    with pytest.raises(SchedulerError, match="time runs forwards"):
        scheduler.tick(now)
    with pytest.raises(SchedulerError, match="time runs forwards"):
        scheduler.handle(Requested(RequestId("a", 1), "p", amount(1)), now)


def test_nothing_is_waited_for_where_nothing_is_asked() -> None:
    cluster = Cluster()
    assert cluster.scheduler.deadline() is None
    cluster.join("n", 10)
    cluster.run(10)
    assert cluster.scheduler.deadline() is None
    cluster.ask(1)
    assert cluster.scheduler.deadline() == cluster.now + 10


# -- cases of other systems


def test_parents_that_hold_everything_and_wait_for_children() -> None:
    """Capacity for four; four parents hold one each and each spawns a child."""
    cluster = Cluster()
    cluster.join("n", 4)
    detector = Detector()
    parents = [cluster.run(1) for _ in range(4)]
    children = {parent: cluster.ask(1) for parent in parents}
    victim = None
    for _ in range(5):
        for parent, child in children.items():
            room = cluster.scheduler.room(child)
            if room is not None:
                pid = cluster.running[parent].pid
                detector.blocked(Blocked(pid, "n", amount(1), (room,), True, 0), cluster.now)
        victim = detector.check(cluster.scheduler.capacities(cluster.now), cluster.now)
        if victim is not None:
            break
        cluster.wait_renewing(1)
    assert victim is not None
    assert victim.request == children[parents[3]]
    (refusal,) = cluster.say(Deadlocked(victim.request, victim.text))
    assert isinstance(refusal, Refuse)
    assert refusal.why is Why.DEADLOCK
    assert "n (4 B and 100 cores) is held by" in refusal.text
    # The one that was refused goes on and ends, and the others have room in turn.
    cluster.end(parents[3])
    assert cluster.where(children[parents[0]]) == "n"


def test_a_lost_node_may_give_room_for_a_minute() -> None:
    cluster = Cluster()
    cluster.join("n", 4)
    cluster.join("leaving", 4)
    cluster.run(4)
    cluster.run(4)
    cluster.leave("leaving")
    cluster.lose("n")
    assert cluster.scheduler.capacities(cluster.now + 59.9) == {"n": amount(4, 100)}
    assert cluster.scheduler.capacities(cluster.now + 60) == {}


def test_a_hundred_small_requests_against_one_big() -> None:
    cluster = Cluster()
    cluster.join("n", 10)
    running = [cluster.run(1) for _ in range(10)]
    big = cluster.ask(10)
    small = [cluster.ask(1) for _ in range(100)]
    for second in range(60):
        cluster.wait_renewing(1)
        if cluster.where(big) is not None:
            break
        if second % 3 == 0 and running:
            cluster.end(running.pop(0))
        for request in small:
            if cluster.where(request) is not None and request not in cluster.running:
                cluster.start(request)
                running.append(request)
    assert cluster.where(big) == "n"
    assert any(cluster.waits(request) for request in small)
