"""What a program registered with `os.register_at_fork` before `init()`: where that runs, and when.

Threads and locks of libraries depend on it, so it runs; but it is the program's code, which is not
to run in the parts that watch over the program. docs/processes.md says what is promised.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import local_bridge
import programs
import pytest

PROGRAM = """
    import os, sys, threading

    lock = threading.Lock()

    def say(what):
        with open(sys.argv[1], "a") as log:
            log.write(f"{what} {os.getpid()}\\n")

    for what in ("before", "after_in_parent", "after_in_child"):
        os.register_at_fork(**{what: lambda what=what: say(what)})
    # As libraries do that have a lock to keep whole. An exception of theirs ends nothing.
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )
    os.register_at_fork(before=lambda: 1 / 0, after_in_child=lambda: 1 / 0)

    from constellation import *

    def child(parent):
        assert not lock.locked()
        say("runs")

    def main():
        say("calls")
        init()
        assert not lock.locked()
        say("runs")
        for _ in range(3):
            pid = spawn(child).block()
            try:
                Receiver(pid).recv().block()
            except ProcessExited:
                pass
        with open(f"/proc/{os.getppid()}/stat") as stat:
            zygote = stat.read().rpartition(")")[2].split()[1]
        say(f"zygote:{zygote}")

    main()
"""


OWN = ["before", "after_in_child"]


def run(log: Path, done: programs.Finished) -> tuple[int, dict[int, list[str]]]:
    """The zygote, and what each process has noted, in order."""
    assert done.code == 0, done
    noted: dict[int, list[str]] = defaultdict(list)
    zygotes = []
    for line in log.read_text().splitlines():
        what, _, pid = line.rpartition(" ")
        if what.startswith("zygote:"):
            zygotes.append(int(what.partition(":")[2]))
        else:
            noted[int(pid)].append(what)
    (zygote,) = zygotes
    return zygote, noted


def test_it_runs_in_init_and_in_the_processes_and_not_in_monitors(tmp_path: Path) -> None:
    path, log = programs.write(tmp_path, PROGRAM), tmp_path / "log"
    zygote, noted = run(log, programs.run(path, str(log)))
    (command,) = (pid for pid, each in noted.items() if "calls" in each)
    assert noted.pop(command) == ["calls", "before", "after_in_parent"]
    assert noted.pop(zygote) == ["after_in_child"]
    processes = [each for each in noted.values() if "runs" in each]
    assert processes == [[*OWN, "runs"]] * 4
    spares = [each for each in noted.values() if "runs" not in each]
    assert all(each == OWN[: len(each)] for each in spares), noted  # it may just be being made


def test_on_a_node_it_runs_in_the_processes_alone(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, log = programs.write(tmp_path, PROGRAM), tmp_path_factory.mktemp("log") / "log"
    with local_bridge.bridge(tmp_path_factory.mktemp("bridge")) as bridge:
        zygote, noted = run(log, bridge.run(path, str(log)))
    assert noted.pop(zygote) == ["calls"]
    processes = [each for each in noted.values() if "runs" in each]
    assert processes == [[*OWN, "runs"]] * 4
    spares = [each for each in noted.values() if each[0] != "calls" and "runs" not in each]
    assert all(each == OWN[: len(each)] for each in spares), noted  # it may just be being made


def test_where_processes_start_fresh_nothing_is_forked(tmp_path: Path) -> None:
    path, log = programs.write(tmp_path, PROGRAM), tmp_path / "log"
    zygote, noted = run(log, programs.run(path, str(log), CONSTELLATION_START="fresh"))
    assert zygote not in noted
    assert sorted(noted.values()) == [["calls"], *([["calls", "runs"]] * 4)]
