"""What becomes of processes that take more memory than they were given, on a loopback cluster."""

from __future__ import annotations

import os
import re
import signal
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster as clusters
import programs
import psutil
import pytest
from cluster import Cluster, Size

SIZES = (Size("3 GiB", 4),)
CAUSE = re.compile(
    r"memory limit: used ([0-9.]+) (MiB|GiB) of ([0-9.]+ MiB), killed by node (127[0-9.]+:9999)"
)


def write(directory: Path, text: str) -> Path:
    path = directory / "program.py"
    path.write_text("from constellation import *\n" + textwrap.dedent(text))
    return path


@pytest.fixture(scope="module")
def shared_strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("strict")
    with clusters.cluster(directory, sizes=SIZES, enforce="strict") as made:
        yield made


@pytest.fixture
def strict(shared_strict: Cluster) -> Iterator[Cluster]:
    yield shared_strict
    shared_strict.settle()


def os_pids(running: programs.Running, text: str) -> list[int]:
    """The process ids that a program has printed after a word."""
    found = re.findall(rf"^{text} (\d+)$", running.output().decode(), re.MULTILINE)
    return [int(each) for each in found]


def statuses(running: programs.Running) -> list[dict[str, Any]]:
    return [event["status"] for event in running.events if event["event"] == "exit"]


GREEDY = """
    import os, sys, time
    GIVEN = Resources(mem="200 MiB", cpu=0.1)

    def greedy(parent):
        print("greedy", os.getpid(), flush=True)
        held = bytearray(1 << 30)
        for page in range(0, len(held), 4096):
            held[page] = 1
        time.sleep(600)

    def modest(parent):
        print("modest", os.getpid(), flush=True)
        time.sleep(600)

    def main():
        init(Resources(mem="100 MiB", cpu=0.1))
        others = [spawn(each, resources=GIVEN).block() for each in (modest, greedy)]
        for other in reversed(others):
            try:
                Receiver(other).recv().block()
            except ProcessExited as error:
                status = error.status
                print(f"{status.signal}; {status.cause}; {status.max_rss}", flush=True)

    main()
"""


def test_one_that_takes_too_much_is_killed_and_one_killed_by_hand_is_told_apart(
    strict: Cluster, tmp_path: Path
) -> None:
    with strict.start(write(tmp_path, GREEDY)) as running:
        running.until(lambda: os_pids(running, "modest") and os_pids(running, "greedy"))
        (modest,), (greedy,) = os_pids(running, "modest"), os_pids(running, "greedy")
        # At the same moment: when the other is about to be killed.
        running.until(lambda: not psutil.pid_exists(greedy) or _resident(greedy) > 300 << 20)
        os.kill(modest, signal.SIGKILL)
        assert running.wait() == 101
    tree = running.tree
    first, second = tree.children
    assert (first.end, second.end) == ("SIGKILL", "SIGKILL")
    assert first.status is not None
    assert second.status is not None
    assert "cause" not in first.status, "nobody knows who that was"
    found = CAUSE.fullmatch(second.status["cause"])
    assert found is not None, second.status
    assert found[3] == "200 MiB"
    assert found[4] == strict.master
    assert second.status["max_rss"] > 200 << 20
    printed = tree.out.decode().splitlines()
    assert printed[0].startswith(f"SIGKILL; {second.status['cause']}; ")
    assert printed[1].startswith("SIGKILL; None; ")
    told = f"process {second.pid[:7]} of program.py: {second.status['cause']}"
    line = next(each for each in strict.log(strict.master).splitlines() if told in each)
    assert re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:,]+ WARNING ", line)


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 1 << 40


def test_descendants_count_and_go_along(strict: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        import os, subprocess, sys, time
        GIVEN = Resources(mem="100 MiB", cpu=0.1)
        TAKE = "import time; a = b'x' * (150 << 20); time.sleep(600)"

        def greedy(parent):
            subprocess.Popen([sys.executable, "-c", TAKE], start_new_session=True)
            time.sleep(600)

        def main():
            init(GIVEN)
            spawn(greedy, resources=GIVEN).block()

        main()
        """,
    )
    with strict.start(path) as running:
        assert running.wait() == 101
    (child,) = running.tree.children
    assert child.status is not None
    assert CAUSE.fullmatch(child.status["cause"])
    assert child.end == "SIGKILL"


def test_memory_that_only_descendants_share_counts(strict: Cluster, tmp_path: Path) -> None:
    """The process had it before it forked them."""
    path = write(
        tmp_path,
        """
        import os, time
        GIVEN = Resources(mem="100 MiB", cpu=0.1)

        def forking(parent):
            # Slowly, so that the forks are there before it is too much for one.
            held = [b"x" * (90 << 20)]
            forks = [os.fork() for _ in range(1)]
            if 0 in forks:
                time.sleep(600)
            time.sleep(2.5)
            held.append(b"x" * (40 << 20))
            time.sleep(600)

        def main():
            init(GIVEN)
            spawn(forking, resources=GIVEN).block()

        main()
        """,
    )
    with strict.start(path) as running:
        assert running.wait() == 101
    (child,) = running.tree.children
    assert child.status is not None
    assert CAUSE.fullmatch(child.status["cause"])


def test_what_is_shared_with_the_image_is_nobodys(strict: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        import subprocess, time
        GIVEN = Resources(mem="100 MiB", cpu=0.1)
        IMAGE = b"x" * (300 << 20)

        def reader(parent):
            subprocess.Popen(["sleep", "600"])
            own = b"x" * (50 << 20)
            count = sum(len(IMAGE[each:each + 1]) for each in range(0, len(IMAGE), 4096))
            Sender(parent).send(count).block()
            time.sleep(3.5)  # it is measured meanwhile, more than once

        def main():
            init(GIVEN)
            others = [spawn(reader, resources=GIVEN).block() for _ in range(3)]
            print(*(Receiver(other).recv().block() for other in others))

        main()
        """,
    )
    done = strict.run(path)
    tree = programs.tree_of(done.events)
    assert tree.out == b"76800 76800 76800\n"
    assert [child.end for child in tree.children] == [0, 0, 0]
    assert all(child.status["max_rss"] > 300 << 20 for child in tree.children if child.status)
    assert done.code == 0


