"""The services of a cluster together, on loopback, as users start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cluster as clusters
import programs
import pytest
from cluster import Cluster, Size, write

from constellation.address import Address

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """For tests that leave the cluster as it was."""
    with clusters.cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    yield shared
    shared.settle()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cluster]:
    """For tests that kill parts of it."""
    directory = tmp_path / "cluster"
    directory.mkdir()
    with clusters.cluster(directory, timeout=2.0) as made:
        yield made


# -- programs -------------------------------------------------------------------------------------


def test_the_example_of_the_readme(cluster: Cluster) -> None:
    done = cluster.run(ROOT / "examples" / "fibonacci.py", "7", form="human")
    assert done.code == 0, done.err.decode()
    assert done.out == b"13\n"


def test_processes_go_where_there_is_room(cluster: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        LARGE = Resources(mem="400 MiB", cpu=0.3)

        def child(parent):
            Sender(parent).send(pid().endpoint).block()
            Receiver(parent).recv().block()

        def main():
            init(LARGE)
            children = [spawn(child, resources=LARGE).block() for _ in range(6)]
            ends = [Receiver(each).recv().block() for each in children]
            hosts = sorted(end.rpartition(":")[0] for end in [pid().endpoint, *ends])
            print(*(hosts.count(host) for host in sorted(set(hosts))))
            for each in children:
                Sender(each).send(None).block()

        main()
        """,
    )
    done = cluster.run(path)
    tree = programs.tree_of(done.events)
    # 7 of 400 MiB: four in 2 GiB, two in 1 GiB, one in 512 MiB.
    assert tree.out == b"4 2 1\n"
    assert done.code == 0


def test_arrays_and_closures_go_between_nodes(cluster: Cluster, tmp_path: Path) -> None:
    (write(tmp_path, "").parent / "helper.py").write_text("def double(value): return value * 2\n")
    path = write(
        tmp_path,
        """
        import numpy as np
        BIG = Resources(mem="900 MiB", cpu=0.5)

        def main():
            init(BIG)
            added = 5
            array = np.arange(1 << 18, dtype=float)

            def child(parent):
                import helper
                Sender(parent).send((pid().endpoint, helper.double(array) + added)).block()

            others = [spawn(child, resources=BIG).block() for _ in range(2)]
            hosts = {pid().endpoint.rpartition(":")[0]}
            for other in others:
                end, value = Receiver(other).recv().block()
                assert (value == array * 2 + added).all()
                hosts.add(end.rpartition(":")[0])
            print(len(hosts))

        main()
        """,
    )
    done = cluster.run(path)
    assert programs.tree_of(done.events).out == b"2\n", done.err


def test_what_no_node_can_hold_is_refused_at_once(cluster: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        def main():
            init()
            try:
                spawn(print, resources=Resources(mem="5 GiB")).block()
            except NoCapacity as error:
                print(error)
            try:
                spawn(print, resources=Resources(mem="1900 MiB", cpu=0.1)).block(0.2)
            except (TimeoutError, NoCapacity) as error:
                print(type(error).__name__)

        main()
        """,
    )
    done = cluster.run(path)
    out = programs.tree_of(done.events).out.decode()
    assert "5 GiB" in out
    assert cluster.master in out, "the largest node is named"


def test_a_request_waits_until_there_is_room(cluster: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        import time
        HALF = Resources(mem="1500 MiB", cpu=0.1)

        def first(parent):
            Receiver(parent).recv().block()

        def second(parent):
            Sender(parent).send("served").block()

        def main():
            init()
            one = spawn(first, resources=HALF).block()
            try:
                try_spawn(second, resources=HALF).block()
            except NoCapacity:
                print("no room now")
            try:
                spawn(second, resources=HALF).block(0.3)
            except TimeoutError:
                print("waited")
            Sender(one).send("go").block()
            print(Receiver(spawn(second, resources=HALF).block()).recv().block())

        main()
        """,
    )
    done = cluster.run(path)
    tree = programs.tree_of(done.events)
    assert tree.out == b"no room now\nwaited\nserved\n"
    assert len(tree.children) == 2
    assert done.code == 0


