from __future__ import annotations

import pytest
from scheduling import Cluster, amount, of, topics

from constellation_daemons.master.events import (
    AskerDone,
    AskerGone,
    Cancelled,
    Deadlocked,
    Exited,
    ProgramEnded,
    Renewed,
    Requested,
)
from constellation_daemons.master.instructions import (
    AskAgain,
    Place,
    Publish,
    Queue,
    Refuse,
    Topic,
    Why,
    Withdraw,
)
from constellation_daemons.master.jobs import SchedulerError
from constellation_daemons.master.values import Amount, RequestId


@pytest.fixture
def cluster() -> Cluster:
    """Two nodes, of 10 and of 4."""
    cluster = Cluster()
    cluster.join("big", 10)
    cluster.join("small", 4)
    return cluster


# -- placed, waiting, refused


def test_a_request_is_placed_where_the_least_is_left(cluster: Cluster) -> None:
    first = cluster.next()
    (place,) = of(Place, cluster.say(Requested(first, "p", amount(3))))
    assert place == Place(first, 1, "p", amount(3), "small", 1)
    assert cluster.where(cluster.ask(2)) == "big"
    assert cluster.where(cluster.ask(1)) == "small"


def test_one_node_is_filled_before_the_next_so_that_holes_stay_large() -> None:
    cluster = Cluster()
    for number in range(10):
        cluster.join(f"n{number}", 8)
    for _ in range(16):
        cluster.run(4)
    processes = sorted(view.processes for view in cluster.scheduler.snapshot().nodes)
    assert processes == [0, 0, 2, 2, 2, 2, 2, 2, 2, 2]
    assert not cluster.waits(cluster.ask(8))


def test_where_there_is_no_room_it_waits_and_is_told_so(cluster: Cluster) -> None:
    cluster.run(8)
    request = cluster.next()
    assert cluster.say(Requested(request, "p", amount(6))) == [Queue(request, missing=False)]


def test_those_of_one_size_are_served_in_order(cluster: Cluster) -> None:
    running = cluster.run(10)
    waiting = [cluster.ask(5) for _ in range(3)]
    cluster.end(running)
    assert [cluster.where(request) for request in waiting] == ["big", "big", None]


def test_the_largest_that_fits_is_served_first(cluster: Cluster) -> None:
    running = cluster.run(10)
    cluster.run(4)
    small, large, larger = cluster.ask(2), cluster.ask(6), cluster.ask(8)
    cluster.end(running)
    assert cluster.where(larger) == "big"
    assert cluster.where(small) == "big"
    assert cluster.waits(large)


def test_more_than_any_node_has_is_refused_at_once(cluster: Cluster) -> None:
    request = cluster.next()
    (refusal,) = of(Refuse, cluster.say(Requested(request, "p", amount(11))))
    assert (refusal.why, refusal.node, refusal.capacity) == (Why.NEVER, "big", amount(10, 100))
    assert refusal.text == (
        "no node could ever hold a process that needs 11 B and 0 cores: the node with the most "
        "memory is big, which has 10 B and 100 cores in all"
    )


@pytest.mark.parametrize(
    ("need", "named"),
    [
        (amount(30, 1), ("roomy", "the node with the most memory is roomy")),
        (amount(1, 30), ("fast", "the node with the most cores is fast")),
        (amount(15, 15), ("roomy", "none has both, and the node with the most memory is roomy")),
    ],
)
def test_the_node_that_comes_nearest_is_named(need: Amount, named: tuple[str, str]) -> None:
    cluster = Cluster()
    cluster.join("roomy", 20, 4)
    cluster.join("fast", 4, 20)
    request = cluster.next()
    (refusal,) = of(Refuse, cluster.say(Requested(request, "p", need, wait=False)))
    assert refusal.why is Why.NEVER
    assert refusal.node == named[0]
    assert named[1] in refusal.text


