"""Clusters of several machines, and what networks do to them.

The machines are network namespaces (tests/support/hosts.py). They share a file system and the
process ids, which real ones do not: that traffic has crossed their cables is asserted.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cluster as clusters
import hosts as machines
import programs
import pytest
from cluster import Size
from hosts import SIZES, Host, HostCluster

TIMEOUT = 5.0
SHORT = 4.0
CUT = 2.2
"""Seconds: of silence after which somebody is lost; the same where that is waited for; and for
which a cable may be cut without that, since a peer may have been silent for a second before."""


def write(directory: Path, text: str) -> Path:
    path = directory / "program" / "program.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text("from constellation import *\n" + textwrap.dedent(text))
    return path


@pytest.fixture(scope="module")
def network() -> Iterator[list[Host]]:
    with machines.network(4) as hosts:
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
    used = cluster.hosts[: len(cluster.sizes)]
    before = [host.transferred() for host in used]
    done = cluster.run(write(directory, program))
    tree = done.tree
    assert done.code == 0
    assert [child.out for child in tree.children] == [b"well\n"] * 2
    expected = {f"tcp://{cluster.host(host.number)}" for host in used}
    assert set(tree.out.decode().split()) == expected
    after = [host.transferred() for host in used]
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


# -- cables ---------------------------------------------------------------------------------------

MASTER, BRIDGE, NODE, CLIENT = 1, 2, 3, 4
"""The machines: the master's node is too small for what is large here."""


@pytest.fixture(scope="module")
def cut_often(
    network: list[Host], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HostCluster]:
    directory = tmp_path_factory.mktemp("cables")
    made = make(directory, network, bridge_at=BRIDGE, client=CLIENT, port=9101)
    made.sizes = (Size("512 MiB", 1), Size("1 GiB", 1), Size("1 GiB", 1))
    made.timeout = SHORT
    with clusters.running(made):
        yield made


@pytest.fixture
def cables(cut_often: HostCluster) -> Iterator[HostCluster]:
    yield cut_often
    for host in cut_often.hosts:
        host.plug()
    cut_often.wait_until_joined()
    cut_often.settle()


# All of three processes, one on each machine, send numbers to both others, and see that none is
# missing, until the initial one has read a line.
STREAMS = """
import sys, threading, time

SMALL = Resources(mem="300 MiB", cpu=0.2)
BIG = Resources(mem="900 MiB", cpu=0.2)
done = threading.Event()

def talk(others):
    senders = [threading.Thread(target=speak, args=(each,)) for each in others]
    for each in senders:
        each.start()
    for other in others:
        threading.Thread(target=listen, args=(other,)).start()
    for each in senders:
        each.join()

def speak(other):
    sender = Sender(other, name="numbers")
    number = 0
    while not done.is_set():
        sender.send(number).block()
        number += 1
        if not number % 50:
            time.sleep(0.005)
    sender.send(None).block()

def listen(other):
    receiver, expected, latest, longest = Receiver(other, name="numbers"), 0, time.monotonic(), 0
    while (number := receiver.recv().block()) is not None:
        assert number == expected, (number, expected)
        now = time.monotonic()
        latest, longest, expected = now, max(longest, now - latest), expected + 1
    print(f"{expected} {longest:.2f}")

def child(parent):
    others = Receiver(parent, name="others").recv().block()
    threading.Thread(target=wait_for_word, args=(parent,)).start()
    talk([parent, *others])

def wait_for_word(parent):
    Receiver(parent, name="word").recv().block()
    done.set()

def wait_for_line(children):
    print("all up", flush=True)
    sys.stdin.readline()
    for each in children:
        Sender(each, name="word").send("done").block()
    done.set()

def main():
    init(BIG)
    big, small = [spawn(child, resources=each).block() for each in (BIG, SMALL)]
    Sender(big, name="others").send([small]).block()
    Sender(small, name="others").send([big]).block()
    threading.Thread(target=wait_for_line, args=([big, small],)).start()
    talk([big, small])

main()
"""


def the_tree(running: programs.Running) -> programs.Node:
    """The processes; what is said of the cable is left out."""
    return programs.tree_of([event for event in running.events if event["event"] != "error"])


def all_up(running: programs.Running) -> None:
    running.until(lambda: b"all up" in running.output())


@pytest.mark.parametrize("number", [BRIDGE, NODE])
def test_a_cable_that_is_mended_in_time(cables: HostCluster, tmp_path: Path, number: int) -> None:
    with cables.start(write(tmp_path, STREAMS), stdin=True) as running:
        all_up(running)
        running.for_a_while(0.3)
        with cables.hosts[number - 1].unplugged():
            running.for_a_while(CUT)
        running.for_a_while(1.5)
        running.say(b"done\n")
        assert running.wait() == 0, running.err
    tree = the_tree(running)
    lines = [line.split() for node in tree.all() for line in node.out.decode().splitlines()]
    counts = [(int(count), float(longest)) for count, longest in lines if count != "all"]
    assert len(counts) == 6
    assert sum(longest > CUT * 0.9 for _, longest in counts) == 4, "who was cut off has waited"
    assert all(count > 500 for count, _ in counts)


