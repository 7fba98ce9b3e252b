"""What becomes of programs when parts of a cluster fail, and of the parts that are left."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import cluster as clusters
import programs
import pytest
from cluster import Cluster, Size, write

from constellation.security.key_file import ensure_key_file

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


# -- agents ---------------------------------------------------------------------------------------

# Found by every interpreter of the services; it is the agents that it ends.
FAILING = """
    import os
    import sys

    if "constellation_daemons.agent.service" in sys.orig_argv and os.path.exists({flag!r}):
        os._exit(3)
"""

SLEEPY = """
    import subprocess
    import sys
    import time

    def child(parent):
        subprocess.Popen(["sleep", "600"], start_new_session=True)
        print("up", pid().endpoint, flush=True)
        time.sleep(600)

    def main():
        init(Resources(mem="1900 MiB", cpu=0.1))  # which only the first node has
        # And these only the second, together.
        needs = [Resources(mem=mem, cpu=0.3) for mem in ("600 MiB", "400 MiB")]
        children = [spawn(child, resources=each).block() for each in needs]
        receivers = [Receiver(each) for each in children]
        for receiver in receivers:
            try:
                receiver.recv().block()
            except ProcessExited as error:
                print(error.status.lost or error.status.cause)

    main()
"""


def test_an_agent_that_dies_at_its_start_ends_the_deployment_at_once(tmp_path: Path) -> None:
    directory, modules, flag = tmp_path / "cluster", tmp_path / "modules", tmp_path / "flag"
    directory.mkdir()
    modules.mkdir()
    text = textwrap.dedent(FAILING).format(flag=str(flag))
    (modules / "sitecustomize.py").write_text(text)
    path = write(tmp_path, "init()\nprint('on')\n")
    with clusters.cluster(directory, sizes=(Size("1 GiB", 1),), modules=(modules,)) as own:
        flag.touch()
        done = own.run(path, form="human")
        assert done.code == 1
        assert done.err.decode() == (
            f"constellation: node {own.node(1)}: its agent has failed with exit code 3; "
            f"the log of that node says how\n"
        )
        own.settle()
        flag.unlink()
        assert own.run(path, form="human").out == b"on\n"
        own.settle()


def test_an_agent_that_is_killed_takes_what_it_had_on_its_node_along(
    cluster: Cluster, tmp_path: Path
) -> None:
    path = write(tmp_path, SLEEPY)
    with cluster.start(path) as running:
        running.until(lambda: running.output().count(b"up") == 2)
        (agent,) = cluster.agents(2)
        processes = programs.descendants_of(agent)
        os.kill(agent, signal.SIGKILL)
        assert running.wait() == 101
    tree = running.tree
    cause = f"node {cluster.node(2)}: its agent was killed (SIGKILL)"
    assert tree.out.decode().splitlines() == [cause] * 2
    assert [child.end for child in tree.children] == [f"lost: {cause}"] * 2
    cluster.settle()
    cluster.wait_for(lambda: not any(map(programs.alive, processes)), 5.0)
    # The room of a program is free before its agents have removed what is theirs and exited.
    cluster.wait_for(lambda: not any(map(cluster.agents, (1, 2, 3))), 5.0)


def test_a_node_that_is_killed_before_init_is_told_of(tmp_path: Path) -> None:
    directory, flag = tmp_path / "cluster", tmp_path / "flag"
    directory.mkdir()
    body = f"import pathlib, time\npathlib.Path({str(flag)!r}).touch()\ntime.sleep(600)\n"
    path = write(tmp_path, body)
    small, large = Size("1 GiB", 1), Size("2 GiB", 1)
    with clusters.cluster(directory, sizes=(small, large)) as own:
        # Which only the second has.
        with own.start("--mem", "1500 MiB", "--cpu", "0.1", path) as running:
            running.until(flag.exists)
            own.kill(own.node(2))
            assert running.wait() == 1
        assert running.events[-1]["message"] == f"node {own.node(2)} was killed"


# -- services -------------------------------------------------------------------------------------

# Found by every interpreter of the services; it is the bridge's that it stops in its imports.
SLOW = """
    import sys
    import time

    if "constellation_daemons.bridge.main" in sys.orig_argv:
        open({flag!r}, "w").close()
        time.sleep(0.5)
