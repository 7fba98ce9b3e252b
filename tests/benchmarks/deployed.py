"""How fast processes of a deployed program start, and what a deployment sends.

Run it with `python tests/benchmarks/deployed.py`. The program is deployed to a bridge on this
machine, with one node that is this machine too; the baseline is the same program run natively.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
from harness import OURS, Target, alternate, report, start

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import local_bridge
from local_bridge import LocalBridge
from tcp_proxy import TcpProxy

PROGRAM = "from constellation import init\ninit()\n"
NEEDS = ("--mem", "20 MiB", "--cpu", "0.01")


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Rounds of each figure.")
@click.option("--one", default=20, show_default=True, help="Processes of a round, one at a time.")
@click.option("--many", default=100, show_default=True, help="Processes of a round, all at once.")
@click.option("--files", default=200, show_default=True, help="Files of the program that is sent.")
@click.option("--size", default=5000, show_default=True, help="Bytes of each of them.")
def main(rounds: int, one: int, many: int, files: int, size: int) -> None:
    """Measure deployed programs."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="b-")))
        bridge = stack.enter_context(local_bridge.bridge(directory / "bridge"))
        deployed = bridge.command(*NEEDS)
        with (
            start("processes.py", command=deployed) as ours,
            start("processes.py") as native,
        ):
            sides = {OURS: ours, "native": native}
            for title, job, count, unit, target in (
                ("spawn to first reply", "one_by_one", one, "ms", Target(12, most=True)),
                (f"{many} at once", "at_once", many, "/s", None),
            ):
                asked = {
                    name: (lambda side=side, job=job, count=count: side.ask(job, count))
                    for name, side in sides.items()
                }
                report(title, alternate(rounds, asked, warm=True), unit, target)
        measure_transfer(bridge, directory / "program", files, size)


def measure_transfer(bridge: LocalBridge, directory: Path, files: int, size: int) -> None:
    """Deploy a program of many files, and again with one of them changed."""
    directory.mkdir()
    (directory / "prog.py").write_text(PROGRAM)
    noise = random.Random(1)
    for number in range(files):
        (directory / f"data{number}").write_bytes(noise.randbytes(size))
    first = sent(bridge, directory / "prog.py")
    (directory / "data0").write_bytes(noise.randbytes(size))
    second = sent(bridge, directory / "prog.py")
    figures = {OURS: [second], "everything": [first]}
    # The file, the manifest, which names all of them, and what a session says besides.
    most = size + 150 * files + 20_000
    report("sent for one changed file", figures, "bytes", Target(most, most=True))


def sent(bridge: LocalBridge, program: Path) -> float:
    """Bytes between the client and the bridge, in both directions, encrypted as they are."""
    port = int(bridge.address.rpartition(":")[2])
    with TcpProxy(port) as proxy:
        behind = LocalBridge(bridge.options, bridge.process, proxy.port)
        subprocess.run(
            behind.command(*NEEDS, program),
            env=local_bridge.environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        return proxy.passed


if __name__ == "__main__":
    main()
