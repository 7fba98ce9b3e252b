"""What becomes of programs while a part of a cluster is stopped for longer than others wait for it.

A process is stopped by SIGSTOP, and as well by a debugger or by swapping. It goes on as if nothing
had happened, but for the others something has.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import textwrap
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


BUSY = """
    import sys
    import threading
    import time

    stop = threading.Event()

    def work(parent, number):
        with Sender(parent) as sender:
            sender.send(number).block()
            time.sleep(0.1)

    def spawner():
        count = 0
        while not stop.is_set():
            child = spawn(work, count, resources=Resources(mem="60 MiB", cpu=0.05)).block()
            assert list(Receiver[int](child)) == [count]
            count += 1

    def main():
        init(Resources(mem="1800 MiB", cpu=0.1))
        threads = [threading.Thread(target=spawner) for _ in range(6)]
        for thread in threads:
            thread.start()
        print("all up", flush=True)
        sys.stdin.read()
        stop.set()
        for thread in threads:
            thread.join()

    main()
"""


def test_a_master_may_be_stopped_at_any_moment_of_a_spawn(cluster: Cluster, tmp_path: Path) -> None:
    """There is always one under way, in each of its steps."""
    master = cluster.running[cluster.master].pid
    with cluster.start(write(tmp_path, BUSY), stdin=True) as running:
        running.until(lambda: b"all up\n" in running.output())
        for seconds in (0.5, CONFIRM + 0.5, TIMEOUT + 2, 1.0, TIMEOUT + 2):
            with stopped(master):
                running.for_a_while(seconds)
            seen = len(running.events)
            running.until(lambda: len(running.events) > seen + 100)  # noqa: B023
        running.close_stdin()
        assert running.wait() == 0
    assert {node.end for node in running.tree.all()} == {0}
    assert running.tree.streams[2] == b""


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


def test_what_a_node_runs_since_it_came_back_outlives_a_stop_of_the_master(
    cluster: Cluster, tmp_path: Path
) -> None:
    name = cluster.node(2)
    with cluster.start(write(tmp_path, ONE_BY_ONE), stdin=True) as running:
        spawn(running, 1)
        with stopped(cluster.running[name].pid):
            gone(running, 1)
            cluster.wait_for(lambda: cluster.states()[name] == "lost")
        cluster.wait_until_joined()
        spawn(running, 2)
        before = left(cluster)
        with stopped(cluster.running[cluster.master].pid):
            cluster.wait_for(lambda: left(cluster) == before + 2)
        cluster.wait_for(lambda: len(cluster.status().programs) == 1)
        cluster.wait_until_joined()
        (agent,) = cluster.agents(2)
        time.sleep(2.0)
        assert cluster.agents(2) == [agent]
        finish(running, 101)
    first, second = running.tree.children
    assert str(first.end).startswith(f"lost: node {name}")
    assert second.end == 0


def test_a_bridge_that_was_stopped_says_so(tmp_path: Path) -> None:
    """What ran on nodes has ended without it, and that is no fault of theirs."""
    directory = tmp_path / "cluster"
    directory.mkdir()
    with (
        clusters.cluster(directory, sizes=SIZES, timeout=2.0) as own,
        own.start(write(tmp_path, ONE_BY_ONE), stdin=True) as running,
    ):
        spawn(running, 1)
        with stopped(own.bridge_process()):
            time.sleep(3.5)
            own.wait_for(lambda: not own.agents(2))
        assert running.wait() == 101
        ends = {str(node.end) for node in running.tree.all()}
        assert all(end.startswith("lost: the bridge was not run for ") for end in ends), ends
        own.settle()
        assert "is lost" not in own.log(own.master)


# -- clients --------------------------------------------------------------------------------------

COUNTING = """
    import itertools
    import sys
    import time

    def main():
        init()
        pause = float(sys.argv[1])
        for number in itertools.count():
            print(number, flush=True)
            if pause:
                time.sleep(pause)

    main()
"""


def interrupt(running: programs.Running) -> None:
    running.signal(signal.SIGINT)
    running.signal(signal.SIGINT)
    assert running.wait() == 130


@pytest.mark.parametrize(
    ("pause", "seconds"),
    [(0.05, TIMEOUT + 3), (0, 45)],  # the system gives up connections that nobody reads after 30 s
)
def test_a_client_that_was_stopped_goes_on(
    cluster: Cluster, tmp_path: Path, pause: float, seconds: float
) -> None:
    """It could not say so before, and what is printed meanwhile is printed then."""
    with cluster.start(write(tmp_path, COUNTING), str(pause)) as running:
        running.until(lambda: running.output().count(b"\n") > 20)
        with stopped(running.process.pid):
            time.sleep(seconds)
        now = running.output().count(b"\n")
        running.until(lambda: running.output().count(b"\n") > now + 100)
        interrupt(running)
    lines = running.output().decode().splitlines()
    whole = lines if running.output().endswith(b"\n") else lines[:-1]
    assert [int(line) for line in whole] == list(range(len(whole)))


def test_a_client_that_is_killed_while_it_is_stopped_is_gone(
    cluster: Cluster, tmp_path: Path
) -> None:
    with cluster.start(write(tmp_path, COUNTING), "0.05") as running:
        running.until(lambda: running.output().count(b"\n") > 20)
        os.kill(running.process.pid, signal.SIGSTOP)
        time.sleep(TIMEOUT + 2)
        assert cluster.status().programs
        running.signal(signal.SIGKILL)
        cluster.wait_for(lambda: not cluster.status().programs, 5.0)


# Found by every interpreter of the services; it is the bridge that no system tells anything.
UNTOLD = """
    import sys

    if "constellation_daemons.bridge.main" in sys.orig_argv:
        import constellation.transport.kernel

        constellation.transport.kernel.unanswered = lambda fd: None
"""


def test_a_client_that_was_taken_for_gone_says_that_it_was_stopped(tmp_path: Path) -> None:
    """Where the system does not tell whether the machine is there."""
    directory, modules = tmp_path / "cluster", tmp_path / "modules"
    directory.mkdir()
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(textwrap.dedent(UNTOLD))
    path = write(tmp_path, COUNTING)
    sizes = (Size("1 GiB", 1),)
    with clusters.cluster(directory, sizes=sizes, timeout=2.0, modules=(modules,)) as own:
        for form in ("human", "json"):
            with subprocess.Popen(
                own.command("--format", form, path, "0.05"),
                env=own.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            ) as client:
                assert client.stdout is not None
                client.stdout.readline()
                with stopped(client.pid):
                    own.wait_for(lambda: len(own.status().programs) == 1)
                    own.wait_for(lambda: not own.status().programs)
                out, err = client.communicate(timeout=clusters.LIMIT)
            assert client.returncode == 101
            told = out if form == "json" else err
            assert re.search(
                rb"this command was not run for \d+ s, "
                rb"and its program was ended as if it had gone",
                told,
            ), (out[-1000:], err)
            assert b"bridge" not in told
            own.settle()