# A process on the machine that is cut off, and one that waits for it.
WATCHED = """
import sys

BIG = Resources(mem="900 MiB", cpu=0.2)

def child(parent):
    print("on", pid().endpoint, flush=True)
    Receiver(parent).recv().block()

def main():
    init(BIG)
    print("on", pid().endpoint, flush=True)
    other = spawn(child, resources=BIG).block()
    try:
        Receiver(other).recv().block()
    except ProcessExited as error:
        print(error.status.lost or error.status.cause)

main()
"""


def both_up(running: programs.Running) -> None:
    running.until(lambda: running.output().count(b"on tcp://") == 2)


def services(host: Host) -> list[int]:
    """What runs on a machine; where no program does, the node, and the bridge where one is."""
    return sorted(pid for pid in host.processes() if programs.alive(pid))


def test_a_machine_that_is_cut_off_is_lost(cables: HostCluster, tmp_path: Path) -> None:
    far = cables.hosts[NODE - 1]
    before = services(far)
    with cables.start(write(tmp_path, WATCHED)) as running:
        both_up(running)
        assert len(services(far)) > len(before)
        cut = time.monotonic()
        with far.unplugged():
            running.wait()
            told = time.monotonic() - cut
            while services(far) != before:
                assert time.monotonic() - cut < SHORT + 4, "they end by themselves"
                time.sleep(0.05)
            cables.wait_for(lambda: cables.states()[cables.node(NODE)] == "lost")
    assert told < SHORT + 3
    ends = {str(node.end) for node in the_tree(running).all()}
    assert any(end.startswith(f"lost: node {cables.node(NODE)}") for end in ends), ends


def test_the_machine_of_the_bridge_is_cut_off(cables: HostCluster, tmp_path: Path) -> None:
    hosts = cables.hosts
    before = [services(host) for host in hosts]
    with cables.start(write(tmp_path, WATCHED)) as running:
        both_up(running)
        cut = time.monotonic()
        with hosts[BRIDGE - 1].unplugged():
            assert running.wait() == 101
            while [services(host) for host in hosts] != before:
                assert time.monotonic() - cut < SHORT + 5, "all of it ends"
                time.sleep(0.05)
    ends = {node.end for node in the_tree(running).all()}
    assert ends == {"lost: the bridge is lost"}


def test_the_machine_of_the_master_is_cut_off(cables: HostCluster, tmp_path: Path) -> None:
    """What runs goes on; a process that is asked for meanwhile waits until there is a master."""
    path = write(
        tmp_path,
        """
        import sys

        BIG = Resources(mem="900 MiB", cpu=0.2)
        SMALL = Resources(mem="50 MiB", cpu=0.1)

        def echo(parent):
            sender, receiver = Sender(parent), Receiver(parent)
            for value in receiver:
                sender.send(value).block()

        def third(parent):
            Sender(parent).send("third").block()

        def main():
            init(BIG)
            other = spawn(echo, resources=BIG).block()
            sender, receiver = Sender(other), Receiver(other)
            print("all up", flush=True)
            for line in sys.stdin:
                sender.send(line).block()
                print("echo", receiver.recv().block(), end="", flush=True)
            print(Receiver(spawn(third, resources=SMALL).block()).recv().block())
            sender.close()

        main()
        """,
    )
    with cables.start(path, stdin=True) as running:
        all_up(running)
        with cables.hosts[MASTER - 1].unplugged():
            for number in range(3):
                running.for_a_while(SHORT / 2)
                running.say(b"%d\n" % number)
                running.until(lambda n=number: b"echo %d\n" % n in running.output())  # type: ignore[misc]
            running.close_stdin()
            running.for_a_while(0.3)
            assert b"third" not in running.output()
        assert running.wait() == 0, running.err
    assert the_tree(running).out.endswith(b"echo 2\nthird\n")


def test_the_machine_of_the_client_is_cut_off(cables: HostCluster, tmp_path: Path) -> None:
    hosts = cables.hosts
    before = [services(host) for host in hosts]
    with cables.start(write(tmp_path, WATCHED)) as running:
        both_up(running)
        cut = time.monotonic()
        with hosts[CLIENT - 1].unplugged():
            while [services(host) for host in hosts[:3]] != before[:3]:
                assert time.monotonic() - cut < SHORT + 4, "the program ends without its client"
                time.sleep(0.05)
            assert running.wait() == 101
    assert {node.end for node in the_tree(running).all()} == {"lost: the bridge is lost"}
