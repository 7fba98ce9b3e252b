"""The node that a master is itself, and what it runs, when parts of that are killed and started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cluster as clusters
import programs
import pytest
from cluster import Cluster, Size, processes_of, write

from constellation.process.directory import sweep as sweep_runtime
from constellation.security.key_file import ensure_key_file

SIZES = (Size("1 GiB", 1), Size("1 GiB", 1))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cluster]:
    """The cluster of the README: the only bridge is on the master's machine."""
    directory = tmp_path / "cluster"
    directory.mkdir()
    with clusters.cluster(directory, sizes=SIZES, timeout=2.0) as made:
        yield made


@contextlib.contextmanager
def alone(directory: Path, modules: tuple[Path, ...] = ()) -> Iterator[Cluster]:
    """A cluster of one node, whose master a test starts and ends. Nothing of it is left."""
    directory.mkdir()
    made = Cluster(directory, SIZES[:1], clusters.new_prefix(), 2.0, modules=modules)
    ensure_key_file(made.key_file)
    try:
        yield made
    finally:
        for process in made.running.values():
            process.kill()
            process.wait()
        wait_until(lambda: not processes_of(made), made)
        sweep_runtime(tempfile.gettempdir())
    assert "Traceback" not in made.log(made.master), made.log(made.master)
    assert not seats(made)


def start(made: Cluster) -> None:
    """Start its master, and wait until programs can be deployed."""
    before = made.log(made.master).count(HAS_COME) if made.running else 0
    made.start_master()
    made.wait_until_joined()
    made.wait_for(lambda: made.log(made.master).count(HAS_COME) > before)


HAS_COME = "has come, with Python"


def wait_until(condition: Callable[[], object], made: Cluster, limit: float = 30.0) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, made.log(made.master)
        time.sleep(0.02)


def seats(made: Cluster) -> list[str]:
    """The places of nodes that are taken, or were not left."""
    return os.listdir(made.directory / "cache" / "constellation" / "seats")


def listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1.0).close()
    except ConnectionRefusedError:
        return False
    return True


READER = """
    import sys

    def main():
        init()
        print("up", flush=True)
        for line in sys.stdin:
            print("got", line.strip(), flush=True)

    main()
"""


def up(running: programs.Running) -> None:
    running.until(lambda: b"up\n" in running.output())


def say(running: programs.Running, word: str) -> None:
    running.say(f"{word}\n".encode())
    running.until(lambda: f"got {word}\n".encode() in running.output())


def finish(running: programs.Running, code: int = 0) -> None:
    running.close_stdin()
    assert running.wait() == code


# -- masters that are killed ----------------------------------------------------------------------

# With three children or more they are on both nodes.
ECHOES = """
    import sys

    HALF = Resources(mem="300 MiB", cpu=0.2)

    def echo(parent):
        with Sender(parent) as sender:
            for value in Receiver(parent):
                sender.send(value).block()
        sys.exit(7)

    def main():
        init(HALF)
        children = []

        def more():
            child = spawn(echo, resources=HALF).block()
            children.append((Sender(child), Receiver(child)))

        for _ in range(2):
            more()
        print("up", flush=True)
        for line in sys.stdin:
            if line == "spawn\\n":
                more()
            for sender, _ in children:
                sender.send(line.strip()).block()
            print("got", *(receiver.recv().block() for _, receiver in children), flush=True)
        for sender, _ in children:
            sender.close()
        sys.exit(7)

    main()
"""


def answer(running: programs.Running, word: str, count: int) -> None:
    line = " ".join(["got", *[word] * count])
    running.until(lambda: f"{line}\n".encode() in running.output())


def test_programs_do_not_notice_that_the_master_is_killed(own: Cluster, tmp_path: Path) -> None:
    with own.start(write(tmp_path, ECHOES), stdin=True) as running:
        up(running)
        (program,) = own.status().programs
        node, bridge = own.node_process(1), own.bridge_process()
        for count in (2, 3, 4):
            running.say(f"before{count}\n".encode())
            answer(running, f"before{count}", count)
            own.kill(own.master)
            running.say(f"without{count}\n".encode())
            answer(running, f"without{count}", count)
            running.say(b"spawn\n")  # which waits for a master
            running.for_a_while(0.5)
            own.start_master()
            answer(running, "spawn", count + 1)
            own.wait_until_joined()
            own.wait_for(lambda: own.status().programs)
            assert [each.program for each in own.status().programs] == [program.program]
            assert sum(each.processes for each in own.status().nodes) == count + 2
            assert (own.node_process(1), own.bridge_process()) == (node, bridge)
        finish(running, 7)
    assert {each.end for each in running.tree.all()} == {7}
    own.settle()
    assert own.run(write(tmp_path, "init()\nprint('on')\n")).code == 0
    own.settle()


