from __future__ import annotations

import pytest
from scheduling import Cluster, amount, of, topics

from constellation.control.messages import Status
from constellation_daemons.master.events import (
    AskerDone,
    AskerGone,
    Exited,
    NodeJoined,
    NodeLeaving,
    NodeLost,
    Report,
    Requested,
    Told,
)
from constellation_daemons.master.instructions import (
    Admit,
    Fence,
    Lost,
    Place,
    Publish,
    Queue,
    Release,
    Topic,
    Why,
    Withdraw,
)
from constellation_daemons.master.jobs import SchedulerError
from constellation_daemons.master.values import Amount, RequestId


@pytest.fixture
def cluster() -> Cluster:
    """One node of 10."""
    cluster = Cluster()
    cluster.join("n", 10)
    return cluster


def report(number: int, mem: int = 4, *, pid: str | None = "aa", attempt: int = 1) -> Report:
    return Report(RequestId("a", number), attempt, "p", amount(mem), pid)


# -- joining


def test_a_node_that_joins_is_filled() -> None:
    cluster = Cluster()
    waiting = [cluster.ask(4) for _ in range(3)]
    told = cluster.join("n", 10)
    assert told[0] == Admit("n", 1)
    assert topics(told) == [Topic.NODE_JOINED]
    assert [cluster.where(request) for request in waiting] == ["n", "n", None]


def test_what_a_node_reports_is_in_the_accounts_of_a_new_master() -> None:
    cluster = Cluster()
    cluster.join("n", 10, reports=[report(1), report(2, pid=None)])
    assert (cluster.node("n").free, cluster.node("n").processes) == (amount(2, 100), 2)
    cluster.number = 2
    assert cluster.waits(cluster.ask(4))
    # And the requests are not done again.
    (place,) = cluster.say(Requested(RequestId("a", 1), "p", amount(4)))
    assert place == Place(RequestId("a", 1), 1, "p", amount(4), "n", 1)
    cluster.say(Exited("n", 1, RequestId("a", 1), 1))
    assert cluster.node("n").processes == 2


def test_a_request_that_waits_at_a_new_master_is_found_on_the_node_that_has_it() -> None:
    cluster = Cluster()
    request = cluster.ask(4)
    assert cluster.waits(request)
    told = cluster.join("n", 10, reports=[report(1, attempt=3)])
    assert of(Place, told) == [Place(request, 3, "p", amount(4), "n", 1)]
    assert cluster.node("n").processes == 1


def test_what_a_new_master_has_placed_elsewhere_is_ended_where_it_was() -> None:
    cluster = Cluster()
    cluster.join("other", 10)
    request = cluster.run(4)
    told = cluster.join("n", 10, reports=[report(1)])
    assert of(Withdraw, told) == [Withdraw("n", 1, request, 1)]
    assert cluster.where(request) == "other"
    # It takes room until it is ended.
    assert cluster.node("n").free == amount(6, 100)
    cluster.say(Exited("n", 1, request, 1))
    assert cluster.node("n").free == amount(10, 100)
    assert cluster.node("other").processes == 1


def test_a_request_may_be_placed_where_an_old_attempt_of_it_is_being_ended() -> None:
    cluster = Cluster()
    cluster.join("other", 4)
    request = cluster.ask(4)
    cluster.join("n", 10, reports=[report(1, attempt=5)])
    cluster.lose("other")
    place = cluster.placed(request)
    assert (place.node, place.attempt) == ("n", 6)
    assert cluster.node("n").processes == 2
    cluster.say(Exited("n", 1, request, 5))
    assert cluster.node("n").processes == 1
    cluster.start(request)


def test_a_report_may_hold_more_than_the_node_has_now() -> None:
    cluster = Cluster()
    cluster.join("n", 6, reports=[report(1), report(2)])
    assert cluster.node("n").free == Amount(-2, 100 * 10**9)
    cluster.number = 2
    request = cluster.ask(0)
    assert cluster.waits(request)
    cluster.say(Exited("n", 1, RequestId("a", 1), 1))
    assert cluster.where(request) == "n"


def test_a_repeated_join_changes_nothing(cluster: Cluster) -> None:
    started, confirmed, placed = cluster.run(2), cluster.ask(2), cluster.ask(2)
    cluster.confirm(confirmed)
    reports = [report(1, 2, pid=f"{1:032x}"), report(2, 2, pid=None)]
    assert cluster.join("n", 10, reports=reports) == [Admit("n", 1)]
    assert cluster.node("n").processes == 3
    # The accounts follow the report in what the node has confirmed.
    told = cluster.join("n", 10, reports=[report(2, 2)])
    assert topics(told) == [Topic.PROCESS_EXITED, Topic.PROCESS_SPAWNED]
    assert cluster.node("n").processes == 2
    assert {cluster.where(each) for each in (started, confirmed, placed)} == {"n"}