def test_two_programs_at_once_never_mix(cluster: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        import sys
        SMALL = Resources(mem="20 MiB", cpu=0.01)

        def child(parent, tag):
            for number in range(200):
                print(tag, number)
                print(tag, number, file=sys.stderr)

        def main():
            init(SMALL)
            for _ in range(3):
                spawn(child, sys.argv[1], resources=SMALL).block()

        main()
        """,
    )
    with cluster.start(path, "one") as one, cluster.start(path, "two") as two:
        for running, tag in ((one, "one"), (two, "two")):
            assert running.wait() == 0
            tree = running.tree
            expected = "".join(f"{tag} {number}\n" for number in range(200)).encode()
            assert [(child.out, child.err) for child in tree.children] == [(expected, expected)] * 3


def test_the_user_is_told_once_what_a_program_waits_for(cluster: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        import time
        HALF = Resources(mem="1500 MiB", cpu=0.1)

        def main():
            init(HALF)
            for _ in range(3):
                try:
                    spawn(print, resources=HALF).block(2.5)  # waits for longer than a renewal
                except TimeoutError:
                    print("waited", flush=True)

        main()
        """,
    )
    done = cluster.run(path, form="human")
    assert done.out == b"waited\n" * 3
    # Each of the three waits for itself: it was not wanted any more when the next began.
    assert done.err.count(b"a process waits for room") == 3


def test_who_is_no_bridge_is_told_from_one(cluster: Cluster, tmp_path: Path) -> None:
    path = write(tmp_path, "init()")
    for name in (cluster.master, cluster.node(2)):
        words = ["deploy", name, "--key-file", cluster.key_file, str(path)]
        done = subprocess.run(
            [sys.executable, "-m", "constellation", *words],
            env=cluster.environment,
            capture_output=True,
            text=True,
            timeout=clusters.LIMIT,
            check=False,
        )
        assert done.returncode == 1
        kind = "master" if name == cluster.master else "node"
        assert f"{name} is a {kind}, and no bridge: deploy to " in done.stderr
        assert name != cluster.master or f"deploy to {cluster.bridge}\n" in done.stderr


@pytest.mark.parametrize("command", [["status"], ["events"], ["kill", "abcd"]])
def test_who_is_no_master_is_told_from_one(cluster: Cluster, command: list[str]) -> None:
    for name, kind in ((cluster.bridge, "bridge"), (cluster.node(2), "node")):
        words = [*command[:1], "--key-file", cluster.key_file, name, *command[1:]]
        done = cluster.do(1, ["-m", "constellation", *words], cluster.environment)
        assert done.returncode == 1
        told = f"{name} is a {kind}, and no master; that is at {cluster.master}\n"
        assert done.stderr == f"Error: {told}"


def test_nobody_is_told_from_a_bridge(cluster: Cluster, tmp_path: Path) -> None:
    path = write(tmp_path, "init()")
    name = cluster.node(77)
    words = ["deploy", name, "--key-file", cluster.key_file, str(path)]
    done = cluster.do(1, ["-m", "constellation", *words], cluster.environment)
    assert done.returncode == 1
    assert f"nobody listens at {name}: start the node whose bridge_bind this is" in done.stderr


# -- tools ----------------------------------------------------------------------------------------

SLEEPY = """
    import time
    SMALL = Resources(mem="100 MiB", cpu=0.1)

    def child(parent):
        print("up")
        time.sleep(600)

    def main():
        init(SMALL)
        for _ in range(int(__import__("sys").argv[1])):
            spawn(child, resources=SMALL).block()
        print("all up")
        time.sleep(600)

    main()
"""


def test_status_and_kill(cluster: Cluster, tmp_path: Path) -> None:
    path = write(tmp_path, SLEEPY)
    with cluster.start(path, "3") as running:
        running.until(lambda: any(e.get("data") == "all up\n" for e in running.events))
        status = cluster.json("status")
        (program,) = status["programs"]
        assert program["name"] == path.name
        assert sum(node["processes"] for node in status["nodes"]) == 4
        assert sum(node["used_mem"] for node in status["nodes"]) == 4 * (100 << 20)
        status = cluster.json("status", "--processes")
        children = [node.pid for node in running.tree.all() if node.parent is not None]
        assert {each["pid"] for each in status["processes"]} > set(children)
        assert cluster.tool("kill", children[0][:12]).returncode == 0
        running.until(lambda: any(e["event"] == "exit" for e in running.events))
        human = cluster.tool("status").stdout
        assert f"{program['program'][:7]}  {path.name}  " in human
        assert cluster.master in human
        done = cluster.tool("kill", program["program"][:10])
        assert done.returncode == 0, done.stderr
        assert running.wait() == 137
    tree = running.tree
    assert {node.end for node in tree.all()} == {"SIGKILL"}
    causes = {node.status["cause"] for node in tree.all() if node.status is not None}
    assert causes == {"killed by a user of the cluster"}
    assert cluster.tool("kill", "ffff").returncode == 1