"""


def test_a_ctrl_c_while_a_bridge_is_started_is_no_error(tmp_path: Path) -> None:
    directory, modules, flag = tmp_path / "cluster", tmp_path / "modules", tmp_path / "flag"
    directory.mkdir()
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(textwrap.dedent(SLOW).format(flag=str(flag)))
    made = Cluster(directory, (Size("1 GiB", 1),), clusters.new_prefix(), 2.0, modules=(modules,))
    ensure_key_file(made.key_file)
    made.start_master()
    with made.running.pop(made.master) as master:
        try:
            end = time.monotonic() + clusters.LIMIT
            while not flag.exists():
                assert time.monotonic() < end, made.log(made.master)
                time.sleep(0.01)
            os.killpg(master.pid, signal.SIGINT)  # as a terminal does
            assert master.wait(clusters.LIMIT) == 0
        finally:
            master.kill()
    assert "KeyboardInterrupt" not in made.log(made.master)
    assert "Traceback" not in made.log(made.master)


# -- surveys --------------------------------------------------------------------------------------

# It leaves its process group, its session and its parent behind.
FUGITIVE = """
    import os
    import time

    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open({mark!r} + ".new", "w") as file:
                file.write(str(os.getpid()))
            os.rename({mark!r} + ".new", {mark!r})
            time.sleep(600)
        os._exit(0)
    os.wait()
    time.sleep(600)
"""


@pytest.mark.parametrize("first", [signal.SIGKILL, signal.SIGSTOP])
def test_what_a_guard_of_a_survey_leaves_is_ended(
    cluster: Cluster, tmp_path: Path, first: signal.Signals
) -> None:
    mark = tmp_path / "mark"
    path = write(tmp_path, FUGITIVE.format(mark=str(mark)))
    bridge = cluster.bridge_process()
    with cluster.start("--recce", "3", path) as running:
        running.until(mark.exists)
        (guard,) = programs.children_of(bridge)
        survey = [*programs.descendants_of(guard), int(mark.read_text())]
        os.kill(guard, first)  # one that is stopped is killed when it does not obey
        assert running.wait() == (137 if first is signal.SIGKILL else 1)
    cluster.wait_for(lambda: not programs.children_of(bridge), 5.0)
    assert not any(map(programs.alive, survey))


# -- masters --------------------------------------------------------------------------------------

READER = """
    import sys

    def main():
        init()
        print("up", flush=True)
        sys.stdin.read()

    main()