def test_a_node_that_starts_anew_has_lost_what_it_had(cluster: Cluster) -> None:
    running = cluster.run(4)
    placed = cluster.ask(4)
    told = cluster.join("n", 10, incarnation=2)
    assert of(Lost, told) == [Lost("a", "n", 1, (running.number,))]
    assert cluster.placed(placed).incarnation == 2
    assert cluster.node("n").processes == 1
    assert cluster.join("n", 10, incarnation=1) == []


# -- loss


def test_a_lost_node_takes_its_processes_and_what_was_not_started_goes_elsewhere(
    cluster: Cluster,
) -> None:
    running = [cluster.run(2), cluster.run(2)]
    of_other = cluster.run(2, asker="b")
    starting = cluster.ask(4)
    cluster.confirm(starting)
    cluster.join("other", 10)
    told = cluster.lose("n")
    assert of(Lost, told) == [
        Lost("a", "n", 1, tuple(request.number for request in running)),
        Lost("b", "n", 1, (of_other.number,)),
    ]
    assert topics(told) == [Topic.NODE_LOST, *[Topic.PROCESS_EXITED] * 3]
    assert {each.status for each in of(Publish, told)[1:]} == {Status(lost="node n")}
    assert cluster.placed(starting).node == "other"
    assert cluster.placed(starting).attempt == 2
    assert cluster.node("n").state == "lost"
    assert cluster.lose("n") == []


def test_nothing_is_placed_on_a_lost_node(cluster: Cluster) -> None:
    cluster.lose("n")
    assert cluster.waits(cluster.ask(1))


def test_requests_that_only_the_lost_node_could_hold_wait_for_it() -> None:
    cluster = Cluster()
    cluster.join("big", 10)
    cluster.join("small", 4)
    cluster.run(10)
    before = cluster.ask(10)
    cluster.lose("big")
    after = cluster.ask(9)
    assert cluster.answers[after] == Queue(after, missing=True)
    cluster.wait_renewing(1000)
    assert cluster.waits(before)
    (nine, ten) = sorted(cluster.scheduler.snapshot().waiting, key=lambda size: size.need)
    assert nine.reason == ten.reason
    assert nine.reason == "waits for a lost node to come back: no other is large enough"
    # More than that one has is impossible all the same.
    assert cluster.why(cluster.ask(11)) is Why.NEVER
    cluster.join("big", 10, incarnation=2)
    assert cluster.where(before) == "big"


def test_a_node_that_has_left_is_not_waited_for() -> None:
    cluster = Cluster()
    cluster.join("big", 10)
    cluster.join("small", 4)
    cluster.run(10)
    waiting = cluster.ask(10)
    cluster.leave("big")
    # What waits already is not refused: that could not be taken back.
    assert cluster.waits(waiting)
    assert cluster.why(cluster.ask(10)) is Why.NEVER
    (size,) = cluster.scheduler.snapshot().waiting
    assert size.reason == "waits for a node that is large enough"


# -- fences


def test_a_lost_node_that_comes_back_ends_what_was_told_to_be_lost(cluster: Cluster) -> None:
    lost = cluster.run(4)
    cluster.lose("n")
    told = cluster.join("n", 10, reports=[report(lost.number)])
    assert told == [Fence("n", 1, ("p",))]
    assert cluster.node("n").state == "lost"
    assert cluster.join("n", 10)[0] == Admit("n", 1)
    assert cluster.node("n").processes == 0


def test_who_is_gone_was_told_nothing(cluster: Cluster) -> None:
    """It may be the master that was cut off: then the program goes on."""
    lost = cluster.run(4)
    cluster.lose("n")
    cluster.say(AskerGone("a"))
    told = cluster.join("n", 10, reports=[report(lost.number)])
    assert of(Fence, told) == []
    assert cluster.node("n").processes == 1
    # It comes back, and says what it believes.
    assert cluster.say(Told("p", "n", 1)) == [Fence("n", 1, ("p",))]


def test_who_is_done_was_told(cluster: Cluster) -> None:
    """What it had there is not to be taken for a program that begins."""
    lost = cluster.run(4)
    cluster.lose("n")
    cluster.say(AskerDone("a"))
    assert cluster.join("n", 10, reports=[report(lost.number)]) == [Fence("n", 1, ("p",))]


def test_who_was_gone_before_the_node_was_told_nothing_either(cluster: Cluster) -> None:
    lost = cluster.run(4)
    cluster.say(AskerGone("a"))
    cluster.lose("n")
    assert of(Fence, cluster.join("n", 10, reports=[report(lost.number)])) == []
    assert cluster.node("n").processes == 1


def test_what_was_not_started_is_not_fenced_but_withdrawn(cluster: Cluster) -> None:
    request = cluster.ask(4)
    cluster.confirm(request)
    cluster.join("other", 10)
    cluster.lose("n")
    told = cluster.join("n", 10, reports=[report(request.number)])
    assert of(Fence, told) == []
    assert of(Withdraw, told) == [Withdraw("n", 1, request, 1)]
    assert cluster.where(request) == "other"