# One has ended, others wait for the first one, and that for a process that has no room.
BUSY = """
    import time

    def nothing(parent):
        pass

    def child(parent, waits):
        if waits:
            Receiver(parent).recv().block(timeout=600)  # not for ever: this is no deadlock
        time.sleep(600)

    def main():
        init(Resources(mem="100 MiB", cpu=0.01))
        try:
            Receiver(spawn(nothing).block()).recv().block()
        except ProcessExited as error:
            print(error.status.code)
        sizes = [Resources(mem=mem, cpu=0.01) for mem in ("1 GiB", *["300 MiB"] * 3)]
        children = [spawn(child, n, resources=size).block() for n, size in enumerate(sizes)]
        print("all up")
        spawn(nothing, resources=Resources(mem="2 GiB", cpu=0.01)).block()

    main()
"""


def test_a_program_that_is_killed_exits_so_whatever_has_ended_before(
    cluster: Cluster, tmp_path: Path
) -> None:
    path = write(tmp_path, BUSY)
    with cluster.start(path) as running:
        running.until(lambda: running.output() == b"0\nall up\n")
        cluster.wait_for(lambda: cluster.status().waiting)
        (program,) = cluster.status().programs
        assert cluster.tool("kill", program.program).returncode == 0
        assert running.wait() == 137
    assert running.output(2).decode() == "", "none of them has seen another one's death"
    statuses = [node.status for node in running.tree.all()]
    assert [status["code"] for status in statuses if status and "code" in status] == [0]
    causes = [status.get("cause") for status in statuses if status and "signal" in status]
    assert causes == ["killed by a user of the cluster"] * 5


@pytest.mark.parametrize("waits_for", ["room", "init()"])
def test_a_program_that_is_killed_before_it_runs(
    cluster: Cluster, tmp_path: Path, waits_for: str
) -> None:
    """It exits as one that runs already: which of them it is, its user cannot tell."""
    if waits_for == "room":
        text, options = "init(Resources(mem='1 GiB', cpu=1.5))", []
    else:
        text, options = "__import__('time').sleep(60)", ["--mem", "1 MiB", "--cpu", "0.1"]
    full = write(tmp_path, "init(Resources(mem='1 GiB', cpu=2))\n__import__('time').sleep(600)")
    with cluster.start(full) as holds_the_room:
        holds_the_room.until(lambda: holds_the_room.events)
        before = {each.program for each in cluster.status().programs}
        (tmp_path / "own").mkdir()
        with cluster.start(*options, write(tmp_path / "own", text)) as running:
            cluster.wait_for(lambda: len(cluster.status().programs) == len(before) + 1)
            if waits_for == "room":
                cluster.wait_for(lambda: cluster.status().waiting)
            else:
                cluster.wait_for(lambda: sum(n.processes for n in cluster.status().nodes) == 2)
            (name,) = {each.program for each in cluster.status().programs} - before
            assert cluster.tool("kill", name).returncode == 0
            assert running.wait() == 137
        (event,) = running.events
        assert event == {"event": "error", "message": "killed by a user of the cluster"}
    cluster.settle()


def test_events_tell_how_processes_ended(cluster: Cluster, tmp_path: Path) -> None:
    """In the form of the output of `deploy`."""
    path = write(
        tmp_path,
        """
        import os, signal, sys

        def child(parent):
            os.kill(os.getpid(), signal.SIGKILL)

        init()
        spawn(child).block()
        sys.exit(3)
        """,
    )
    with cluster.feed() as feed:
        done = cluster.run(path)
        feed.until(lambda: any(event["event"] == "program.ended" for event in feed.events))
    told = {
        event["pid"]: event["status"] for event in feed.events if event["event"] == "process.exited"
    }
    assert told == {node.pid: node.status for node in done.tree.all()}
    assert sorted(map(str, (node.end for node in done.tree.all()))) == ["3", "SIGKILL"]
    assert not any("text" in event for event in feed.events)


