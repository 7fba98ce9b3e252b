"""Programs whose processes wait for room that only they could make, on a cluster."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import cluster as clusters
import programs
import pytest
from cluster import Cluster, Size

PREAMBLE = """
import asyncio
import threading
import time
from constellation import *

ONE = Resources(mem="100 MiB", cpu=0.01)
TINY = Resources(mem="1 MiB", cpu=0.01)

def say(*words):
    print(*words, flush=True)

def child(parent):
    Sender(parent).send("child").block()

def nothing(parent):
    pass

def just_spawn():
    return spawn(nothing, resources=ONE).block() and "child"

def spawn_and_wait():
    return Receiver(spawn(child, resources=ONE).block()).recv().block()

def begin(initial):  # when all parents are there
    Receiver(initial, name="begin").recv().block()

def four(parent):
    parents = [spawn(parent, resources=ONE).block() for _ in range(4)]
    for each in parents:
        Sender(each, name="begin").send(None).block()
    return parents

def leave(initial):
    Sender(initial).send(None).block()
    Receiver(initial).recv().block()

def guarded(wait):
    begun = time.monotonic()
    try:
        say("served", wait())
    except SpawnDeadlock as error:
        say("deadlock", f"{time.monotonic() - begun:.1f}", str(error).replace("\\n", "|"))
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "program" / "program.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(PREAMBLE + textwrap.dedent(text))
    return path


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Room for four processes of `ONE`, and for a small one that starts them."""
    directory = tmp_path_factory.mktemp("cluster")
    with clusters.cluster(directory, sizes=(Size("430 MiB", 2),)) as made:
        yield made


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    yield shared
    shared.settle()


def lines(cluster: Cluster, path: Path) -> list[str]:
    """What the processes of a program print that ends well."""
    done = cluster.run(path)
    processes = list(programs.tree_of(done.events).all())
    errors = b"".join(process.err for process in processes) + done.err
    assert done.code == 0, errors.decode()
    said = b"".join(process.out for process in processes)
    return sorted(said.decode().splitlines())


PARENTS = {
    "blocked": """
        def parent(initial):
            begin(initial)
            guarded(spawn_and_wait)
            leave(initial)
    """,
    "a thread": """
        def work(initial):
            guarded(spawn_and_wait)
            Sender(initial).send(None).block()

        def parent(initial):
            begin(initial)
            threading.Thread(target=work, args=(initial,)).start()
            Receiver(initial).recv().block()
    """,
    "the last thread": """
        def work(initial):
            guarded(spawn_and_wait)
            leave(initial)

        def parent(initial):
            begin(initial)
            threading.Thread(target=work, args=(initial,)).start()
    """,
    "asyncio": """
        async def wait():
            return await Receiver(await spawn(child, resources=ONE)).recv()

        async def parent(initial):
            await Receiver(initial, name="begin").recv()
            ended = asyncio.Event()

            async def work():
                try:
                    say("served", await wait())
                except SpawnDeadlock as error:
                    say("deadlock", 0, str(error).replace("\\n", "|"))
                ended.set()

            task = asyncio.create_task(work())
            await ended.wait()
            await task
            await Sender(initial).send(None)
            await Receiver(initial).recv()
    """,
    "join": """
        def both():
            pids = join(*(spawn(child, resources=ONE) for _ in range(2))).block()
            return [Receiver(each).recv().block() for each in pids][0]

        def parent(initial):
            begin(initial)
            guarded(both)
            leave(initial)
    """,
}


@pytest.mark.parametrize("kind", PARENTS)
def test_four_parents_that_hold_all_there_is(cluster: Cluster, tmp_path: Path, kind: str) -> None:
    path = write(
        tmp_path,
        PARENTS[kind]
        + """
        def main():
            init(TINY)
            parents = four(parent)
            ends = [Receiver(each) for each in parents]
            while ends:
                index, _ = select(*(end.recv() for end in ends)).block()
                ends.pop(index)
                Sender(parents.pop(index)).send(None).block()

        main()
        """,
    )
    deadlock, *served = lines(cluster, path)
    assert served == ["served child"] * 3
    word, seconds, text = deadlock.split(maxsplit=2)
    assert word == "deadlock"
    assert float(seconds) < 15.0
    first, *chain = text.split("|    ")
    victim = first.split()[1]
    room = "100 MiB and 0.01 cores"
    assert first == f"process {victim} can never have room for {room}, as things are:"
    waits = [line for line in chain if " waits for " in line]
    assert len(waits) in (4, 5), "the parents, and the first process where these wait for it"
    assert any(line.startswith(f"{victim} on {cluster.node(1)}") for line in waits)
    assert sum(room in line for line in waits) == 4
    (held,) = [line for line in chain if " is held by " in line]
    assert victim in held or "more" in held


QUIET = {
    "a timeout": """
        def parent(initial):
            begin(initial)
            try:
                spawn(nothing, resources=ONE).block(4.5)
            except TimeoutError:
                say("timeout")
    """,
    "one thread has a timeout": """
        import os

        def parent(initial):
            begin(initial)
            threading.Thread(target=lambda: guarded(just_spawn)).start()
            try:
                Receiver(initial).recv().block(4.5)
            except TimeoutError:
                say("timeout")
                os._exit(0)
    """,
    "a timer of asyncio": """
        async def parent(initial):
            await Receiver(initial, name="begin").recv()
            try:
                await asyncio.wait_for(spawn(nothing, resources=ONE), 4.5)
            except asyncio.TimeoutError:
                say("timeout")
    """,
    "a timer of the system": """
        import signal

        def parent(initial):
            def ring(*_):
                raise InterruptedError

            begin(initial)
            signal.signal(signal.SIGALRM, ring)
            signal.alarm(5)
            try:
                guarded(just_spawn)
            except InterruptedError:
                say("timeout")
    """,
}


@pytest.mark.parametrize("kind", QUIET)
def test_a_wait_that_ends_by_itself_is_no_deadlock(
    cluster: Cluster, tmp_path: Path, kind: str
) -> None:
    path = write(
        tmp_path,
        QUIET[kind]
        + """
        def main():
            init(TINY)
            parents = four(parent)
            for each in parents:
                try:
                    Receiver(each).recv().block()
                except ProcessExited:
                    pass

        main()
        """,
    )
    said = lines(cluster, path)
    assert not [line for line in said if "deadlock" in line]
    assert "timeout" in said


def test_whoever_computes_may_make_room(cluster: Cluster, tmp_path: Path) -> None:
    """Each parent has a thread that does something else, and one of them ends its process."""
    path = write(
        tmp_path,
        """
        import os

        def parent(initial):
            begin(initial)
            last = Receiver(initial).recv().block()
            threading.Thread(target=lambda: (time.sleep(5), last and os._exit(0))).start()
            guarded(spawn_and_wait)

        def main():
            init(TINY)
            parents = four(parent)
            for each in parents:
                Sender(each).send(each is parents[-1]).block()
            for each in parents:
                try:
                    Receiver(each).recv().block()
                except ProcessExited:
                    pass

        main()
        """,
    )
    assert lines(cluster, path) == ["served child"] * 3


def test_small_ones_that_go_on_let_a_big_one_wait(cluster: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        def small(parent):
            time.sleep(0.3)

        def feed(parent):
            for _ in range(16):
                spawn(small, resources=ONE).block()

        def main():
            init(TINY)
            feeders = [spawn(feed, resources=TINY).block() for _ in range(2)]
            time.sleep(0.5)
            big = spawn(child, resources=Resources(mem="400 MiB", cpu=0.01)).block()
            say("served", Receiver(big).recv().block())

        main()
        """,
    )
    assert lines(cluster, path) == ["served child"]