def test_a_new_master_learns_from_bridges_what_was_told() -> None:
    cluster = Cluster()
    cluster.say(Told("p", "n", 1))
    cluster.say(Told("q", "n", 1))
    assert cluster.join("n", 10, reports=[report(1)]) == [Fence("n", 1, ("p",))]
    # Anew it has nothing to end.
    assert cluster.join("n", 10, incarnation=2)[0] == Admit("n", 2)


def test_a_node_that_has_joined_ends_it_as_well() -> None:
    cluster = Cluster()
    cluster.join("n", 10, reports=[report(1)])
    assert cluster.say(Told("p", "n", 1)) == [Fence("n", 1, ("p",))]
    assert cluster.say(Told("q", "n", 1)) == []
    assert cluster.node("n").processes == 1
    cluster.say(Exited("n", 1, RequestId("a", 1), 1))
    assert cluster.node("n").processes == 0


def test_what_was_told_of_an_older_incarnation_is_of_the_past() -> None:
    cluster = Cluster()
    cluster.join("n", 10, incarnation=2, reports=[report(1)])
    assert cluster.say(Told("p", "n", 1)) == []


# -- leaving


def test_a_node_that_leaves_ends_what_it_has_and_gets_nothing_new(cluster: Cluster) -> None:
    running = cluster.run(4)
    assert topics(cluster.leave("n")) == [Topic.NODE_LEAVING]
    assert cluster.leave("n") == []
    waiting = cluster.ask(4)
    assert cluster.waits(waiting)
    told = cluster.end(running)
    assert of(Release, told) == [Release("n", 1)]
    assert topics(told) == [Topic.PROCESS_EXITED, Topic.NODE_LEFT]
    assert cluster.scheduler.snapshot().nodes == ()
    cluster.join("n", 10, incarnation=2)
    assert cluster.where(waiting) == "n"


def test_an_empty_node_may_go_at_once(cluster: Cluster) -> None:
    assert of(Release, cluster.leave("n")) == [Release("n", 1)]


def test_a_node_may_stay_after_all(cluster: Cluster) -> None:
    running = cluster.run(4)
    cluster.leave("n")
    waiting = cluster.ask(4)
    told = cluster.join("n", 10, reports=[report(1, pid=f"{1:032x}")])
    assert told[0] == Admit("n", 1)
    assert cluster.where(waiting) == "n"
    cluster.end(running)
    assert cluster.node("n").state == "joined"


def test_a_lost_node_may_leave(cluster: Cluster) -> None:
    cluster.lose("n")
    assert topics(cluster.leave("n")) == [Topic.NODE_LEFT]
    assert cluster.scheduler.snapshot().nodes == ()


def test_a_leaving_node_may_be_lost(cluster: Cluster) -> None:
    request = cluster.run(4)
    cluster.leave("n")
    assert of(Lost, cluster.lose("n")) == [Lost("a", "n", 1, (request.number,))]
    assert cluster.node("n").state == "lost"


# -- what cannot be


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (NodeLost("stranger", 1), "is not known"),
        (NodeLeaving("stranger", 1), "is not known"),
        (NodeLost("n", 2), "is known in 1"),
        (NodeJoined("n", 1, amount(11)), "in a new incarnation"),
        (NodeJoined("m", 1, Amount(-1, 0)), "which no machine has"),
        (NodeJoined("m", 1, amount(9), (report(7), report(7))), "twice"),
        (NodeJoined("m", 1, amount(9), (report(7, -1),)), "has to be possible"),
        (NodeJoined("m", 1, amount(9), (report(7, attempt=0),)), "counts from 1"),
        (NodeJoined("m", 1, amount(9), (report(1, 3),)), "it was placed with 4 B"),
        (
            NodeJoined(
                "m",
                1,
                amount(9),
                tuple(
                    Report(RequestId("b", number), 1, "p", Amount(1, 2**52), None)
                    for number in range(1025)
                ),
            ),
            "reports 4.6.*e.09 cores",
        ),
    ],
)
def test_what_cannot_be_is_an_error(cluster: Cluster, wrong: NodeJoined, text: str) -> None:
    cluster.run(4)
    before = cluster.scheduler.snapshot()
    with pytest.raises(SchedulerError, match=text):
        cluster.say(wrong)
    assert cluster.scheduler.snapshot() == before


def test_what_an_older_incarnation_is_said_to_do_is_dropped(cluster: Cluster) -> None:
    cluster.join("n", 10, incarnation=2)
    assert cluster.lose("n", 1) == []
    assert cluster.leave("n", 1) == []
    assert cluster.node("n").state == "joined"


def test_two_nodes_that_report_the_same_are_told_apart(cluster: Cluster) -> None:
    """Its asker has long had the answer, and it is found on two nodes: each is in the accounts."""
    request = cluster.run(4)
    cluster.ask(1, answered=2)
    cluster.join("m", 10, reports=[report(1, pid=None)])
    cluster.end(request)
    assert cluster.node("m").processes == 1
    cluster.say(Exited("m", 1, request, 1))
    assert cluster.node("m").processes == 0