# -- death ----------------------------------------------------------------------------------------


def all_up(running: programs.Running) -> None:
    running.until(lambda: any(e.get("data") == "all up\n" for e in running.events))


WATCHED = """
        BIG = Resources(mem="900 MiB", cpu=0.4)

        def child(parent):
            sender = Sender(parent)
            sender.send(pid().endpoint).block()
            Receiver(parent).recv().block()

        def main():
            init(Resources(mem="1500 MiB", cpu=0.4))  # which only the master's node has
            child_pid = spawn(child, resources=BIG).block()
            receiver = Receiver(child_pid)
            print(receiver.recv().block(), flush=True)
            try:
                receiver.recv().block()
            except ProcessExited as error:
                print(error.status.lost or error.status.cause)

        main()
"""


def test_a_node_that_is_killed_is_lost_and_may_come_back(own: Cluster, tmp_path: Path) -> None:
    path = write(tmp_path, WATCHED)
    with own.start(path) as running:
        running.until(lambda: any("tcp://" in e.get("data", "") for e in running.events))
        (line,) = [e["data"] for e in running.events if "tcp://" in e.get("data", "")]
        initial = next(e for e in running.events if e["event"] == "spawn")
        host = line.removeprefix("tcp://").rpartition(":")[0]
        victim = f"{host}:9999"
        assert victim == own.node(2)
        own.kill(victim)
        running.wait()
    tree = running.tree
    assert tree.pid == initial["pid"]
    assert f"node {victim} was killed" in tree.out.decode()
    (child,) = tree.children
    assert child.status is not None
    assert child.end == "SIGKILL"
    assert child.status["cause"] == f"node {victim} was killed"
    own.wait_for(lambda: own.states()[victim] == "lost")
    own.start_node(int(host.rpartition(".")[2]))
    own.wait_until_joined()
    assert own.run(ROOT / "examples" / "fibonacci.py", "3").code == 0
    own.settle()


def test_a_machine_that_is_silent_is_lost_and_ends_what_it_ran(
    own: Cluster, tmp_path: Path
) -> None:
    """It was not heard of for a while, and then goes on as if nothing had happened."""
    path = write(tmp_path, WATCHED)
    with own.start(path) as running:
        running.until(lambda: any("tcp://" in e.get("data", "") for e in running.events))
        victim = own.node(2)
        node = own.running[victim].pid
        stopped = [node, *programs.descendants_of(node)]
        start = time.monotonic()
        for each in stopped:
            os.kill(each, signal.SIGSTOP)
        running.wait()
        assert time.monotonic() - start < own.timeout + 3
        own.wait_for(lambda: own.states()[victim] == "lost")
        for each in reversed(stopped):
            os.kill(each, signal.SIGCONT)
    tree = running.tree
    assert f"node {victim}" in tree.out.decode()
    (child,) = tree.children
    assert child.end.startswith(f"lost: node {victim}")
    own.wait_until_joined()
    own.settle()


def test_a_master_that_is_killed_and_started_again(own: Cluster) -> None:
    """Its node has nothing to do, and ends, or is taken over; the other nodes stay."""
    own.kill(own.master)
    own.start_master()
    own.wait_until_joined()
    # The bridge is started anew, too, and nobody listens there before it is.
    own.wait_for(lambda: own.log(own.master).count("has come, with Python") == 2)
    assert own.run(ROOT / "examples" / "fibonacci.py", "5").code == 0
    own.settle()


