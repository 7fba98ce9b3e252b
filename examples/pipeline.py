"""Stages of different speed, one after the other: the slowest sets the pace of all.

A stage that is ahead waits in `send` until the next one has taken something: no more than a window
of values is under way between two of them. Run it with
`python examples/pipeline.py [STAGES] [--blocks BLOCKS]`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import time

from constellation import Pid, Receiver, Sender, init, join, spawn

BLOCK = 1 << 20


def stage(parent: Pid, delay: float) -> None:
    before, after = Receiver[tuple[Pid, Pid]](parent, name="neighbours").recv().block()
    # Without `with`: a stage that fails leaves its channel open, and the next one learns of it.
    next_stage = Sender[bytes](after)
    for block in Receiver[bytes](before):
        time.sleep(delay)  # what a real stage would do with it
        next_stage.send(block).block()


def source(parent: Pid, count: int) -> None:
    _, after = Receiver[tuple[Pid, Pid]](parent, name="neighbours").recv().block()
    digest, waited = hashlib.sha256(), 0.0
    sender = Sender[bytes](after)
    for _ in range(count):
        block = os.urandom(BLOCK)
        digest.update(block)
        ready = time.monotonic()
        sender.send(block).block()
        waited += time.monotonic() - ready
    Sender[str](parent, name="digest").send(digest.hexdigest()).block()
    Sender[float](parent, name="waited").send(waited).block()


def sink(parent: Pid) -> None:
    before, _ = Receiver[tuple[Pid, Pid]](parent, name="neighbours").recv().block()
    digest = hashlib.sha256()
    for block in Receiver[bytes](before):
        digest.update(block)
    Sender[str](parent, name="digest").send(digest.hexdigest()).block()


def main() -> None:
    parser = argparse.ArgumentParser(description="Pass blocks of bytes through stages.")
    parser.add_argument("stages", type=int, nargs="?", default=3, help="how many (default: 3)")
    parser.add_argument("--blocks", type=int, default=32, help="of 1 MiB (default: 32)")
    parser.add_argument("--delay", type=float, default=0.02, help="of the slowest, seconds")
    arguments = parser.parse_args()
    if arguments.stages < 1:
        parser.error("there has to be a stage")
    init()
    # The last stage is the slow one, so all before it have to wait.
    delays = [0.0] * (arguments.stages - 1) + [arguments.delay]
    stages = [spawn(stage, delay) for delay in delays]
    line = join(spawn(source, arguments.blocks), *stages, spawn(sink)).block()
    for index, member in enumerate(line):
        neighbours = line[index - 1], line[(index + 1) % len(line)]
        Sender[tuple[Pid, Pid]](member, name="neighbours").send(neighbours).block()
    sent, received = join(
        Receiver[str](line[0], name="digest").recv(), Receiver[str](line[-1], name="digest").recv()
    ).block()
    if sent != received:
        raise AssertionError("the bytes changed on the way")
    print(f"{arguments.blocks} MiB went through {arguments.stages} stages unchanged")
    waited = Receiver[float](line[0], name="waited").recv().block()
    print(f"the source waited {waited:.2f} seconds for the stages after it")


if __name__ == "__main__":
    main()
