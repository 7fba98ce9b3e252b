"""Programs whose processes start fresh, on a cluster of two nodes: what is different there.

Each test counts the runs of the program, by files in a directory: 0 is the image of the first node,
which gives way to a zygote, 1 the initial process, 2 the image of the second node, and 3 the first
process that is spawned, which has room there only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cluster as clusters
import programs
import pytest
from cluster import Cluster, Size

SIZES = (Size("256 MiB", 2), Size("512 MiB", 2))
FRESH = ("--env", "CONSTELLATION_START=fresh", "--mem", "200 MiB", "--cpu", "1")

HEAD = """
import os, signal, subprocess, sys, time
RUNS = sys.argv[1]
RUN = len(os.listdir(RUNS))
open(os.path.join(RUNS, str(RUN)), "w").close()
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with clusters.cluster(tmp_path_factory.mktemp("cluster"), sizes=SIZES) as made:
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    yield shared
    shared.settle()


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    directory = tmp_path / "runs"
    directory.mkdir()
    return directory


def program(directory: Path, source: str) -> Path:
    (directory / "program").mkdir()
    path = programs.write(directory / "program", source)
    path.write_text(HEAD + path.read_text())
    return path


def test_processes_of_two_nodes(cluster: Cluster, runs: Path, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        print("before init()")
        os.environ["RUN"] = str(RUN)
        from constellation import *
        from constellation.process import birth

        def visible():
            # What of the secret key others could see: of the process, its monitor, its zygote.
            secret, pid, found = birth.here().birth.site.secret, os.getpid(), []
            for _ in range(3):
                for name in ("cmdline", "environ"):
                    if secret in open(f"/proc/{pid}/{name}", "rb").read():
                        found.append((pid, name))
                pid = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
            listing = subprocess.run(["ls", "-l", "/proc/self/fd"], close_fds=False, text=True,
                stdout=subprocess.PIPE).stdout
            return len(secret), found, listing.count("socket:"), listing.count("memfd")

        def child(parent, number):
            print("child", number, os.environ["CONSTELLATION"], os.environ["RUN"], sys.argv[2:])
            Sender(parent).send((visible(), os.getcwd())).block()
            Receiver(parent).recv().block()
            os.kill(os.getpid(), signal.SIGKILL)

        init()
        print(sys.stdin.read(), os.environ["CONSTELLATION"], RUN)
        stays = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        print(stays.pid)
        sys.argv.append("more")
        small = Resources(mem="10 MiB", cpu=0.5)
        large = Resources(mem="100 MiB", cpu=0.5)
        children = [spawn(child, n, resources=r).block() for n, r in enumerate((large, small))]
        found = [Receiver(pid).recv().block() for pid in children]
        for pid in children:
            Sender(pid).send("die").block()
        print([see for see, _ in found] + [visible()])
        print([where == os.getcwd() for _, where in found])
        base = RUN
        closure = spawn(lambda parent: Sender(parent).send((base, RUN)).block(), resources=small)
        print(Receiver(closure.block()).recv().block())
        """,
    )
    done = cluster.run(*FRESH, path, str(runs), "a b", stdin=b"input")
    lines = done.tree.out.decode().splitlines()
    assert lines[0] == "input fabric 1", done.err.decode()
    assert lines[2:] == [str([(40, [], 0, 0)] * 3), "[False, True]", "(1, 5)"]
    killed = [child for child in done.tree.children if child.end == "SIGKILL"]
    assert sorted(child.out for child in killed) == [
        b"child %d fabric 1 ['a b', 'more']\n" % number for number in range(2)
    ]
    assert len(done.tree.children) == 3
    assert done.tree.end == 0
    assert not programs.alive(int(lines[1])), "nothing is left"
    # One for each process and each node's image, and none ahead of a spawn.
    assert len(list(runs.iterdir())) == 4 + 2


FAILS = """
if RUN == int(sys.argv[2]):
    print("last words")
    raise ValueError("only here")
from constellation import *
init()
try:
    spawn(print, "never", resources=Resources(cpu=0.5)).block()
except SpawnError as error:
    print(type(error).__name__, *str(error).splitlines()[::4], sep="|")
"""


def test_an_initial_process_that_fails_before_init_says_why(
    cluster: Cluster, runs: Path, tmp_path: Path
) -> None:
    done = cluster.run(*FRESH, program(tmp_path, FAILS), str(runs), "1", form="human")
    assert done.code == 1
    assert b"last words" in done.out
    assert done.err.count(b"Traceback (most recent call last)") == 1
    assert b"ValueError: only here" in done.err


def test_a_process_that_fails_before_init_was_never_spawned(
    cluster: Cluster, runs: Path, tmp_path: Path
) -> None:
    done = cluster.run(*FRESH, program(tmp_path, FAILS), str(runs), "3")
    assert done.code == 0, done.err
    assert done.tree.out.decode() == (
        "ProgramError|the new process ended before it reached init(): 1|ValueError: only here\n"
    )
    assert done.tree.children == []


WAITS = """
if RUN == 3:
    open(os.path.join(RUNS, "unborn"), "w").write(str(os.getpid()))
    time.sleep(1000)
from constellation import *
init()
try:
    spawn(print, "never", resources=Resources(cpu=0.5)).block()
except SpawnError as error:
    print(error)
"""


@pytest.mark.parametrize("role", ["process", "monitor", "zygote"])
def test_a_kill_before_init_leaves_nothing(
    cluster: Cluster, runs: Path, tmp_path: Path, role: str
) -> None:
    unborn = runs / "unborn"
    with cluster.start(*FRESH, program(tmp_path, WAITS), str(runs)) as command:
        command.until(lambda: unborn.exists() and unborn.read_text())
        process = int(unborn.read_text())
        monitor = parent_of(process)
        victim = {"process": process, "monitor": monitor, "zygote": parent_of(monitor)}[role]
        os.kill(victim, signal.SIGKILL)
        code = command.wait()
    told = {
        "process": "the new process ended before it reached init(): SIGKILL",
        "monitor": "the new process is lost: monitor killed",
        "zygote": "the new process",  # its death and its zygote's come in any order
    }[role]
    assert command.tree.out.decode().startswith(told)
    assert code == 0
    assert command.tree.children == []
    assert not programs.alive(process)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_what_is_no_way_to_start_is_told(cluster: Cluster, runs: Path, tmp_path: Path) -> None:
    options = ("--env", "CONSTELLATION_START=flesh", *FRESH[2:])
    done = cluster.run(*options, program(tmp_path, WAITS), str(runs), form="human")
    assert done.code == 2
    assert b"CONSTELLATION_START" in done.err
    assert b"Traceback" not in done.err