"""


def ended(feed: clusters.Feed) -> set[str]:
    """The programs that have ended, as far as is told."""
    return {event["program"] for event in feed.events if event["event"] == "program.ended"}


def test_a_master_that_was_cut_off_hears_that_a_program_has_ended(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    path = write(tmp_path, READER)
    sizes = (Size("1 GiB", 1),)
    with (
        clusters.cluster(directory, sizes=sizes, timeout=2.0, separate=True) as own,
        own.feed() as feed,
        own.start(path, stdin=True) as running,
    ):
        running.until(lambda: running.output() == b"up\n")
        master = own.running[own.master]
        master.send_signal(signal.SIGSTOP)
        try:
            own.wait_for_log(own.node(1), "the master is gone")
            running.close_stdin()
            assert running.wait() == 0
        finally:
            master.send_signal(signal.SIGCONT)
        feed.until(lambda: ended(feed))
        own.settle()
        assert [event["event"] for event in feed.events].count("program.ended") == 1


def test_a_new_master_hears_that_a_program_has_ended(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    path = write(tmp_path, READER)
    sizes = (Size("1 GiB", 1),)
    with clusters.cluster(directory, sizes=sizes, timeout=2.0, separate=True) as own:
        with own.start(path, stdin=True) as running:
            running.until(lambda: running.output() == b"up\n")
            own.kill(own.master)
            running.close_stdin()
            assert running.wait() == 0
        own.start_master()
        own.wait_until_joined()
        own.settle()
        # Its first events are those of the node that joins, and of this end.
        own.wait_for(lambda: own.status().sequence >= 2)


def test_the_feed_goes_on_with_a_new_master(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    sizes = (Size("1 GiB", 1),)
    path = write(tmp_path, "init()\n")
    with (
        clusters.cluster(directory, sizes=sizes, timeout=2.0, separate=True) as own,
        own.feed() as feed,
    ):
        assert own.run(path).code == 0
        feed.until(lambda: ended(feed))
        own.kill(own.master)
        feed.until(lambda: feed.events[-1]["event"] == "feed.lost")
        own.start_master()
        own.wait_until_joined()
        feed.until(lambda: "feed.resumed" in [event["event"] for event in feed.events])
        feed.until(lambda: feed.err.count(b"subscribed to the events") == 2)
        own.wait_for(lambda: own.log(own.master).count("has come, with Python") == 2)
        own.settle()
        assert own.run(path).code == 0
        feed.until(lambda: len(ended(feed)) == 2)
        own.settle()


@pytest.mark.parametrize("with_its_node", [False, True])
def test_the_feed_tells_the_end_of_programs_whose_bridge_was_killed(
    with_its_node: bool, tmp_path: Path
) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    sizes = (Size("1 GiB", 1), Size("1 GiB", 1))
    path = write(tmp_path, READER)
    with (
        clusters.cluster(directory, sizes=sizes, timeout=2.0, separate=True) as own,
        own.feed() as feed,
        own.start(path, stdin=True) as running,
    ):
        running.until(lambda: running.output() == b"up\n")
        bridge, node = own.bridge_process(), own.running[own.node(1)]
        # So it neither sees the end of the bridge, nor starts another.
        node.send_signal(signal.SIGSTOP if with_its_node else signal.SIGCONT)
        os.kill(bridge, signal.SIGKILL)
        if with_its_node:
            own.kill(own.node(1))
        assert running.wait() == 101
        # In whatever order: a new bridge may be faster than what is left of the program.
        feed.until(lambda: ended(feed))
        feed.until(lambda: "process.exited" in [event["event"] for event in feed.events])
        if with_its_node:
            own.start_node(1)
            own.wait_for(lambda: own.log(own.master).count("has come, with Python") == 2)
            own.wait_until_joined()
        own.settle()


def test_strangers_at_the_port_of_the_events_are_told_of(cluster: Cluster) -> None:
    port = cluster.json("status")["events"]
    with cluster.feed() as feed, socket.create_connection((cluster.host(1), port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        stranger.settimeout(20)
        with contextlib.suppress(ConnectionResetError):
            while stranger.recv(1000):
                pass  # it is sent a greeting, and cut off
        cluster.wait_for_log(cluster.master, "what it sent is not what a peer sends")
        assert cluster.run(ROOT / "examples" / "fibonacci.py", "3").code == 0
        feed.until(lambda: ended(feed))


def test_a_bridge_goes_on_as_it_was_and_that_is_said(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    sizes = (Size("1 GiB", 1),)
    path = write(tmp_path, "init()\n")
    with clusters.cluster(directory, sizes=sizes, timeout=2.0, separate=True) as own:
        own.kill(own.master)
        own.start_master()
        own.wait_until_joined()
        assert "restart the node" not in own.log(own.node(1))
        own.kill(own.master)
        own.bridge_host = 200
        wanted = own.bridge
        own.start_master()
        own.wait_until_joined()
        own.wait_for_log(own.node(1), f"restart the node to have bridge_bind = {wanted}")
        own.bridge_host = 1
        assert own.run(path).code == 0
        own.bridge_host = 200
        own.kill(own.node(1), signal.SIGTERM)
        own.start_node(1)
        own.wait_for_log(own.node(1), f"a bridge listens at {wanted}")
        own.wait_until_joined()
        own.wait_for_log(own.master, f"bridge tcp://{wanted} has come")
        assert own.run(path).code == 0


# -- host names -----------------------------------------------------------------------------------

# Found by every interpreter of the services, and those ask a file in place of the name service.
NAMES = """
    import os
    import socket

    real = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **options):
        if not str(host).endswith(".test"):
            return real(host, *arguments, **options)
        if not os.path.exists({hosts!r}):
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        with open({hosts!r}) as file:
            known = dict(line.split() for line in file)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return real(known[host], *arguments, **options)

    socket.getaddrinfo = getaddrinfo
