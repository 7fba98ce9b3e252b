"""What becomes of programs while a part of a cluster is stopped for longer than others wait for it.

A process is stopped by SIGSTOP, and as well by a debugger or by swapping. It goes on as if nothing
had happened, but for the others something has.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import cluster as clusters
import programs
import pytest
from cluster import Cluster, Size, write

TIMEOUT = 4.0
CONFIRM = 2.0  # seconds that a node has to confirm what is placed there
SIZES = (Size("2 GiB", 2), Size("1200 MiB", 1), Size("512 MiB", 0.5))

ECHOES = """
    import sys

    NEED = Resources(mem="400 MiB", cpu=0.2)

    def echo(parent):
        with Sender(parent) as sender:
            for value in Receiver(parent):
                sender.send(value).block()

    def main():
        init(NEED)
        ends = []

        def grow():
            child = spawn(echo, resources=NEED).block()
            ends.append((Sender(child), Receiver(child)))

        for _ in range(4):
            grow()
        print("all up", flush=True)
        for line in sys.stdin:
            if line == "grow\\n":
                grow()
            for sender, _ in ends:
                sender.send(line.strip()).block()
            print(*(receiver.recv().block() for _, receiver in ends), flush=True)
        for sender, _ in ends:
            sender.close()

    main()
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with clusters.cluster(
        tmp_path_factory.mktemp("cluster"), sizes=SIZES, timeout=TIMEOUT, bridge_of=2
    ) as made:
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    yield shared
    shared.settle()


@contextlib.contextmanager
def stopped(*processes: int) -> Iterator[None]:
    """Processes that are stopped, and go on afterwards."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def say(running: programs.Running, word: str, count: int) -> None:
    """Have a word go to the children and back; with `grow` there is one more before."""
    running.say(f"{word}\n".encode())
    line = " ".join([word] * count)
    running.until(lambda: f"{line}\n".encode() in running.output())


def left(cluster: Cluster) -> int:
    """How often a node of a machine of its own has left the master, which was silent."""
    text = "node.service: the master is gone"
    return sum(cluster.log(cluster.node(number)).count(text) for number in (2, 3))


def test_a_master_that_was_stopped_takes_no_node_for_lost(cluster: Cluster, tmp_path: Path) -> None:
    master = cluster.running[cluster.master].pid
    with cluster.feed() as feed, cluster.start(write(tmp_path, ECHOES), stdin=True) as running:
        running.until(lambda: b"all up\n" in running.output())
        say(running, "before", 4)
        for number in range(3):
            with stopped(master):
                cluster.wait_for(lambda: left(cluster) == 2 * (number + 1))  # noqa: B023
                say(running, f"without{number}", 4 + number)
                running.say(b"grow\n")
            say(running, f"grown{number}", 5 + number)
            say(running, f"after{number}", 5 + number)
        time.sleep(TIMEOUT + 1)  # in which a node that is silent would be lost
        assert set(cluster.states().values()) == {"joined"}
        assert sum(node.processes for node in cluster.status().nodes) == 8
        running.close_stdin()
        assert running.wait() == 0
        assert "node.lost" not in [event["event"] for event in feed.events]
    assert {node.end for node in running.tree.all()} == {0}
    assert "is lost" not in cluster.log(cluster.master)


# One process after the other, for which only the second node has room, and for two at once.
ONE_BY_ONE = """
    import sys

    def child(parent):
        with Sender(parent) as sender:
            sender.send("up").block()
            try:
                Receiver(parent).recv().block()
            except ProcessExited:
                pass

    def main():
        init(Resources(mem="1500 MiB", cpu=0.1))
        for line in sys.stdin:
            if line == "spawn\\n":
                receiver = Receiver(spawn(child, resources=Resources(mem="550 MiB")).block())
                print(receiver.recv().block(), flush=True)
            else:
                try:
                    receiver.recv().block()
                except ProcessExited as error:
                    print("gone:", error.status.lost or error.status.cause, flush=True)

    main()
"""


def spawn(running: programs.Running, count: int, limit: float = 15.0) -> None:
    """Have a process spawned, which is the so manieth."""
    running.say(b"spawn\n")
    running.until(lambda: running.output().count(b"up\n") == count, limit)


def gone(running: programs.Running, count: int) -> None:
    """Wait until the last one is gone."""
    running.say(b"wait\n")
    running.until(lambda: running.output().count(b"gone:") == count)


def finish(running: programs.Running, code: int) -> None:
    running.close_stdin()
    assert running.wait() == code


def test_what_is_placed_while_an_agent_ends_has_the_next_one(
    cluster: Cluster, tmp_path: Path
) -> None:
    with cluster.start(write(tmp_path, ONE_BY_ONE), stdin=True) as running:
        spawn(running, 1)
        (agent,) = cluster.agents(2)
        with stopped(agent):
            gone(running, 1)
            running.say(b"spawn\n")
            cluster.wait_for(lambda: cluster.status().nodes[1].processes == 2, 5.0)
        running.until(lambda: running.output().count(b"up\n") == 2, 15.0)
        finish(running, 101)


def test_what_is_placed_on_a_node_that_is_stopped_for_a_moment_is_not_killed(
    cluster: Cluster, tmp_path: Path
) -> None:
    """It does not confirm that in time, and is to have it once more."""
    with cluster.start(write(tmp_path, ONE_BY_ONE), stdin=True) as running:
        spawn(running, 1)
        (agent,) = cluster.agents(2)
        os.kill(agent, signal.SIGKILL)
        gone(running, 1)
        with stopped(cluster.running[cluster.node(2)].pid):
            running.say(b"spawn\n")
            time.sleep(CONFIRM + 0.5)
        running.until(lambda: running.output().count(b"up\n") == 2, 15.0)
        assert cluster.states()[cluster.node(2)] == "joined"
        finish(running, 101)


def test_a_master_that_is_stopped_between_a_place_and_its_grant(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The agent is there before its bridge has heard that it will be."""
    node, master = (cluster.running[cluster.node(number)].pid for number in (2, 1))
    with cluster.start(write(tmp_path, ONE_BY_ONE), stdin=True) as running:
        running.until(lambda: bool(running.events))
        with stopped(node):
            running.say(b"spawn\n")
            cluster.wait_for(lambda: cluster.status().nodes[1].processes == 1, 1.5)
            os.kill(master, signal.SIGSTOP)
        try:
            time.sleep(CONFIRM / 2)
            assert cluster.agents(2)
        finally:
            os.kill(master, signal.SIGCONT)
        running.until(lambda: running.output().count(b"up\n") == 1, 15.0)
        finish(running, 0)
