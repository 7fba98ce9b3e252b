"""How fast large values go from one node to another, encrypted, next to bare pyzmq with CURVE.

Run it with `python tests/benchmarks/encrypted.py`. Ours are two processes on the two nodes of a
loopback cluster. As in `arrays.py`, the sender changes its array after each send, and the receiver
reads from every page. The target is for the baseline of the other benchmarks: an array is copied
and sent without another copy, any other object is pickled. The other way is shown for information.
"""

from __future__ import annotations

from contextlib import ExitStack

import click
from harness import OURS, Target, alternate, report
from two_nodes import deployed, two_nodes

BARE, PICKLED = "bare {}", "bare pickled {}"
KINDS = {
    "arrays": ("arrays of float64", {"bare pyzmq": BARE, "with pickle": PICKLED}),
    "bytes": ("bytes", {"bare pyzmq": PICKLED, "without pickle": BARE}),
}


@click.command()
@click.option("--rounds", default=10, show_default=True, help="Rounds of each figure.")
@click.option("--total", default=128, show_default=True, help="MiB of a round.")
@click.option("--size", "sizes", multiple=True, type=int, default=(1, 64), help="MiB of a value.")
def main(rounds: int, total: int, sizes: tuple[int, ...]) -> None:
    """Measure large values through CURVE."""
    with ExitStack() as stack:
        cluster = stack.enter_context(two_nodes())
        side = stack.enter_context(deployed(cluster, "channels.py", "curve"))
        for kind, (title, baselines) in KINDS.items():
            jobs = {name: job.format(kind) for name, job in {OURS: "ours {}", **baselines}.items()}
            for size in sizes:
                count = max(1, total // size)
                asked = {
                    name: (lambda j=job, c=count, s=size: rate(side.ask(j, c, s << 20)))
                    for name, job in jobs.items()
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
