"""How soon the peer of a killed process knows that it is dead.

Run it with `python tests/benchmarks/kill.py`. Each process is killed with SIGKILL while its peer on
the other node of a loopback cluster waits for a value of it; the baseline is the same program run
natively.
"""

from __future__ import annotations

from contextlib import ExitStack

import click
from harness import OURS, Target, alternate, report, start
from two_nodes import SOME_KILLED, deployed, two_nodes


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Rounds of each figure.")
@click.option("--kills", default=20, show_default=True, help="Processes of a round.")
def main(rounds: int, kills: int) -> None:
    """Measure deaths."""
    with ExitStack() as stack:
        cluster = stack.enter_context(two_nodes())
        ours = stack.enter_context(deployed(cluster, "deaths.py", "elsewhere", code=SOME_KILLED))
        native = stack.enter_context(start("deaths.py", code=SOME_KILLED))
        sides = {OURS: ours, "native": native}
        asked = {
            name: (lambda side=side: float(side.ask("kill", kills))) for name, side in sides.items()
        }
        figures = alternate(rounds, asked, warm=True)
        report("kill -9 to ProcessExited on another node", figures, "ms", Target(150, most=True))


if __name__ == "__main__":
    main()
