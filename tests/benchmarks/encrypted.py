"""How fast large values go from one node to another, encrypted, next to bare pyzmq with CURVE.

Run it with `python tests/benchmarks/encrypted.py`. Ours are two processes on the two nodes of a
loopback cluster. As in `arrays.py`, the sender changes its array after each send, and the receiver
reads from every page. There are two baselines: the target is for the one that sends the content of
a value as it is, the other pickles each value and unpickles it.
"""

from __future__ import annotations

from contextlib import ExitStack

import click
from harness import OURS, Target, alternate, report
from two_nodes import deployed, two_nodes

TITLES = {"arrays": "arrays of float64", "bytes": "bytes"}


@click.command()
@click.option("--rounds", default=10, show_default=True, help="Rounds of each figure.")
@click.option("--total", default=128, show_default=True, help="MiB of a round.")
@click.option("--size", "sizes", multiple=True, type=int, default=(1, 64), help="MiB of a value.")
def main(rounds: int, total: int, sizes: tuple[int, ...]) -> None:
    """Measure large values through CURVE."""
    with ExitStack() as stack:
        cluster = stack.enter_context(two_nodes())
        side = stack.enter_context(deployed(cluster, "channels.py", "curve"))
        for kind, title in TITLES.items():
            for size in sizes:
                count = max(1, total // size)
                sides = {
                    OURS: f"ours {kind}",
                    "bare pyzmq": f"bare {kind}",
                    "with pickle": f"bare pickled {kind}",
                }
                asked = {
                    name: (lambda j=job, c=count, s=size: rate(side.ask(j, c, s << 20)))
                    for name, job in sides.items()
                }
                figures = alternate(rounds, asked, warm=True)
                report(
                    f"{title}, {size} MiB, through CURVE",
                    figures,
                    "GB/s",
                    Target(0.9, most=False, relative=True),
                )


def rate(bytes_per_second: float) -> float:
    return bytes_per_second / 1e9


if __name__ == "__main__":
    main()
