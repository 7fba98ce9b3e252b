"""How fast arrays go from one process to another, next to bare pyzmq.

Run it with `python tests/benchmarks/arrays.py`. The sender changes the array after each send, so
bare pyzmq, which would send it without a copy, is given one. The receiver reads from every page.
"""

from __future__ import annotations

import click
from harness import OURS, Target, alternate, report, start


@click.command()
@click.option("--rounds", default=10, show_default=True, help="Rounds of each figure.")
@click.option("--total", default=256, show_default=True, help="MiB of a round.")
@click.option("--size", "sizes", multiple=True, type=int, default=(1, 64), help="MiB of an array.")
def main(rounds: int, total: int, sizes: tuple[int, ...]) -> None:
    """Measure arrays of float64."""
    with start("channels.py") as side:
        for size in sizes:
            count = max(1, total // size)

            def ours(count: int = count, size: int = size) -> float:
                return float(side.ask("ours arrays", count, size << 20)) / 1e9

            def bare(count: int = count, size: int = size) -> float:
                return float(side.ask("bare arrays", count, size << 20)) / 1e9

            figures = alternate(rounds, {OURS: ours, "bare pyzmq": bare}, warm=True)
            report(
                f"arrays of {size} MiB one way",
                figures,
                "GB/s",
                Target(1, most=False, relative=True),
            )


if __name__ == "__main__":
    main()