def test_one_that_does_not_wait_is_refused_at_once(cluster: Cluster) -> None:
    cluster.run(8)
    request = cluster.ask(6, wait=False)
    assert cluster.why(request) is Why.NOT_NOW
    assert "no node has room now" in of(Refuse, [cluster.answers[request]])[0].text
    assert cluster.where(cluster.ask(2, wait=False)) == "big"


# -- repeated


def test_a_repeated_request_is_answered_and_not_done_again(cluster: Cluster) -> None:
    for event in (
        Requested(RequestId("a", 1), "p", amount(3)),
        Requested(RequestId("a", 2), "p", amount(10)),
        Requested(RequestId("a", 3), "p", amount(10)),
        Requested(RequestId("a", 4), "p", amount(10), wait=False),
        Requested(RequestId("a", 5), "p", amount(11)),
    ):
        kinds = (Place, Queue, Refuse)
        first = [each for each in cluster.say(event) if isinstance(each, kinds)]
        assert len(first) == 1
        assert cluster.say(event) == first
        assert cluster.say(Renewed(event.request)) == first
    assert cluster.node("small").processes == 1


def test_one_that_has_started_and_ended_is_answered_as_before(cluster: Cluster) -> None:
    request = cluster.run(3)
    event = Requested(request, "p", amount(3))
    place = cluster.placed(request)
    assert cluster.say(event) == [place]
    cluster.end(request)
    assert cluster.say(event) == [place]
    assert cluster.node("small").processes == 0


def test_another_content_under_the_same_name_is_an_error(cluster: Cluster) -> None:
    request = cluster.ask(3)
    for wrong in (
        Requested(request, "q", amount(3)),
        Requested(request, "p", amount(4)),
        Requested(request, "p", amount(3), wait=False),
    ):
        with pytest.raises(SchedulerError, match="another content"):
            cluster.say(wrong)


def test_what_the_asker_has_the_answer_of_is_forgotten(cluster: Cluster) -> None:
    first = cluster.run(3)
    second = cluster.run(3)
    cluster.ask(1, answered=3)
    # A late copy of either is neither done nor answered; what runs is still in the accounts.
    assert cluster.say(Requested(first, "p", amount(3))) == []
    assert cluster.say(Renewed(second)) == []
    assert cluster.say(Cancelled(first)) == []
    assert cluster.node("small").processes + cluster.node("big").processes == 3
    cluster.end(first)
    cluster.end(second)
    assert cluster.node("small").processes + cluster.node("big").processes == 1


def test_no_answer_can_be_claimed_that_was_not_given(cluster: Cluster) -> None:
    cluster.run(10)
    waiting = cluster.ask(10)
    with pytest.raises(SchedulerError, match=f"{waiting} waits; to give one up, cancel it"):
        cluster.ask(1, answered=3)
    with pytest.raises(SchedulerError, match="itself among them"):
        cluster.ask(1, answered=99)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (Requested(RequestId("a", 0), "p", amount(1)), "1 or larger"),
        (Requested(RequestId("a", 1), "", amount(1)), "without a name"),
        (Requested(RequestId("a", 1), "p", Amount(-1, 0)), "which no process can"),
        (Requested(RequestId("a", 1), "p", Amount(0, -1)), "which no process can"),
        (Requested(RequestId("a", 1), "p", Amount(0, 2**52 + 1)), "which no process can"),
        (Cancelled(RequestId("a", 0)), "1 or larger"),
    ],
)
def test_what_cannot_be_is_an_error(cluster: Cluster, wrong: Requested, text: str) -> None:
    before = cluster.scheduler.snapshot()
    with pytest.raises(SchedulerError, match=text):
        cluster.say(wrong)
    assert cluster.scheduler.snapshot() == before


def test_a_mark_that_jumps_far_costs_nothing(cluster: Cluster) -> None:
    first = cluster.run(1)
    cluster.number = 2**60
    cluster.ask(1, answered=2**60)
    assert cluster.say(Requested(first, "p", amount(1))) == []


