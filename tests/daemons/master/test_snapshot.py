from __future__ import annotations

import msgspec
from scheduling import Cluster, amount

from constellation_daemons.master.instructions import Publish
from constellation_daemons.master.snapshot import NodeView, Snapshot, WaitingView


def test_everything_at_one_moment() -> None:
    cluster = Cluster()
    cluster.join("n2", 10, 4)
    cluster.join("n1", 4, 4)
    cluster.run(8, 1)
    cluster.leave("n1")
    first = cluster.ask(4)
    cluster.ask(4)
    cluster.wait_renewing(3)
    snapshot = cluster.scheduler.snapshot()
    assert snapshot.nodes == (NodeView("n2", 1, "joined", amount(10, 4), amount(2, 3), 1, None),)
    assert snapshot.waiting == (WaitingView(amount(4), 2, first, 3.0, "waits for room"),)
    assert snapshot.programs == ("p",)


def test_what_is_published_continues_it() -> None:
    cluster = Cluster()
    cluster.join("n", 10)
    sequence = cluster.scheduler.snapshot().sequence
    (published,) = [each for each in cluster.lose("n") if isinstance(each, Publish)]
    assert published.sequence == sequence + 1


def test_it_travels() -> None:
    cluster = Cluster()
    cluster.join("n", 10)
    cluster.run(10)
    cluster.ask(4)
    snapshot = cluster.scheduler.snapshot()
    encoded = msgspec.msgpack.encode(snapshot)
    assert msgspec.msgpack.decode(encoded, type=Snapshot) == snapshot
