"""Strangers at the ports where the processes of deployed programs listen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cluster as clusters
import pytest
import strangers
from cluster import Cluster, Size, write

from constellation.address import Address

KINDS = [
    "random bytes",
    "an HTTP request",
    "a DEALER in the open",
    "a DEALER with an unknown key",
    "a DEALER for another server",
    "a pickle bomb",
]

#: A process on the second node, which has room for it, says where it is and echoes until the end.
PROGRAM = """
    import time

    from constellation.channel import context

    def child(parent):
        router = context.current().transport._router
        while router.monitor_fd < 0:
            time.sleep(0.01)  # it watches its port when it has run for a moment
        key = router._security._keypair.public.decode()
        Sender(parent).send((str(pid()), pid().endpoint, key)).block()
        receiver, sender = Receiver(parent, name="there"), Sender(parent, name="back")
        for value in receiver:
            sender.send(value).block()

    def main():
        init(Resources(mem="100 MiB", cpu=0.1))
        remote = spawn(child, resources=Resources(mem="900 MiB", cpu=0.1)).block()
        print(*Receiver(remote).recv().block(), sep="\\n", end="\\n\\n", flush=True)
        sender, receiver = Sender(remote, name="there"), Receiver(remote, name="back")
        while line := input():
            sender.send(line).block()
            print(receiver.recv().block(), flush=True)

    main()
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    sizes = (Size("256 MiB", 1), Size("1 GiB", 1))
    with clusters.cluster(tmp_path_factory.mktemp("cluster"), sizes=sizes) as made:
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    yield shared
    shared.settle()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_gets_nothing_and_is_in_the_log_of_the_node(
    cluster: Cluster, kind: str, tmp_path: Path
) -> None:
    directory = tmp_path / "program"
    directory.mkdir()
    with cluster.start(write(directory, PROGRAM), stdin=True) as running:
        running.until(lambda: running.output().endswith(b"\n\n"))
        pid, endpoint, key = running.output().decode().split("\n", 3)[:3]
        address = Address.parse(endpoint.removeprefix("tcp://"))
        assert address.host == cluster.host(2)
        with strangers.STRANGERS[kind](address, key.encode(), tmp_path) as received:
            running.say(b"meanwhile\n")
            running.until(lambda: running.output().endswith(b"meanwhile\n"))
        assert strangers.no_more_than_greeted(received)
        cluster.wait_for_log(
            cluster.node(2), f"at port {address.port} (process {pid} of program.py): "
        )
        running.say(b"after\n\n")
        assert running.wait() == 0, running.err
    assert running.output().endswith(b"\nmeanwhile\nafter\n")
    assert running.output(2) == b"", "it is not for the user of the program"
    assert not (tmp_path / strangers.BOOM).exists()
    told = [line for line in cluster.log(cluster.node(2)).splitlines() if f"process {pid} " in line]
    assert "turned away" in told[0]
    assert f"process {pid} " not in cluster.log(cluster.node(1))
    if kind == "a DEALER with an unknown key":
        assert told[0].endswith("its key is not one that is let in")