# -- renewed


def test_what_is_not_renewed_is_dropped_after_ten_seconds(cluster: Cluster) -> None:
    running = cluster.run(10)
    dropped, kept = cluster.ask(10), cluster.ask(10)
    cluster.wait(6)
    cluster.say(Renewed(kept))
    cluster.wait(3.9)
    assert cluster.scheduler.room(dropped) is not None
    cluster.wait(0.1)
    assert cluster.scheduler.room(dropped) is None
    assert cluster.say(Renewed(dropped)) == [AskAgain(dropped)]
    cluster.end(running)
    assert cluster.where(kept) == "big"


def test_a_new_master_asks_for_the_whole_request_again() -> None:
    cluster = Cluster()
    request = RequestId("a", 7)
    assert cluster.say(Renewed(request)) == [AskAgain(request)]
    assert of(Queue, cluster.say(Requested(request, "p", amount(1))))


# -- given up


def test_a_cancelled_request_gives_its_place_back(cluster: Cluster) -> None:
    placed = cluster.ask(10)
    waiting, next_one = cluster.ask(10), cluster.ask(10)
    assert of(Withdraw, cluster.cancel(waiting)) == []
    told = cluster.cancel(placed)
    assert of(Withdraw, told) == [Withdraw("big", 1, placed, 1)]
    assert cluster.why(placed) is cluster.why(waiting) is Why.CANCELLED
    assert cluster.where(next_one) == "big"


def test_cancelling_what_runs_has_it_ended_and_room_returns_with_that(cluster: Cluster) -> None:
    request = cluster.run(10)
    for _ in range(2):
        assert cluster.cancel(request) == [Withdraw("big", 1, request, 1)]
    assert cluster.node("big").processes == 1
    cluster.end(request)
    assert cluster.node("big").processes == 0
    assert cluster.cancel(request) == [], "it is not started again"


def test_a_request_that_comes_after_its_cancellation_is_not_done(cluster: Cluster) -> None:
    request = cluster.next()
    cluster.cancel(request)
    (refusal,) = cluster.say(Requested(request, "p", amount(1)))
    assert isinstance(refusal, Refuse)
    assert refusal.why is Why.CANCELLED
    assert cluster.cancel(request) == [refusal]


def test_with_its_asker_goes_what_has_not_started(cluster: Cluster) -> None:
    running = cluster.run(4)
    starting = cluster.ask(4)
    cluster.confirm(starting)
    placed = cluster.ask(6)
    waiting = cluster.ask(4)
    other = cluster.ask(10, asker="b")
    told = cluster.say(AskerGone("a"))
    assert {each.request for each in of(Withdraw, told)} == {starting, placed}
    assert cluster.where(other) == "big"
    assert cluster.node("small").processes == 1
    assert cluster.scheduler.room(waiting) is None
    cluster.end(running)
    assert cluster.node("small").processes == 0
    assert cluster.say(AskerGone("a")) == []


def test_an_asker_that_is_done_is_forgotten(cluster: Cluster) -> None:
    running, over = cluster.run(4), cluster.run(4)
    cluster.ask(11)
    cluster.end(over)
    askers = cluster.scheduler._requests.askers
    assert running.asker in askers
    assert cluster.say(AskerDone(running.asker)) == []
    assert len(askers) == 0
    # What runs does so to its end, and takes its room until then.
    assert cluster.node("small").processes == 1
    cluster.end(running)
    assert cluster.node("small").processes == 0
    assert len(askers) == 0


