"""How fast processes start, next to those of multiprocessing.

Run it with `python tests/benchmarks/spawn.py`.
"""

from __future__ import annotations

from contextlib import ExitStack

import click
from harness import OURS, Target, alternate, report, start

METHODS = ("fork", "forkserver", "spawn")


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Rounds of each figure.")
@click.option("--one", default=20, show_default=True, help="Processes of a round, one at a time.")
@click.option("--many", default=100, show_default=True, help="Processes of a round, all at once.")
@click.option("--fib", default=10, show_default=True, help="Which Fibonacci number to compute.")
def main(rounds: int, one: int, many: int, fib: int) -> None:
    """Measure the starts of processes."""
    with ExitStack() as stack:
        sides = {OURS: stack.enter_context(start("processes.py"))}
        for method in METHODS:
            side = start("processes_multiprocessing.py", method)
            sides[f"multiprocessing {method}"] = stack.enter_context(side)
        for title, job, size, unit, target in (
            ("spawn to first reply", "one_by_one", one, "ms", Target(8, most=True)),
            (f"{many} at once", "at_once", many, "/s", Target(150, most=False)),
            (f"fibonacci({fib})", "recursion", fib, "s", Target(2, most=True)),
        ):
            asked = {
                name: (lambda side=side, job=job, size=size: side.ask(job, size))
                for name, side in sides.items()
            }
            report(title, alternate(rounds, asked, warm=job == "one_by_one"), unit, target)


if __name__ == "__main__":
    main()
