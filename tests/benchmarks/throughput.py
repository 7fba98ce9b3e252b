"""How many small tuples a second go from one process to another, next to bare pyzmq.

Run it with `python tests/benchmarks/throughput.py`.
"""

from __future__ import annotations

import click
from harness import OURS, Target, alternate, report, start

FORMS = (
    ("block", "send().block() and recv().block()", Target(3, most=False, relative=True)),
    ("try", "try_send() and try_recv()", None),
    ("many", "send_many() and for", None),
)


@click.command()
@click.option("--rounds", default=10, show_default=True, help="Rounds of each figure.")
@click.option("--values", default=100_000, show_default=True, help="Values of a round.")
def main(rounds: int, values: int) -> None:
    """Measure the rate of small values."""
    with start("channels.py") as side:
        for form, title, target in FORMS:

            def ours(form: str = form) -> float:
                return float(side.ask("ours throughput", values, form))

            def bare() -> float:
                return float(side.ask("bare throughput", values))

            figures = alternate(rounds, {OURS: ours, "bare pyzmq": bare}, warm=True)
            report(f"small tuples one way, {title}", figures, "/s", target)


if __name__ == "__main__":
    main()
