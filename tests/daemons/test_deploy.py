"""Programs that are deployed: the command, the bridge and an agent, from end to end."""

from __future__ import annotations

import re
from pathlib import Path

import programs
import pytest
from local_bridge import LocalBridge

HELLO = """
import sys
from constellation import *

def child(parent, n):
    print("child", n)
    Sender(parent).send(n * n).block()

def main():
    init()
    print("hello", sys.argv[1:])
    children = [spawn(child, n).block() for n in range(3)]
    print([Receiver(pid).recv().block() for pid in children])
    print("to stderr", file=sys.stderr)

main()
"""


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    return programs.write(tmp_path, HELLO)


def test_a_program_and_its_processes_in_json(bridge: LocalBridge, hello: Path) -> None:
    done = bridge.run(hello, "a", "--b", "")
    assert done.code == 0, done.err
    assert done.tree.out == b"hello ['a', '--b', '']\n[0, 1, 4]\n"
    assert done.tree.err == b"to stderr\n"
    assert [child.out for child in done.tree.children] == [b"child %d\n" % n for n in range(3)]
    assert [node.end for node in done.tree.all()] == [0] * 4


def test_a_program_in_human_form(bridge: LocalBridge, hello: Path) -> None:
    done = bridge.run(hello, form="human")
    assert done.code == 0
    assert done.out.startswith(b"hello []\n")
    assert sorted(done.out.splitlines()) == sorted(
        [b"hello []", b"[0, 1, 4]", b"child 0", b"child 1", b"child 2"]
    )
    assert re.search(rb"spawned: [0-9a-f]{7}", done.err)
    assert done.err.count(b"exited: 0") == 4