def test_a_deployment_without_a_master_waits_for_it(own: Cluster, tmp_path: Path) -> None:
    path = write(tmp_path, READER)
    with own.start(path, stdin=True) as first:
        up(first)
        own.kill(own.master)
        with subprocess.Popen(
            own.command(path),
            env=own.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as second:
            assert second.stderr is not None
            assert b"which is not there" in second.stderr.readline()
            finish(first)
            time.sleep(1.0)  # in which it is all that the bridge has
            own.start_master()
            out, _ = second.communicate(b"late\n", 30)
            assert second.returncode == 0
            assert out == b"up\ngot late\n"
    own.settle()


def test_what_runs_is_ended_by_nothing_but_its_end(tmp_path: Path) -> None:
    with alone(tmp_path / "cluster") as made:
        start(made)
        with made.start(write(tmp_path, READER), stdin=True) as running:
            up(running)
            made.kill(made.master)
            running.for_a_while(3.0)
            say(running, "still")
            finish(running)
        wait_until(lambda: not processes_of(made), made, 10.0)
        assert not seats(made)
        assert not made.leftovers()


def test_a_node_that_runs_nothing_goes_with_its_master(tmp_path: Path) -> None:
    with alone(tmp_path / "cluster") as made:
        for _ in range(2):
            start(made)
            made.kill(made.master)
            wait_until(lambda: not processes_of(made), made, 5.0)
            assert not seats(made)


def test_a_master_that_is_started_while_its_node_ends(tmp_path: Path) -> None:
    """At each moment of that end, which takes some tenths of a second."""
    with alone(tmp_path / "cluster") as made:
        start(made)
        for step in range(8):
            made.kill(made.master)
            time.sleep(0.1 * step)
            start(made)
        assert made.run(write(tmp_path, "init()\nprint('on')\n"), form="human").out == b"on\n"
        made.settle()
        assert made.kill(made.master, signal.SIGTERM) == 0


def test_a_master_that_is_killed_while_it_starts(tmp_path: Path) -> None:
    with alone(tmp_path / "cluster") as made:
        for step in range(8):
            made.start_master()
            time.sleep(0.1 * step)
            made.kill(made.master)
        wait_until(lambda: not processes_of(made), made, 10.0)
        start(made)
        assert made.kill(made.master, signal.SIGTERM) == 0


# -- masters that are stopped ---------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_master_that_stops_in_order_ends_its_node(tmp_path: Path, number: signal.Signals) -> None:
    with alone(tmp_path / "cluster") as made:
        start(made)
        with made.start(write(tmp_path, READER), stdin=True) as running:
            up(running)
            assert made.kill(made.master, number) == 0
            assert not processes_of(made, besides=running.process.pid)
            assert not seats(made)
            assert running.wait() in (101, 137)


def test_a_master_stops_though_it_is_looking_for_its_node(tmp_path: Path) -> None:
    with alone(tmp_path / "cluster") as made:
        start(made)
        with made.start(write(tmp_path, READER), stdin=True) as running:
            up(running)
            node = made.node_process(1)
            made.kill(made.master)
            os.kill(node, signal.SIGSTOP)
            made.start_master()
            wait_until(lambda: made.log(made.master).count("a master listens") == 2, made)
            time.sleep(0.5)
            made.running[made.master].send_signal(signal.SIGTERM)
            time.sleep(0.5)
            os.kill(node, signal.SIGCONT)
            assert made.running.pop(made.master).wait(30) == 0
            assert not processes_of(made, besides=running.process.pid)
            running.wait()


def test_a_master_that_is_killed_while_it_stops(tmp_path: Path) -> None:
    """Its node goes on with that, and the next master waits for it."""
    with alone(tmp_path / "cluster") as made:
        start(made)
        with made.start(write(tmp_path, READER), stdin=True) as running:
            up(running)
            node, bridge = made.node_process(1), made.bridge_process()
            os.kill(bridge, signal.SIGSTOP)  # so that it takes 15 s
            made.running[made.master].send_signal(signal.SIGTERM)
            wait_until(lambda: made.log(made.master).count("stopping") == 2, made)
            made.kill(made.master)
            start(made)
            assert not programs.alive(node)
            assert not programs.alive(bridge)
            running.wait()
        assert "cannot be used" not in made.log(made.master)
        assert made.run(write(tmp_path, "init()\n")).code == 0
        made.settle()
        assert made.kill(made.master, signal.SIGTERM) == 0


# -- nodes that die -------------------------------------------------------------------------------


def test_a_node_that_is_killed_is_started_again(own: Cluster, tmp_path: Path) -> None:
    for adopted in (False, True):
        with own.start(write(tmp_path, READER), stdin=True) as running:
            up(running)
            if adopted:
                own.kill(own.master)
                own.start_master()
                own.wait_for_log(own.master, "goes on as that of this one")
                own.wait_until_joined()
            node = own.node_process(1)
            before = own.log(own.master).count(HAS_COME)
            os.kill(node, signal.SIGKILL)
            assert running.wait() == 137  # its bridge, too, ends with its node
            assert "the node that ran the bridge has ended" in str(running.events[-1])
        own.wait_for_log(own.master, "the node of this master has ended")
        own.wait_for(lambda: own.own_nodes() not in ([], [node]))  # noqa: B023
        own.wait_for(lambda: own.log(own.master).count(HAS_COME) > before)  # noqa: B023
        own.wait_until_joined()
        assert own.run(write(tmp_path, "init()\nprint('on')\n")).code == 0
        own.settle()


def test_a_node_with_another_key_is_ended(tmp_path: Path) -> None:
    with alone(tmp_path / "cluster") as made:
        start(made)
        with made.start(write(tmp_path, READER), stdin=True) as running:
            up(running)
            made.kill(made.master)
            os.unlink(made.key_file)
            ensure_key_file(made.key_file)
            start(made)
            running.wait()
        assert "cannot be used: it has another key of the cluster" in made.log(made.master)
        assert made.run(write(tmp_path, "init()\n")).code == 0
        made.settle()
        assert made.kill(made.master, signal.SIGTERM) == 0


# Found by every interpreter of the services: it is another version from when there is this file.
VERSION = """
    import os
    import sys

    if os.path.exists({flag!r}):
        import constellation.version
        constellation.version.VERSION = "99.0"
"""


def test_a_node_of_another_version_is_ended(tmp_path: Path) -> None:
    modules, flag = tmp_path / "modules", tmp_path / "flag"
    modules.mkdir()
    text = textwrap.dedent(VERSION).format(flag=str(flag))
    (modules / "sitecustomize.py").write_text(text)
    with alone(tmp_path / "cluster", (modules,)) as made:
        start(made)
        with made.start(write(tmp_path, READER), stdin=True) as running:
            up(running)
            made.kill(made.master)
            flag.touch()
            start(made)
            running.wait()
        assert "and this master 99.0; it is ended" in made.log(made.master)
        assert made.kill(made.master, signal.SIGTERM) == 0


def test_a_node_that_does_not_answer_is_ended(tmp_path: Path) -> None:
    with alone(tmp_path / "cluster") as made:
        start(made)
        with made.start(write(tmp_path, READER), stdin=True) as running:
            up(running)
            node = made.node_process(1)
            made.kill(made.master)
            os.kill(node, signal.SIGSTOP)
            start(made)
            running.wait()
            assert not programs.alive(node)
        log = made.log(made.master)
        assert "cannot be used: it has not answered within 5 s; it is ended" in log
        assert "it has not ended, and is killed" in log
        assert made.run(write(tmp_path, "init()\n")).code == 0
        made.settle()
        assert made.kill(made.master, signal.SIGTERM) == 0


def test_a_second_master_leaves_the_node_of_the_first_alone(own: Cluster, tmp_path: Path) -> None:
    with own.start(write(tmp_path, READER), stdin=True) as running:
        up(running)
        done = own.service("master", own.master, str(own.directory / "nodes.toml"))
        assert done.returncode == 1
        assert "something else listens there" in done.stderr
        say(running, "on")
        finish(running)
    own.settle()


# Found by every interpreter of the services: the nodes of masters do not get far.
BROKEN = """
    import os
    import sys

    if "constellation_daemons.node.main" in sys.orig_argv and os.path.exists({flag!r}):
        os._exit(3)
"""


def test_a_node_that_cannot_be_started_is_told_of_and_tried_again(tmp_path: Path) -> None:
    modules, flag = tmp_path / "modules", tmp_path / "flag"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text(textwrap.dedent(BROKEN).format(flag=str(flag)))
    flag.touch()
    with alone(tmp_path / "cluster", (modules,)) as made:
        made.start_master()
        made.wait_for_log(made.master, "the node of this master has ended with 3; it is started")
        flag.unlink()
        made.wait_until_joined()
        assert made.kill(made.master, signal.SIGTERM) == 0


# -- logs -----------------------------------------------------------------------------------------


def test_a_log_that_nobody_reads_any_more_ends_nothing(tmp_path: Path) -> None:
    """And the next master has what is logged from then on."""
    with alone(tmp_path / "cluster") as made:
        made.start_master()
        made.wait_until_joined()
        assert made.kill(made.master, signal.SIGTERM) == 0
        words = ["-m", "constellation", "master", "-v", *made.key_options, made.master]
        with subprocess.Popen(
            [sys.executable, *words, str(made.directory / "nodes.toml")],
            env=made.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            made.wait_until_joined()
            wait_until(lambda: listens(made.bridge), made)
            with made.start(write(tmp_path, READER), stdin=True) as running:
                up(running)
                process.kill()
                process.wait()
                assert process.stdout is not None
                process.stdout.close()
                say(running, "on")
                made.start_master()
                made.wait_for_log(made.master, "goes on as that of this one")
                made.wait_for_log(made.master, "attached to the master")
                say(running, "again")
                with made.start(write(tmp_path, READER), stdin=True) as other:
                    up(other)
                    made.wait_for_log(made.master, "bridge.service: deploying")
                    finish(other)
                finish(running)
        made.settle()
        assert made.kill(made.master, signal.SIGTERM) == 0


# -- terminals ------------------------------------------------------------------------------------

# It makes its standard input its terminal.
OWN_TERMINAL = """
import fcntl
import os
import sys
import termios

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@contextlib.contextmanager
def at_terminal(made: Cluster) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A master at a terminal of its own. Gives it, and the other end of that."""
    made.start_master()  # which writes nodes.toml
    made.wait_until_joined()
    assert made.kill(made.master, signal.SIGTERM) == 0
    ours, theirs = os.openpty()
    words = [sys.executable, "-m", "constellation", "master", "-v", *made.key_options]
    with subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL, *words, made.master, made.directory / "nodes.toml"],
        env=made.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as master:
        os.close(theirs)
        try:
            wait_until(lambda: listens(made.bridge), made)
            yield master, ours
        finally:
            master.kill()
            with contextlib.suppress(OSError):
                os.close(ours)


def test_a_ctrl_c_at_a_terminal_ends_a_master_in_order(tmp_path: Path) -> None:
    with alone(tmp_path / "cluster") as made, at_terminal(made) as (master, terminal):
        with made.start(write(tmp_path, READER), stdin=True) as running:
            up(running)
            os.write(terminal, b"\x03")
            assert master.wait(30) == 0
            assert not processes_of(made, besides=running.process.pid)
            running.wait()
        shown = os.read(terminal, 1 << 16).decode()
        assert "stopping" in shown
        assert "KeyboardInterrupt" not in shown
        assert "Traceback" not in shown


def test_a_terminal_that_is_closed_ends_a_master_in_order(tmp_path: Path) -> None:
    with (
        alone(tmp_path / "cluster") as made,
        at_terminal(made) as (master, terminal),
        made.start(write(tmp_path, READER), stdin=True) as running,
    ):
        up(running)
        os.close(terminal)
        # The second one is Python's, which could not write to the terminal.
        assert master.wait(30) in (0, 120)
        assert not processes_of(made, besides=running.process.pid)
        running.wait()


def test_a_ctrl_z_and_the_end_of_a_terminal_leave_what_runs_alone(tmp_path: Path) -> None:
    with alone(tmp_path / "cluster") as made, at_terminal(made) as (master, terminal):
        with made.start(write(tmp_path, READER), stdin=True) as running:
            up(running)
            os.killpg(master.pid, signal.SIGSTOP)  # as Ctrl-Z does to the job of a shell
            wait_until(lambda: state(master.pid) == b"T", made)
            say(running, "stopped")
            master.kill()
            master.wait()
            os.close(terminal)
            say(running, "killed")
            with made.start(write(tmp_path, READER), stdin=True) as other:
                running.for_a_while(2.0)  # it is logged that this one has come, nowhere
                other.process.kill()
            finish(running)
        wait_until(lambda: not processes_of(made), made, 10.0)


def state(pid: int) -> bytes:
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
