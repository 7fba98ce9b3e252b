"""Clusters of several machines, and what networks do to them.

The machines are network namespaces (tests/support/hosts.py). They share a file system and the
process ids, which real ones do not: that traffic has crossed their cables is asserted.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import cluster as clusters
import hosts as machines
import pytest
from hosts import SIZES, Host, HostCluster

TIMEOUT = 4.0


def write(directory: Path, text: str) -> Path:
    path = directory / "program" / "program.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text("from constellation import *\n" + textwrap.dedent(text))
    return path


@pytest.fixture(scope="module")
def network() -> Iterator[list[Host]]:
    with machines.network() as hosts:
        yield hosts


Make = Callable[..., HostCluster]


def make(directory: Path, hosts: list[Host], **options: object) -> HostCluster:
    directory.mkdir(exist_ok=True)
    return HostCluster(directory, SIZES, "", TIMEOUT, hosts=hosts, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shared(network: list[Host], tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostCluster]:
    """A cluster for tests that leave it as it was. Its bridge is on the second machine.

    Its services listen at all addresses, so each is reached at one that it was told of.
    """
    directory = tmp_path_factory.mktemp("cluster")
    made = make(directory, network, bound="0.0.0.0", bridge_at=2, client=3)
    with clusters.running(made):
        yield made


@pytest.fixture
def cluster(shared: HostCluster) -> Iterator[HostCluster]:
    yield shared
    shared.settle()


# -- addresses ------------------------------------------------------------------------------------

# Three processes, one on each machine, each of which sends both others an array and many values.
ALL_TO_ALL = """
BIG = Resources(mem="900 MiB", cpu=0.5)
SIZE = 4 << 20

def whole():
    return bytes(SIZE)

def talk(others):
    for other in others:
        Sender(other, name="array").send(whole()).block()
        Sender(other, name="values").send_many(range(1000)).block()
    for other in others:
        assert bytes(Receiver(other, name="array").recv().block()) == bytes(whole())
        values = Receiver(other, name="values")
        assert [values.recv().block() for _ in range(1000)] == list(range(1000))

def child(parent):
    talk([parent, Receiver(parent).recv().block()])
    print("well")

def main():
    init(BIG)
    one, other = [spawn(child, resources=BIG).block() for _ in range(2)]
    Sender(one).send(other).block()
    Sender(other).send(one).block()
    talk([one, other])
    print(*(each.endpoint.rpartition(":")[0] for each in (pid(), one, other)))

main()
"""
SENT = 4 * (4 << 20)
"""The bytes of arrays that each of the three sends or receives."""


def check_all_to_all(cluster: HostCluster, directory: Path, program: str = ALL_TO_ALL) -> None:
    """Run the program, and see that it has used all machines and their cables."""
    before = [host.transferred() for host in cluster.hosts]
    done = cluster.run(write(directory, program))
    tree = done.tree
    assert done.code == 0
    assert [child.out for child in tree.children] == [b"well\n"] * 2
    expected = {f"tcp://{cluster.host(host.number)}" for host in cluster.hosts}
    assert set(tree.out.decode().split()) == expected
    after = [host.transferred() for host in cluster.hosts]
    for one, other in zip(before, after, strict=True):
        assert other - one > SENT, "they have talked over the network"


def test_arrays_between_three_machines(cluster: HostCluster, tmp_path: Path) -> None:
    made = ALL_TO_ALL.replace("bytes(SIZE)", "np.full(SIZE, 7, dtype='u1')")
    check_all_to_all(cluster, tmp_path, "import numpy as np" + made)


def test_only_ipv6(tmp_path: Path) -> None:
    with (
        machines.network(version=6) as hosts,
        clusters.running(make(tmp_path / "cluster", hosts, reached="address6")) as cluster,
    ):
        check_all_to_all(cluster, tmp_path)
        assert f"[{hosts[1].address6}]:9999" in cluster.tool("status").stdout


def test_host_names(network: list[Host], tmp_path: Path) -> None:
    machines.name_hosts(network, [f"{host.address} host{host.number}" for host in network])
    made = make(tmp_path / "cluster", network, reached="name", bound="[::]", port=9001)
    with clusters.running(made) as cluster:
        check_all_to_all(cluster, tmp_path)