def test_an_asker_that_comes_back_takes_the_place_of_what_it_had(cluster: Cluster) -> None:
    old = cluster.run(2)
    assert cluster.where(old) == "small"
    cluster.say(AskerGone("a"))
    told = cluster.say(Requested(old, "p", amount(2)))
    assert of(Withdraw, told) == [Withdraw("small", 1, old, 1)]
    assert of(Place, told) == [Place(old, 2, "p", amount(2), "small", 1)]
    assert topics(told) == [Topic.PROCESS_EXITED]
    assert cluster.node("small").processes == 2
    cluster.say(Exited("small", 1, old, 1))
    assert cluster.node("small").processes == 1
    cluster.start(old)


def test_nothing_more_is_started_for_a_program_that_has_ended(cluster: Cluster) -> None:
    running = cluster.run(4)
    placed = cluster.ask(10)
    waiting = cluster.ask(10)
    other = cluster.ask(10, program="q")
    told = cluster.say(ProgramEnded("p"))
    assert of(Withdraw, told) == [Withdraw("big", 1, placed, 1)]
    assert cluster.why(placed) is cluster.why(waiting) is Why.ENDED
    assert cluster.where(other) == "big"
    assert topics(told) == [Topic.PROGRAM_ENDED]
    cluster.end(running)
    assert cluster.say(ProgramEnded("p")) == []


def test_a_deadlocked_request_is_refused_with_the_chain(cluster: Cluster) -> None:
    cluster.run(10)
    waiting = cluster.ask(10)
    (refusal,) = cluster.say(Deadlocked(waiting, "a waits for b"))
    assert refusal == Refuse(waiting, Why.DEADLOCK, "a waits for b")
    placed = cluster.ask(4)
    assert cluster.say(Deadlocked(placed, "it was placed meanwhile")) == []


# -- what cannot be known yet


def test_while_no_node_is_known_everything_waits() -> None:
    cluster = Cluster()
    fits, never = cluster.ask(4), cluster.ask(400)
    assert cluster.waits(fits)
    assert cluster.waits(never)
    assert cluster.answers[never] == Queue(never, missing=True)
    assert cluster.why(cluster.ask(4, wait=False)) is Why.NOT_NOW
    cluster.join("n", 10)
    assert cluster.where(fits) == "n"
    assert cluster.why(never) is Why.NEVER


def test_nothing_is_called_impossible_before_the_expected_nodes_have_joined() -> None:
    cluster = Cluster(expected=["small", "big"])
    cluster.join("small", 4)
    fits, never = cluster.ask(10), cluster.ask(11)
    assert cluster.waits(fits)
    assert cluster.waits(never)
    cluster.join("big", 10)
    assert cluster.where(fits) == "big"
    assert cluster.why(never) is Why.NEVER


@pytest.mark.parametrize("tick", [True, False])
def test_nor_before_they_had_ten_seconds_to_join(tick: bool) -> None:
    cluster = Cluster(expected=["small", "big"])
    cluster.join("small", 4)
    cluster.now += 5
    never = cluster.ask(10)
    if tick:
        cluster.wait(4.9)
        assert cluster.waits(never)
        cluster.wait(0.1)
    else:
        cluster.now += 5
        assert cluster.why(cluster.ask(10)) is Why.NEVER
    assert cluster.why(never) is Why.NEVER
    assert cluster.scheduler.deadline() is None


def test_what_is_published_of_programs(cluster: Cluster) -> None:
    request = cluster.next()
    told = cluster.say(Requested(request, "new", amount(1)))
    (published,) = of(Publish, told)
    assert (published.topic, published.program) == (Topic.PROGRAM_STARTED, "new")
    assert topics(cluster.say(Requested(cluster.next(), "new", amount(1)))) == []


def test_as_much_as_can_be_written_down_is_only_too_large(cluster: Cluster) -> None:
    request = cluster.next()
    cluster.say(Requested(request, "p", Amount(2**64 - 1, 2**52)))
    assert cluster.why(request) is Why.NEVER
    unknown = Cluster()
    assert unknown.waits(unknown.ask(2**64 - 1, 2**52 / 10**9))
    unknown.join("n", 10)