def test_try_spawn_never_waits(cluster: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        def parent(initial):
            begin(initial)
            begun = time.monotonic()
            try:
                try_spawn(child, resources=ONE).block()
            except NoCapacity as error:
                say(type(error).__name__, time.monotonic() - begun < 1.0)
            leave(initial)

        def main():
            init(TINY)
            parents = four(parent)
            for each in parents:
                Receiver(each).recv().block()
            for each in parents:
                Sender(each).send(None).block()

        main()
        """,
    )
    assert lines(cluster, path) == ["NoCapacity True"] * 4


def test_a_window_that_only_the_stuck_could_empty(cluster: Cluster, tmp_path: Path) -> None:
    """Two hold all room: one waits for room, and the other for that one to receive."""
    path = write(
        tmp_path,
        """
        HALF = Resources(mem="200 MiB", cpu=0.01)

        def fill(parent):
            sender = Sender(parent)
            try:
                while True:
                    sender.send(bytes(1 << 20)).block()
            except ProcessExited:
                say("the reader is gone")

        def main():
            init(HALF)
            spawn(fill, resources=HALF).block()
            guarded(lambda: spawn(child, resources=HALF).block())

        main()
        """,
    )
    deadlock, gone = lines(cluster, path)
    assert deadlock.startswith("deadlock")
    assert " to receive" in deadlock
    assert gone == "the reader is gone"


def test_one_that_gives_way_may_try_again(cluster: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        def main():
            init(Resources(mem="400 MiB", cpu=0.01))
            guarded(spawn_and_wait)
            guarded(spawn_and_wait)
            say("served", Receiver(spawn(child, resources=TINY).block()).recv().block())

        main()
        """,
    )
    first, second, served = lines(cluster, path)
    assert first.startswith("deadlock")
    assert second.startswith("deadlock")
    assert served == "served child"


def test_two_programs_that_hold_everything_together(cluster: Cluster, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        def main():
            init(Resources(mem="200 MiB", cpu=0.01))
            time.sleep(1)
            guarded(spawn_and_wait)

        main()
        """,
    )
    with cluster.start(path) as one, cluster.start(path) as other:
        assert one.wait() == other.wait() == 0
    said = sorted((one.output() + other.output()).decode().splitlines())
    assert [line.split()[0] for line in said] == ["deadlock", "served"]


def test_a_new_master_finds_it_too(tmp_path: Path) -> None:
    directory = tmp_path / "cluster"
    directory.mkdir()
    # Beside each other the one would be shipped with the other.
    (tmp_path / "program").mkdir()
    path = write(
        tmp_path / "program",
        """
        def main():
            init(Resources(mem="400 MiB", cpu=0.01))
            say("begun")
            guarded(spawn_and_wait)

        main()
        """,
    )
    with clusters.cluster(
        directory, sizes=(Size("430 MiB", 2),), timeout=2.0, separate=True
    ) as cluster:
        with cluster.start(path) as program:
            program.until(lambda: b"begun" in program.output())
            cluster.kill(cluster.master)
            cluster.start_master()
            assert program.wait() == 0
        assert b"deadlock" in program.output()
        cluster.settle()
