"""Clusters of several machines, and what networks do to them.

The machines are network namespaces (tests/support/hosts.py). They share a file system and the
process ids, which real ones do not: that traffic has crossed their cables is asserted.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import cluster as clusters
import hosts as machines
import programs
import pytest
import strangers
from cluster import Cluster, Size, write
from hosts import SIZES, Host, HostCluster
from tcp_proxy import TcpProxy

from constellation.address import Address
from constellation.security.key_file import ensure_key_file, make_key_file

PORTS = range(40000, 40006)
"""Of processes on the third machine of one cluster, which is the smallest and so preferred."""
TIMEOUT = 5.0
SHORT = 3.5
CUT = 1.0
"""Seconds: of silence after which somebody is lost; the same where that is waited for; and for
which a cable may be cut without that: a peer may have been silent for a second before, and the
system may take almost another one to send again what was lost."""


def stopped(pid: int) -> bool:
    """Whether a process is stopped."""
    state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    return state == b"T"


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
    ports = {3: [f'port_range = "{PORTS[0]}-{PORTS[-1]}"']}
    made = make(directory, network, bound="0.0.0.0", bridge_at=2, client=3, extra=ports)
    made.sizes = (Size("1 GiB", 1), Size("1 GiB", 1), Size("700 MiB", 1))
    with clusters.running(made):
        yield made


@pytest.fixture
def cluster(shared: HostCluster) -> Iterator[HostCluster]:
    yield shared
    shared.settle()


# -- addresses ------------------------------------------------------------------------------------

# Three processes, one on each machine, each of which sends both others an array and many values.
ALL_TO_ALL = """
BIG = Resources(mem="600 MiB", cpu=0.5)
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
    assert done.code == 0, done.err
    tree = programs.tree_of(done.events)
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
    made.insecure = True
    with clusters.running(made) as cluster:
        check_all_to_all(cluster, tmp_path)
        assert all("INSECURE" in cluster.log(name) for name in cluster.running)


# -- ports ----------------------------------------------------------------------------------------


def test_a_range_of_ports(cluster: HostCluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        import sys
        SMALL = Resources(mem="20 MiB", cpu=0.01)

        def child(parent):
            Receiver(parent).recv().block()

        def main():
            init(SMALL)
            children = []
            try:
                for _ in range(10):
                    children.append(spawn(child, resources=SMALL).block())
            except SpawnError as error:
                print(error)
            print(*(each.endpoint for each in [pid(), *children]), flush=True)
            sys.stdin.readline()
            Sender(children[0]).send(None).block()
            try:
                Receiver(children[0]).recv().block()
            except ProcessExited:
                Sender(spawn(child, resources=SMALL).block()).send(None).block()
            for each in children[1:]:
                Sender(each).send(None).block()

        main()
        """,
    )
    host = cluster.hosts[2]
    before = set(host.listening())
    with cluster.start(path, stdin=True) as running:
        running.until(lambda: running.output().count(b"\n") == 2)
        assert set(host.listening()) - before == set(PORTS)
        running.say(b"go on\n")
        assert running.wait() == 0, running.output(2)
    error, endpoints = running.tree.out.decode().splitlines()
    assert "all ports from 40000 to 40005 are in use; port_range may be wider" in error
    expected = {f"tcp://{cluster.host(3)}:{port}" for port in PORTS}
    assert set(endpoints.split()) <= expected
    assert len(endpoints.split()) >= len(PORTS) - 1, "one may be kept for who comes next"


def test_a_firewall_between_processes_is_told_of(cluster: HostCluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        def child(parent):
            print("made", flush=True)

        def main():
            init(Resources(mem="800 MiB", cpu=0.5))  # not on the third machine, which is too small
            spawn(child, resources=Resources(mem="600 MiB", cpu=0.1)).block()

        main()
        """,
    )
    host = cluster.hosts[2]
    with host.dropping(PORTS), cluster.start(path) as running:
        running.until(lambda: any(event["event"] == "error" for event in running.events), 15.0)
        (told,) = [each["message"] for each in running.events if each["event"] == "error"]
        arguments = ["--check", "--join", cluster.master, "0.0.0.0:9998"]
        arguments += ["--advertise", f"{cluster.host(1)}:9998"]
        checked = cluster.service("node", *arguments)
        running.process.terminate()
        running.wait()
    assert f"at {cluster.host(3)}:4000" in told
    assert "cannot connect to process" in told
    assert told.endswith("there is no answer. Is a firewall between them?")
    assert checked.returncode == 1
    reason = "its processes cannot be connected to: no answer at port 40000"
    assert f"node {cluster.node(3)}: {reason}" in checked.stdout
    assert "node " + cluster.node(2) + ": its" not in checked.stdout


