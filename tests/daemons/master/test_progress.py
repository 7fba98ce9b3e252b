from __future__ import annotations

import pytest
from scheduling import Cluster, amount, of, topics

from constellation.control.messages import Status
from constellation_daemons.master.events import Confirmed, Exited, Failed, Requested, Started
from constellation_daemons.master.instructions import (
    JoinFirst,
    Place,
    Publish,
    Queue,
    Topic,
    Why,
    Withdraw,
)
from constellation_daemons.master.jobs import SchedulerError
from constellation_daemons.master.values import RequestId


@pytest.fixture
def cluster() -> Cluster:
    """One node of 10."""
    cluster = Cluster()
    cluster.join("n", 10)
    return cluster


def test_a_whole_life(cluster: Cluster) -> None:
    request = cluster.ask(4)
    assert cluster.confirm(request) == []
    (spawned,) = of(Publish, cluster.start(request))
    assert (spawned.topic, spawned.node, spawned.program) == (Topic.PROCESS_SPAWNED, "n", "p")
    assert cluster.node("n").free == amount(6, 100)
    (exited,) = of(Publish, cluster.end(request))
    assert (exited.topic, exited.pid, exited.status) == (
        Topic.PROCESS_EXITED,
        spawned.pid,
        Status(code=0),
    )
    assert exited.sequence == spawned.sequence + 1
    assert cluster.node("n").free == amount(10, 100)


def test_what_is_said_twice_changes_nothing(cluster: Cluster) -> None:
    request = cluster.ask(4)
    for _ in range(2):
        assert cluster.confirm(request) == []
    cluster.start(request)
    assert cluster.start(request) == []
    assert cluster.confirm(request) == []
    cluster.end(request)
    assert cluster.end(request) == []
    assert cluster.node("n").free == amount(10, 100)


def test_a_placement_that_is_not_confirmed_is_returned_after_two_seconds(cluster: Cluster) -> None:
    cluster.join("other", 4)
    cluster.run(9)
    request = cluster.ask(4)
    assert cluster.where(request) == "other"
    assert cluster.wait(1.9) == []
    told = cluster.wait(0.1)
    assert told == [
        Withdraw("other", 1, request, 1),
        Place(request, 2, "p", amount(4), "other", 1),
    ]


def test_one_that_is_confirmed_stays_however_long_it_takes(cluster: Cluster) -> None:
    request = cluster.ask(4)
    cluster.confirm(request)
    assert cluster.wait(1000) == []
    cluster.start(request)
    assert cluster.node("n").processes == 1


def test_a_start_confirms_as_well(cluster: Cluster) -> None:
    request = cluster.ask(4)
    cluster.start(request)
    assert cluster.wait(10) == []


def test_a_confirmation_that_comes_too_late_has_it_ended(cluster: Cluster) -> None:
    request = cluster.ask(4)
    place = cluster.placed(request)
    cluster.wait(2)
    late = Confirmed("n", 1, request, place.attempt)
    assert cluster.say(late) == [Withdraw("n", 1, request, 1)]
    assert cluster.say(Started("n", 1, request, 1, "aa")) == [Withdraw("n", 1, request, 1)]
    assert cluster.say(Exited("n", 1, request, 1)) == []
    assert cluster.say(Failed("n", 1, request, 1, "so")) == []
    assert cluster.node("n").processes == 1


def test_who_is_not_confirmed_does_not_lose_its_room_to_others(cluster: Cluster) -> None:
    first = cluster.ask(6)
    second = cluster.ask(6)
    bigger = cluster.ask(10)
    cluster.wait_renewing(2)
    assert cluster.where(first) == "n"
    assert cluster.waits(second)
    assert cluster.waits(bigger)


def test_who_lost_its_place_waits_where_there_is_none(cluster: Cluster) -> None:
    cluster.join("other", 6)
    first = cluster.ask(6)
    second = cluster.ask(10)
    third = cluster.ask(6)
    assert (cluster.where(first), cluster.where(second)) == ("other", "n")
    cluster.confirm(second)
    told = cluster.lose("other")
    assert of(Queue, told) == [Queue(first, missing=False)]
    cluster.end(second)
    assert cluster.where(first) == "n"
    assert cluster.waits(third)


def test_one_that_does_not_wait_is_refused_when_it_loses_its_place(cluster: Cluster) -> None:
    request = cluster.ask(10, wait=False)
    cluster.lose("n")
    assert cluster.why(request) is Why.NOT_NOW


def test_a_failure_returns_the_room_and_is_told(cluster: Cluster) -> None:
    request = cluster.ask(6)
    waiting = cluster.ask(6)
    cluster.confirm(request)
    cluster.fail(request, "no such file")
    refusal = cluster.answers[request]
    assert (cluster.why(request), refusal.text) == (Why.FAILED, "no such file")  # type: ignore[union-attr]
    assert cluster.where(waiting) == "n"
    assert cluster.say(Requested(request, "p", amount(6))) == [refusal]


def test_one_that_ends_before_it_started_is_over(cluster: Cluster) -> None:
    request = cluster.ask(6)
    told = cluster.end(request)
    assert topics(told) == []
    assert cluster.node("n").processes == 0


def test_a_request_is_one_process_and_what_has_started_does_not_fail(cluster: Cluster) -> None:
    request = cluster.run(6)
    with pytest.raises(SchedulerError, match="a request becomes one process"):
        cluster.say(Started("n", 1, request, 1, "another"))
    with pytest.raises(SchedulerError, match="what has started exits"):
        cluster.fail(request)
    assert cluster.node("n").processes == 1


def test_a_node_that_is_not_known_has_to_join_first(cluster: Cluster) -> None:
    request = RequestId("a", 99)
    for event in (
        Confirmed("stranger", 1, request, 1),
        Started("stranger", 1, request, 1, "aa"),
        Failed("stranger", 1, request, 1, "so"),
        Exited("stranger", 1, request, 1),
    ):
        assert cluster.say(event) == [JoinFirst("stranger", 1)]
    assert cluster.say(Exited("n", 2, request, 1)) == [JoinFirst("n", 2)]
    cluster.lose("n")
    assert cluster.say(Exited("n", 1, request, 1)) == [JoinFirst("n", 1)]


def test_what_an_older_incarnation_says_is_dropped(cluster: Cluster) -> None:
    request = cluster.run(4)
    cluster.join("n", 10, incarnation=2)
    for event in (
        Confirmed("n", 1, request, 1),
        Started("n", 1, request, 1, "aa"),
        Exited("n", 1, request, 1),
    ):
        assert cluster.say(event) == []


def test_a_node_ends_what_it_should_not_have(cluster: Cluster) -> None:
    unknown = RequestId("a", 99)
    assert cluster.say(Confirmed("n", 1, unknown, 1)) == [Withdraw("n", 1, unknown, 1)]
    assert cluster.say(Started("n", 1, unknown, 1, "aa")) == [Withdraw("n", 1, unknown, 1)]
    assert cluster.say(Exited("n", 1, unknown, 1)) == []


def test_who_is_older_has_the_room_of_who_was_not_confirmed() -> None:
    cluster = Cluster()
    cluster.join("a", 6)
    cluster.join("b", 6)
    first, second = cluster.ask(6), cluster.ask(6)
    assert (cluster.where(first), cluster.where(second)) == ("a", "b")
    cluster.lose("a")
    assert cluster.waits(first)
    cluster.wait(2)
    assert cluster.where(first) == "b"
    assert cluster.waits(second)