def test_programs_do_not_notice_that_a_master_is_started_again(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    path = write(
        tmp_path,
        """
        import sys
        LARGE = Resources(mem="400 MiB", cpu=0.3)

        def echo(parent):
            with Sender(parent) as sender:
                for value in Receiver(parent):
                    sender.send(value).block()

        def main():
            init(LARGE)
            children = [spawn(echo, resources=LARGE).block() for _ in range(4)]
            senders = [Sender(each) for each in children]
            receivers = [Receiver(each) for each in children]
            for line in sys.stdin:
                for sender in senders:
                    sender.send(line).block()
                print(*(receiver.recv().block().strip() for receiver in receivers), flush=True)
            for sender in senders:
                sender.close()
            print(Receiver(spawn(late, resources=LARGE).block()).recv().block())

        def late(parent):
            Sender(parent).send("late").block()

        main()
        """,
    )
    with clusters.cluster(directory, timeout=2.0, separate=True) as own:
        process = own.popen(path)
        running = programs.Running(process)
        assert process.stdin is not None
        with process:
            for text in ("before", "without", "after"):
                process.stdin.write(f"{text}\n".encode())
                process.stdin.flush()
                running.until(lambda text=text: text.encode() in running.output())
                if text == "before":
                    own.kill(own.master)
                elif text == "without":
                    own.start_master()
                    own.wait_until_joined()
                    used = sum(node.processes for node in own.status().nodes)
                    assert used == 5, "nodes tell what they run"
                    own.wait_for(lambda: len(own.status().programs) == 1)
            process.stdin.close()
            assert running.wait() == 0
        lines = [" ".join([text] * 4) for text in ("before", "without", "after")]
        assert running.tree.out.decode().splitlines() == [*lines, "late"]
        own.settle()


def test_a_program_whose_bridge_is_elsewhere_outlives_the_master(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    path = write(tmp_path, SLEEPY)
    with clusters.cluster(directory, bridge_of=2) as own, own.start(path, "3") as running:
        all_up(running)
        own.kill(own.master)
        # A program that is deployed meanwhile is told what it waits for.
        with subprocess.Popen(
            own.command(path, "1"), env=own.environment, stderr=subprocess.PIPE
        ) as waiting:
            assert waiting.stderr is not None
            told = waiting.stderr.readline().decode()
            assert told.startswith("constellation: ")
            assert told.endswith(f" waits for the master, {own.master}, which is not there\n")
            waiting.kill()
        own.start_master()
        own.wait_until_joined()
        own.wait_for(lambda: len(own.status().programs) == 1)
        (program,) = own.status().programs
        assert sum(node.processes for node in own.status().nodes) == 4
        assert own.tool("kill", program.program).returncode == 0
        assert running.wait() == 137
        own.settle()


def test_a_bridge_at_an_address_of_its_own(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    with clusters.cluster(directory, bridge_host=200) as own:
        assert own.run(ROOT / "examples" / "fibonacci.py", "5", form="human").out == b"5\n"


def test_a_bridge_that_is_killed_takes_its_programs_along(own: Cluster, tmp_path: Path) -> None:
    path = write(tmp_path, SLEEPY)
    with own.start(path, "5") as running:
        all_up(running)
        os.kill(own.bridge_process(), signal.SIGKILL)
        assert running.wait() == 101
    own.settle()
    assert own.run(ROOT / "examples" / "fibonacci.py", "3").code == 0


def test_a_client_that_is_killed_takes_its_program_along(own: Cluster, tmp_path: Path) -> None:
    path = write(tmp_path, SLEEPY)
    with own.start(path, "5") as running:
        all_up(running)
        running.process.kill()
        own.settle()


def test_ctrl_c_ends_a_program_everywhere(own: Cluster, tmp_path: Path) -> None:
    path = write(tmp_path, SLEEPY)
    with own.start(path, "5") as running:
        all_up(running)
        running.process.send_signal(signal.SIGINT)
        running.process.send_signal(signal.SIGINT)
        assert running.wait() == 130
    own.settle()


def test_a_node_that_stops_in_order(own: Cluster, tmp_path: Path) -> None:
    path = write(tmp_path, SLEEPY)
    with own.start(path, "5") as running:
        all_up(running)
        name = own.node(2)
        start = time.monotonic()
        assert own.kill(name, signal.SIGTERM) == 0
        assert time.monotonic() - start < 15
        running.process.send_signal(signal.SIGINT)
        running.process.send_signal(signal.SIGINT)
        running.wait()
    causes = [node.status.get("cause") for node in running.tree.all() if node.status]
    assert f"node {name} has ended it" in causes
    own.wait_for(lambda: own.states()[name] == "absent")
    assert "ERROR" not in own.log(own.master)


# -- checking -------------------------------------------------------------------------------------


def test_a_node_that_is_yet_to_join_can_check(cluster: Cluster) -> None:
    arguments = ["--check", "--join", cluster.master, cluster.node(7)]
    done = cluster.service("node", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"here: the node can listen at {cluster.node(7)}"
    assert lines[1] == f"master {cluster.master}: can be talked to"
    for number in (1, 2, 3):
        assert f"node {cluster.node(number)}: can be talked to" in lines
    assert f"bridge {cluster.bridge}: can be talked to" in lines
    told = cluster.service("node", *arguments, "--format", "json").stdout.splitlines()
    objects = [json.loads(line) for line in told]
    assert all(each["ok"] for each in objects)
    assert [f"{each['about']}: {each['text']}" for each in objects] == lines


def test_what_is_wrong_is_said(cluster: Cluster) -> None:
    arguments = ["--check", "--join", cluster.node(50), "192.0.2.1:9999"]
    done = cluster.service("node", *arguments)
    assert done.returncode == 1
    assert "this machine has no such address" in done.stdout
    assert f"master {cluster.node(50)}: nobody listens at {cluster.node(50)}" in done.stdout
    assert cluster.service("node", "--check", cluster.node(7)).returncode == 2


# -- joining --------------------------------------------------------------------------------------


def test_a_node_joins_a_running_cluster(own: Cluster) -> None:
    # Nobody is there, and one who cannot take it.
    own.start_node(7, "--join", own.node(77))
    own.start_node(8, "--join", own.node(2))
    own.start_node(9, "--join", own.master, "--mem", "300 MiB", "--cpu", "0.25")
    own.wait_until_joined(4)
    (node,) = [node for node in own.status().nodes if node.node == own.node(9)]
    assert (node.mem, node.cpu) == (300 << 20, 250_000_000)
    nobody = f"no master has taken this node: {own.node(77)} does not answer: no connection"
    own.wait_for(lambda: nobody in own.log(own.node(7)))
    no_master = f"{own.node(2)} was asked to take this node, and has not: is a master there, and "
    own.wait_for(lambda: no_master in own.log(own.node(8)))


def test_programs_wait_for_nodes_that_come_later(tmp_path: Path) -> None:
    """A cluster of one node, whose second comes when a program already waits for it."""
    directory = tmp_path / "cluster"
    directory.mkdir()
    path = write(
        tmp_path,
        """
        def child(parent):
            Sender(parent).send("served").block()

        def main():
            init(Resources(mem="90 MiB", cpu=0.1))
            print("up", flush=True)
            print(Receiver(spawn(child).block()).recv().block())

        main()
        """,
    )
    with clusters.cluster(directory, sizes=(Size("100 MiB", 0.5),)) as own:
        own.start_node(2, "--join", own.master, "--mem", "50 MiB", "--cpu", "0.25")
        own.wait_until_joined(2)
        with own.start(path) as running:
            running.until(lambda: any(e.get("data") == "up\n" for e in running.events))
            own.wait_for(lambda: bool(own.status().waiting))
            own.start_node(3, "--join", own.master, "--mem", "150 MiB", "--cpu", "0.25")
            assert running.wait() == 0
        assert running.tree.out == b"up\nserved\n"


def test_ports_that_a_firewall_lets_through(tmp_path: Path) -> None:
    """Those of a node that joins, and that of the events, also when the master is another one."""
    directory = tmp_path / "cluster"
    directory.mkdir()
    path = write(
        tmp_path,
        """
        def child(parent):
            Sender(parent).send(pid().endpoint).block()

        def main():
            init(Resources(mem="90 MiB", cpu=0.1))
            print(Receiver(spawn(child).block()).recv().block())

        main()
        """,
    )
    options = ("--events-port", "9998")
    sizes = (Size("100 MiB", 0.5),)
    with clusters.cluster(directory, sizes=sizes, master_options=options) as own:
        joining = ["--join", own.master, "--mem", "150 MiB", "--cpu", "0.25"]
        own.start_node(3, *joining, "--port-range", "9100-9109")
        own.wait_until_joined(2)
        checked = own.service("node", "--check", "--join", own.master, own.node(7))
        assert checked.returncode == 0, checked.stdout
        done = own.run(path)
        assert done.code == 0
        place = Address.parse(done.tree.out.decode().strip().removeprefix("tcp://"))
        assert place.host == own.host(3)
        assert place.port in range(9100, 9110)
        with own.feed() as feed:
            assert own.status().events == 9998
            own.kill(own.master)
            own.start_master()
            feed.until(lambda: any(each["event"] == "feed.resumed" for each in feed.events))
        assert own.status().events == 9998
        own.wait_until_joined(2)
