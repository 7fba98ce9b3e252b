# case: {"args": ["--level", "3", "x"], "env": {"VARIABLE": "v\u00e4lue"}, "out": "equal\n", "exit": 0, "children": [{"exit": 0, "children": [{"exit": 0}]}]}
# case: {"args": ["--level", "3", "--change"], "env": {"VARIABLE": "v\u00e4lue"}, "out": "equal\n", "exit": 0, "children": [{"exit": 0, "children": [{"exit": 0}]}], "fresh": true, "native": true}
"""Parent, child and grandchild have the same surroundings; argparse runs at the top of the script."""

import argparse
import os
import sys
import tempfile

from constellation import Receiver, Sender, init, spawn

parser = argparse.ArgumentParser()
parser.add_argument("--level", required=True, type=int)
parser.add_argument("--change", action="store_true")
parser.add_argument("rest", nargs="*")
arguments = parser.parse_args()


def surroundings():
    return (
        sys.argv,
        __file__,
        os.getcwd(),
        dict(os.environ),
        sys.path,
        arguments,
        os.environ["CONSTELLATION"],
        sys.stdin.read(),
    )


def child(parent, depth):
    sender = Sender(parent)
    sender.send(surroundings()).block()
    if depth:
        sender.send(Receiver(spawn(child, depth - 1).block()).recv().block()).block()


init()
with tempfile.TemporaryDirectory() as directory:
    if arguments.change:
        os.chdir(directory)
        os.environ["VARIABLE"] = "changed"
        os.environ["NEW"] = "1"
        del os.environ["PATH"]
        sys.argv.append("more")
        sys.path.insert(0, directory)
    mine = surroundings()
    receiver = Receiver(spawn(child, 1).block())
    for theirs in (receiver.recv().block(), receiver.recv().block()):
        assert [a == b for a, b in zip(mine, theirs, strict=True)] == [True] * 8, (mine, theirs)
    os.chdir("/")
print("equal")
