"""The time of a round trip of an int between two processes, next to bare pyzmq.

Run it with `python tests/benchmarks/round_trip.py`.
"""

from __future__ import annotations

import click
from harness import OURS, Side, Target, alternate, report, start


@click.command()
@click.option("--rounds", default=20, show_default=True, help="Rounds of each figure.")
@click.option("--trips", default=500, show_default=True, help="Round trips of a round.")
def main(rounds: int, trips: int) -> None:
    """Measure round trips."""
    for form, script, baseline, limit in (
        ("blocking", "channels.py", "bare pyzmq", 1.4),
        ("asyncio", "channels_asyncio.py", "pyzmq.asyncio", 1.2),
    ):
        with start(script) as side:

            def ours(side: Side = side) -> float:
                return 1e6 * side.ask("ours round_trip", trips)

            def bare(side: Side = side) -> float:
                return 1e6 * side.ask("bare round_trip", trips)

            figures = alternate(rounds, {OURS: ours, baseline: bare}, warm=True)
        title = f"round trip of an int, {form}"
        report(title, figures, "µs", Target(limit, most=True, relative=True))


if __name__ == "__main__":
    main()