PATIENT = """
    import os, time
    GIVEN = Resources(mem="50 MiB", cpu=0.1)

    def main():
        init(GIVEN)
        held = b"x" * (300 << 20)
        print("greedy", os.getpid(), flush=True)
        time.sleep(3.5)
        print("done")

    main()
"""


@pytest.mark.parametrize("enforce", ["off", "pressure"])
def test_otherwise_nothing_is_killed(tmp_path: Path, enforce: str) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    with clusters.cluster(directory, sizes=SIZES, enforce=enforce) as made:
        done = made.run(write(tmp_path, PATIENT))
        assert done.code == 0
        assert programs.tree_of(done.events).out.endswith(b"done\n")
        made.settle()


SHORT = """
    import os, psutil

    virtual_memory = psutil.virtual_memory

    def short():
        found = virtual_memory()
        return found._replace(available=found.total // 100) if os.path.exists({path!r}) else found

    psutil.virtual_memory = short
"""

GREEDY_ONES = """
    import time

    def child(parent, size):
        held = b"x" * (size << 20)
        Sender(parent).send(None).block()
        Receiver(parent).recv().block()

    def main():
        init(Resources(mem="100 MiB", cpu=0.1))
        asked = [(60, 200), (150, 100), (60, 20)]
        others = []
        for size, mem in asked:
            given = Resources(mem=Mem.MIB * mem, cpu=0.1)
            others.append(spawn(child, size, resources=given).block())
            Receiver(others[-1]).recv().block()
        print("up", flush=True)
        time.sleep(600)

    main()
"""


def test_when_the_machine_is_short_the_worst_go_one_by_one(tmp_path: Path) -> None:
    """It only seems to be, as a test should not take all of a machine's memory."""
    directory, modules, lever = tmp_path / "cluster", tmp_path / "modules", tmp_path / "short"
    directory.mkdir()
    modules.mkdir()
    text = textwrap.dedent(SHORT).format(path=str(lever))
    (modules / "sitecustomize.py").write_text(text)
    with clusters.cluster(directory, sizes=SIZES, modules=(modules,)) as made:
        with made.start(write(tmp_path, GREEDY_ONES)) as running:
            running.until(lambda: b"up" in running.output())
            running.for_a_while(1.5)
            assert not statuses(running)
            lever.touch()
            running.until(lambda: len(statuses(running)) == 2)
            running.for_a_while(1.5)
            assert len(statuses(running)) == 2, "the others take no more than they were given"
            running.signal(signal.SIGTERM)
            running.wait()
        made.settle()
        logs = "".join(made.log(made.node(number)) for number in range(1, len(SIZES) + 1))
    ends = [event for event in running.events if event["event"] == "exit"][:2]
    for end in ends:
        # The log calls a process as everything else does.
        assert re.search(
            rf"process {end['pid'][:7]} of program [0-9a-f]{{7}}: memory limit: ", logs
        )
    causes = [str(status.get("cause")) for status in statuses(running)[:2]]
    assert ["of 20 MiB" in causes[0], "of 100 MiB" in causes[1]] == [True, True]
    assert all("while the machine was short of memory, killed by node" in each for each in causes)


def test_shares_of_the_processors_follow_what_was_asked_for(
    strict: Cluster, tmp_path: Path
) -> None:
    path = write(
        tmp_path,
        """
        import os, threading, time

        def show(parent):
            # It is set when the node has heard of the process.
            end = time.monotonic() + 20
            while parent is not None and not os.nice(0) and time.monotonic() < end:
                time.sleep(0.01)
            for task in os.listdir("/proc/self/task"):
                fields = open(f"/proc/self/task/{task}/stat").read().rpartition(")")[2].split()
                print("nice", fields[16], flush=True)

        def main():
            init(Resources(mem="50 MiB", cpu=1))
            show(None)
            spawn(show, resources=Resources(mem="50 MiB", cpu=1 / 16)).block()
            spawn(show, resources=Resources(mem="50 MiB", cpu=0.01)).block()

        main()
        """,
    )
    done = strict.run(path)
    tree = programs.tree_of(done.events)
    shown = [{int(line.split()[1]) for line in each.out.splitlines()} for each in tree.all()]
    assert shown == [{0}, {12}, {19}]
    assert done.code == 0


def test_one_whose_agent_is_killed_leaves_nothing(strict: Cluster, tmp_path: Path) -> None:
    with strict.start(write(tmp_path, GREEDY.replace("spawn(each", "spawn(modest"))) as running:
        running.until(lambda: len(os_pids(running, "modest")) == 2)
        (agent,) = strict.agents(1)
        os.kill(agent, signal.SIGKILL)
        start = time.monotonic()
        running.wait()
        assert time.monotonic() - start < 10
    assert all("memory" not in str(status.get("cause")) for status in statuses(running))
    assert strict.run(write(tmp_path, "init()")).code == 0  # whose agent sweeps up
