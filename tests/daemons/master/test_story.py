from __future__ import annotations

import pickle

import pytest
from scheduling import Cluster

from constellation_daemons.master.events import NodeLost
from constellation_daemons.master.jobs import SchedulerError
from constellation_daemons.master.scheduler import Scheduler


def test_a_line_for_each_event_and_each_instruction() -> None:
    cluster = Cluster()
    cluster.join("n", 10)
    cluster.ask(4)
    cluster.wait(2)
    lines = cluster.scheduler.story()
    assert [line.split("(")[0] for line in lines] == [
        "1024.000 < NodeJoined",
        "1024.000 > Admit",
        "1024.000 > Publish",
        "1024.000 < Requested",
        "1024.000 > Publish",
        "1024.000 > Place",
        "1026.000 < tick",
        "1026.000 > Withdraw",
        "1026.000 > Place",
    ]


def test_it_is_bounded() -> None:
    cluster = Cluster()
    cluster.join("n", 10**6)
    for _ in range(300):
        cluster.run(1, asker="a")
    assert len(cluster.scheduler.events()) == 200
    cluster.lose("n")
    assert cluster.scheduler.story()[-1].endswith(f"> and {300 + 2 - 8} more")


def test_an_error_tells_it_and_pickles() -> None:
    cluster = Cluster()
    cluster.join("n", 10)
    with pytest.raises(SchedulerError) as caught:
        cluster.say(NodeLost("m", 1))
    error = pickle.loads(pickle.dumps(caught.value))
    assert str(error) == "node m is not known, so it cannot go in its incarnation 1"
    assert error.story == cluster.scheduler.story()


def test_it_can_be_replayed() -> None:
    cluster = Cluster()
    cluster.join("n", 10)
    requests = [cluster.ask(4) for _ in range(4)]
    cluster.start(requests[0])
    cluster.wait_renewing(25)
    cluster.end(requests[0])
    other = Scheduler(1024.0)
    for now, event in cluster.scheduler.events():
        if event is None:
            other.tick(now)
        else:
            other.handle(event, now)
    assert other.snapshot() == cluster.scheduler.snapshot()
    assert other.story() == cluster.scheduler.story()
