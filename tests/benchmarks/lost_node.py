"""How soon a lost node is noticed.

Run it with `python tests/benchmarks/lost_node.py`; it needs Linux. All processes of the second node
of a loopback cluster are stopped, as when a machine hangs, while a process on the first one waits
for a value from there. There is no baseline.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from harness import OURS, Target, report
from two_nodes import SOME_KILLED, deployed, two_nodes

from constellation.session.sessions import BEAT

import programs  # isort: skip  # where it is, two_nodes knows


@click.command()
@click.option("--rounds", default=3, show_default=True, help="How often the node is lost.")
@click.option("--timeout", default=5.0, show_default=True, help="The cluster's, in seconds.")
def main(rounds: int, timeout: float) -> None:
    """Measure the loss of a node."""
    times = []
    with two_nodes(timeout) as cluster:
        for _ in range(rounds):
            with deployed(cluster, "deaths.py", "elsewhere", code=SOME_KILLED) as side:
                side.ask("start")
                begin = time.monotonic()
                with stopped(cluster.running[cluster.node(2)].pid):
                    times.append(float(side.ask("lose")) - begin)
            cluster.wait_until_joined()
            cluster.settle()
    target = Target(timeout + BEAT, most=True)
    report(f"a node hangs, with a timeout of {timeout:g} s", {OURS: times}, "s", target)


@contextmanager
def stopped(node: int) -> Iterator[None]:
    """Stop a node, and all that it has started."""
    members = [node, *programs.descendants_of(node)]
    for member in members:
        os.kill(member, signal.SIGSTOP)
    try:
        yield
    finally:
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGCONT)


if __name__ == "__main__":
    main()