"""


class Named(Cluster):
    """A cluster whose second node has a name."""

    def node(self, number: int) -> str:
        return "second.test:9999" if number == 2 else super().node(number)


def test_a_name_service_that_is_gone_ends_no_service(tmp_path: Path) -> None:
    directory, modules, hosts = tmp_path / "cluster", tmp_path / "modules", tmp_path / "hosts"
    directory.mkdir()
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(textwrap.dedent(NAMES).format(hosts=str(hosts)))
    sizes = (Size("512 MiB", 0.5), Size("1 GiB", 1))
    made = Named(directory, sizes, clusters.new_prefix(), 2.0, modules=(modules,))
    hosts.write_text(f"second.test {made.host(2)}\n")
    path = write(tmp_path, "init(Resources(mem='1 GiB'))\nprint(pid().endpoint)\n")
    with clusters.running(made) as own:
        assert own.run(path, form="human").out.startswith(f"tcp://{own.host(2)}:".encode())
        hosts.rename(tmp_path / "away")
        own.kill(own.node(2))
        own.wait_for_log(own.master, "the host name 'second.test' has no known address: no answer")
        own.wait_for(lambda: own.states()[own.node(2)] == "lost")
        time.sleep(1.5)  # it is tried again, and that is logged once
        assert own.log(own.master).count("has no known address") == 1
        (tmp_path / "away").rename(hosts)
        own.start_node(2)
        own.wait_until_joined()
        assert own.run(path, form="human").code == 0
        own.settle()


def test_a_name_that_nobody_knows_is_told_with_its_line(tmp_path: Path) -> None:
    modules, hosts = tmp_path / "modules", tmp_path / "hosts"
    modules.mkdir()
    hosts.touch()
    (modules / "sitecustomize.py").write_text(textwrap.dedent(NAMES).format(hosts=str(hosts)))
    made = Named(tmp_path, (), clusters.new_prefix(), 2.0, modules=(modules,))
    config = tmp_path / "nodes.toml"
    config.write_text('[[nodes]]\nfabric_addr = "second.test:9999"\n')
    ensure_key_file(made.key_file)
    done = made.service("master", made.node(1), str(config))
    assert done.returncode == 2
    assert f"{config}:2: nodes[0].fabric_addr: expected a host that can be found" in done.stderr
    assert "Traceback" not in done.stderr
    done = made.service("node", "--join", "master.test:9999", made.node(3))
    assert done.returncode == 2
    assert "the host name 'master.test' has no known address" in done.stderr
    done = made.service("node", "second.test:9999")
    assert done.returncode == 2
    assert "the host name 'second.test' has no known address" in done.stderr


# -- clients --------------------------------------------------------------------------------------

CHATTY = """
    def main():
        init()
        while True:
            print("x" * 1000)

    main()
"""


def test_a_client_that_is_stopped_may_be_so_for_long(cluster: Cluster, tmp_path: Path) -> None:
    """Though what it does not read any more fills all that is between."""
    path = write(tmp_path, CHATTY)
    with cluster.start(path, job=True) as running:
        running.until(lambda: len(running.output()) > 100_000)
        running.signal(signal.SIGTSTP)
        running.until(lambda: stopped(running))
        time.sleep(45)  # the system gives up connections that nobody reads after 30 s
        before = len(running.output())
        running.signal(signal.SIGCONT)
        running.until(lambda: len(running.output()) > before + 5_000_000)
        running.signal(signal.SIGINT)
        running.signal(signal.SIGINT)
        assert running.wait() == 130


def stopped(running: programs.Running) -> bool:
    state = Path(f"/proc/{running.process.pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    return state == b"T"