def test_a_firewall_before_the_bridge_is_told_of(cluster: HostCluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        import asyncio
        BIG = Resources(mem="690 MiB", cpu=0.6)  # one on each of the first two machines

        def child(parent):
            Receiver(parent).recv().block()

        async def start():
            return await spawn(child, resources=BIG)

        async def both():
            return await asyncio.gather(start(), start(), return_exceptions=True)

        def main():
            init(Resources(mem="20 MiB", cpu=0.01))
            for each in asyncio.run(both()):
                if isinstance(each, Pid):
                    Sender(each).send(None).block()
                else:
                    print(type(each).__name__, each)

        main()
        """,
    )
    bridge, other = cluster.hosts[1], cluster.hosts[0]
    port = Address.parse(cluster.bridge).port
    with bridge.dropping(range(port, port + 1), to=other):
        done = cluster.run(path)
        arguments = ["--check", "--join", cluster.master, "0.0.0.0:9998"]
        arguments += ["--advertise", f"{cluster.host(1)}:9998"]
        checked = cluster.service("node", *arguments)
    reason = f"it does not reach the bridge: {cluster.bridge} does not answer: no connection within"
    assert (
        programs.tree_of(done.events)
        .out.decode()
        .startswith(f"SpawnError node {cluster.node(1)}: {reason} 10 s; ")
    )
    assert reason in cluster.log(cluster.node(1))
    assert checked.returncode == 1
    assert f"bridge {cluster.bridge}: {cluster.bridge} has not answered" in checked.stdout
    again = cluster.service("node", *arguments)
    assert f"bridge {cluster.bridge}: can be talked to" in again.stdout
    assert again.returncode == 0, again.stdout


# -- keys, and strangers --------------------------------------------------------------------------


def test_beyond_loopback_a_key_is_needed(cluster: HostCluster) -> None:
    here = cluster.node(1).replace("9999", "9500")
    words = ["-m", "constellation"]
    bare = {**cluster.environment, "XDG_CONFIG_HOME": str(cluster.directory / "nobody")}
    for command in (
        ["node", here],
        ["status", cluster.master],
        ["deploy", cluster.bridge, __file__],
    ):
        done = cluster.do(1, [*words, *command], bare)
        assert done.returncode == 2, done.stderr
        assert "constellation keygen" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


def test_who_has_another_key_gets_nothing(cluster: HostCluster, tmp_path: Path) -> None:
    other = str(tmp_path / "other.key")
    make_key_file(other)
    words = ["-m", "constellation"]
    asked = [*words, "status", "--key-file", other, cluster.master]
    deployed = [*words, "deploy", cluster.bridge, "--key-file", other, __file__]
    for command in (asked, deployed):
        done = cluster.do(4, command, cluster.environment)
        assert done.returncode == 1, done.stderr
        assert "key" in done.stderr
        assert "Traceback" not in done.stderr
    for address, node in ((cluster.master, cluster.node(1)), (cluster.bridge, cluster.node(2))):
        # The bridge logs it with its node. Who is gone before it is looked has no address any more.
        port = address.rpartition(":")[2]
        assert any(
            f"turned away {where} at port {port}: it did not speak CURVE as a peer does"
            in cluster.log(node)
            for where in (cluster.hosts[3].address, "an unknown address")
        )


def test_strangers_at_every_port(cluster: HostCluster, tmp_path: Path) -> None:
    public = ensure_key_file(cluster.key_file).public
    with cluster.start(write(tmp_path, STREAMS), stdin=True) as running:
        all_up(running)
        attacks = [
            (host, Address(host.address, port), stranger)
            for host in cluster.hosts
            for port in host.listening()
            for stranger in strangers.STRANGERS.values()
        ]

        def attack(host: Host, address: Address, stranger: strangers.Stranger) -> bytes:
            with host.inside(), stranger(address, public, tmp_path) as received:
                return received

        with ThreadPoolExecutor(24) as pool:
            received = list(pool.map(lambda each: attack(*each), attacks))
        assert len(attacks) >= 17 * (2 + 2 + 1 + 3), "services and processes"
        assert max(map(len, received)) <= 64, "at most a greeting"
        assert not (tmp_path / strangers.BOOM).exists(), "nothing was unpickled"
        running.say(b"done\n")
        assert running.wait() == 0, running.err
    for name in cluster.running:
        log = cluster.log(name)
        assert "turned away" in log, name
        assert "Traceback" not in log


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
        if not number % 10:
            time.sleep(0.02)
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
    try:
        Receiver(parent, name="word").recv().block()
    finally:
        done.set()

def wait_for_line(children):
    print("all up", flush=True)
    sys.stdin.readline()
    try:
        for each in children:
            Sender(each, name="word").send("done").block()
    finally:
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


def test_a_cable_that_is_mended_in_time(cables: HostCluster, tmp_path: Path) -> None:
    with cables.start(write(tmp_path, STREAMS), stdin=True) as running:
        all_up(running)
        running.for_a_while(0.3)
        for number in (BRIDGE, NODE):
            with cables.hosts[number - 1].unplugged():
                running.for_a_while(CUT)
            running.for_a_while(1.5)
        running.say(b"done\n")
        assert running.wait() == 0, (running.err, running.output(2))
    tree = the_tree(running)
    lines = [line.split() for node in tree.all() for line in node.out.decode().splitlines()]
    counts = [(int(count), float(longest)) for count, longest in lines if count != "all"]
    assert len(counts) == 6
    assert all(longest > CUT * 0.9 for _, longest in counts), "each stream was cut off, and waited"


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
                time.sleep(0.1)
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
                time.sleep(0.1)
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
                running.for_a_while(SHORT * 0.4)
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
                time.sleep(0.1)
            assert running.wait() == 101
    assert {node.end for node in the_tree(running).all()} == {"lost: the bridge is lost"}


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP])
def test_the_machine_of_a_stopped_client_is_cut_off(
    cables: HostCluster, tmp_path: Path, number: int
) -> None:
    """It may be silent for as long as it likes, and is not there any more all the same."""
    hosts = cables.hosts
    before = [services(host) for host in hosts]
    with cables.start(write(tmp_path, WATCHED), job=True) as running:
        both_up(running)
        running.signal(number)
        while not stopped(running.process.pid):
            running.for_a_while(0.05)
        time.sleep(SHORT * 3)
        assert [services(host) for host in hosts[:3]] != before[:3], "it is waited for"
        cut = time.monotonic()
        with hosts[CLIENT - 1].unplugged():
            while [services(host) for host in hosts[:3]] != before[:3]:
                assert time.monotonic() - cut < SHORT + 5, "the program ends without its client"
                time.sleep(0.1)
            running.signal(signal.SIGCONT)
            assert running.wait() == 101
    assert {node.end for node in the_tree(running).all()} == {"lost: the bridge is lost"}


# -- connections ----------------------------------------------------------------------------------


class Behind(Cluster):
    """A cluster on loopback whose second node is reached through proxies."""

    def behind(self, number: int) -> str:
        return super().host(number)

    def host(self, number: int) -> str:
        return f"{self.prefix}.{100 + number}" if number == 2 else super().host(number)

    def listens(self, number: int) -> str:
        return f"{self.behind(number)}:9999"

    def table(self, number: int, size: Size) -> list[str]:
        lines = [f'fabric_addr = "{self.listens(number)}"', f'mem = "{size.mem}"', "cpu = 1"]
        if number == 1:
            return [*lines, f'bridge_bind = "{self.bridge}"']
        ports = f'port_range = "{PORTS[0]}-{PORTS[-1]}"'
        return [*lines, ports, f'advertise = "{self.node(number)}"']


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[tuple[Behind, list[TcpProxy]]]:
    directory = tmp_path / "cluster"
    directory.mkdir()
    own = os.getpid()
    prefix = f"127.{251 + own % 4}.{1 + own // 4 % 250}"
    made = Behind(directory, (Size("700 MiB", 1), Size("1 GiB", 1)), prefix, TIMEOUT)
    with ExitStack() as stack:
        proxies = [
            stack.enter_context(TcpProxy(port, host=made.behind(2), listen=(made.host(2), port)))
            for port in (9999, *PORTS)
        ]
        with clusters.running(made):
            yield made, proxies
            made.settle()


def goes_on(running: programs.Running, session: TcpProxy) -> None:
    """Wait until the session has another connection, and processes have more of their values."""
    connections, values = session.accepted, running.output().count(b"more")
    running.until(lambda: session.accepted > connections)
    # What was sent before may still arrive.
    running.until(lambda: running.output().count(b"more") > values + 2)


def test_connections_that_are_slow_and_end(
    behind: tuple[Behind, list[TcpProxy]], tmp_path: Path
) -> None:
    cluster, proxies = behind
    path = write(
        tmp_path,
        """
        import sys, threading
        done = threading.Event()

        def child(parent):
            sender, receiver = Sender(parent), Receiver(parent)
            for value in receiver:
                sender.send(value).block()
            print("well", flush=True)

        def speak(sender):
            number = 0
            while not done.is_set():
                sender.send((number, bytes([number % 256]) * (number % 50 * 2000))).block()
                number += 1
            sender.close()

        def wait():
            sys.stdin.readline()
            done.set()

        def main():
            init(Resources(mem="600 MiB", cpu=0.1))
            echo = spawn(child, resources=Resources(mem="900 MiB", cpu=0.1)).block()
            threading.Thread(target=wait).start()
            sender, receiver = Sender(echo), Receiver(echo)
            threading.Thread(target=speak, args=(sender,)).start()
            print("all up", flush=True)
            number = 0
            for got, data in receiver:
                assert got == number and data == bytes([number % 256]) * (number % 50 * 2000)
                number += 1
                if not number % 5:
                    print("more", flush=True)
            print(number)

        main()
        """,
    )
    with cluster.start(path, stdin=True) as running:
        all_up(running)
        for proxy in proxies:
            proxy.delay, proxy.rate = 0.01, 5e6
        for turn in range(8):
            for proxy in proxies:
                proxy.reset() if turn % 2 else proxy.cut()
            goes_on(running, proxies[0])
        for proxy in proxies:
            proxy.delay, proxy.rate = 0.0, None
        running.say(b"done\n")
        assert running.wait() == 0, (running.output(2), *map(cluster.log, cluster.running))
    assert int(running.tree.out.split()[-1]) > 20
    assert running.tree.children[0].out == b"well\n"
    used = [proxy for proxy in proxies if proxy.accepted > 4]
    assert proxies[0] in used, "the session of master and node was made anew"
    assert len(used) >= 2, "and the link of the processes"
