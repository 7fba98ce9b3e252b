# case: {"args": ["SIGKILL"], "out": "done\n", "children": [{"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}]}
# case: {"args": ["SIGTERM"], "out": "done\n", "children": [{"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}, {"exit": 0}]}
"""What was made ahead of a spawn and is killed just before it is replaced, and nobody sees it.

SIGTERM waits there until the process is somebody's, so it comes after the spawn was given to it, and
before it could run. After SIGKILL it is as it happens.
"""

import os
import signal
import sys
import time

from constellation import Receiver, Sender, init, spawn


def child(parent, n, large):
    with open(f"/proc/{os.getppid()}/stat") as stat:
        zygote = int(stat.read().rpartition(")")[2].split()[1])
    Sender(parent).send((n, len(large), zygote)).block()


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return [int(child) for child in children.read().split()]


def spare_of(zygote):
    while True:
        for monitor in children_of(zygote):
            try:
                (process,) = children_of(monitor)
                with open(f"/proc/{process}/comm") as comm:
                    if comm.read() == "cst-spare\n":
                        return process
            except (ValueError, FileNotFoundError, ProcessLookupError):
                pass  # it has just ended, or is just being made
        time.sleep(0.001)


def main():
    number = signal.Signals[sys.argv[1]]
    large = bytes(3_000_000)  # so that it is on its way when the process dies
    init()
    zygote = None
    for n in range(10):
        if zygote is not None:
            os.kill(spare_of(zygote), number)
        child_pid = spawn(child, n, large).block()
        got, size, zygote = Receiver(child_pid).recv().block()
        assert (got, size) == (n, len(large))
    print("done")


if __name__ == "__main__":
    main()
