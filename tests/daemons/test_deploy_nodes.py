"""Programs on two nodes, which are both this machine, and reach each other over TCP."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import local_bridge
import programs
import pytest
from local_bridge import LocalBridge


@pytest.fixture(scope="module")
def shared_bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBridge]:
    directory = tmp_path_factory.mktemp("bridge")
    with local_bridge.bridge(directory, nodes=["a", "b"], refuses=12) as bridge:
        yield bridge


def test_processes_of_two_nodes_talk(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import os
        from constellation import *

        def child(parent, n):
            sender, receiver = Sender(parent), Receiver(parent)
            for value in receiver:
                sender.send((n, os.getcwd(), value)).block()

        init()
        children = [spawn(child, n).block() for n in range(4)]
        senders = [Sender(pid) for pid in children]
        receivers = [Receiver(pid) for pid in children]
        directories = set()
        blob = os.urandom(3 << 20)
        for value in (1, "two", blob):
            for n in range(4):
                senders[n].send(value).block()
            for n in range(4):
                number, directory, back = receivers[n].recv().block()
                assert (number, back) == (n, value)
                directories.add(directory)
        print(len(directories))
        """,
    )
    done = bridge.run(path)
    assert done.code == 0, done.out[-3000:]
    assert done.tree.out == b"2\n"  # each node has a directory of its own
    assert [child.end for child in done.tree.children] == [0] * 4


def test_a_spawn_that_no_node_has_room_for_is_refused(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        from constellation import *
        init()
        started = 0
        try:
            while True:
                spawn(print, "hello").block()
                started += 1
        except NoCapacity as error:
            print(started, error)
        """,
    )
    done = bridge.run(path)
    assert done.code == 0, done.out[-3000:]
    assert done.tree.out.startswith(b"11 no node has room for ")


def test_the_loss_of_a_node_is_told_to_who_talks_to_it(bridge: LocalBridge, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        from constellation import *

        def child(parent):
            sender = Sender(parent)
            sender.send(1).block()
            Receiver(parent).recv().block()

        init()
        receivers = [Receiver(spawn(child).block()) for _ in range(4)]
        for receiver in receivers:
            receiver.recv().block()
        print("running", flush=True)
        lost = 0
        for receiver in receivers[::2]:  # those on the other node
            try:
                receiver.recv().block()
            except ProcessExited as error:
                lost += 1
                print(error.status, flush=True)
        spawn(print, "on").block()
        spawn(print, "on").block()
        """,
    )
    with bridge.start(path) as command:
        command.until(lambda: b"running" in command.output())
        _, other = bridge.agents
        os.kill(other, signal.SIGKILL)
        command.wait()
    tree = command.tree
    assert tree.out.count(b"lost: node ") == 2
    assert tree.end == 0
    ends = sorted(str(child.end) for child in tree.children)
    assert sum(end.startswith("lost: node ") for end in ends) == 2


def test_an_image_that_fails_on_one_node_only_is_an_error_of_the_spawn(
    bridge: LocalBridge, tmp_path: Path
) -> None:
    count = tmp_path / "count"
    path = programs.write(
        tmp_path,
        """
        import sys
        with open(sys.argv[1], "a") as file:
            file.write("x")
        if len(open(sys.argv[1]).read()) == 3:  # the survey, the first node, the second
            raise ValueError("not here")
        from constellation import *
        init()
        try:
            spawn(print, "hello").block()
        except SpawnError as error:
            print(error)
        print("done")
        """,
    )
    done = bridge.run(path, count)
    assert done.code == 0, done.out[-3000:]
    first, second = done.tree.out.splitlines()
    assert b"before it called init(): 1" in first
    assert second == b"done"
