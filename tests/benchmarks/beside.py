"""How long a round trip takes at most while a gigantic value is sent on another channel.

Run it with `python tests/benchmarks/beside.py`. The value is received by a thread of the process
that answers. What the system takes to free 2.3 GiB, which it does while Python holds its lock, is
more than a tenth of a second on many machines; so neither end may do that in one go.
"""

from __future__ import annotations

import click
from harness import OURS, Target, report, start

KINDS = {
    "bytes": "bytes",
    "array": "an array, copied",
    "lent": "an array, lent",
}


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Rounds of each figure.")
@click.option("--size", default=2.3, show_default=True, help="GiB of the value.")
def main(rounds: int, size: float) -> None:
    """Measure round trips beside a gigantic value."""
    with start("beside.py") as side:
        for kind, name in KINDS.items():
            asked = [side.ask("beside", kind, int(size * (1 << 27)) * 8) for _ in range(rounds)]
            figures = {OURS: [1e3 * seconds for seconds in asked]}
            title = f"longest round trip beside {size:g} GiB of {name}"
            report(title, figures, "ms", Target(100, most=True))


if __name__ == "__main__":
    main()
