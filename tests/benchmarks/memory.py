"""What an idle process weighs, with its monitor.

Run it with `python tests/benchmarks/memory.py`; it needs Linux. PSS counts a page that several
processes share in parts, so the more of them live, the less each weighs.
"""

from __future__ import annotations

import statistics
import time

import click
import pss
from harness import OURS, Target, report, start

SETTLED = 0.5  # seconds after which a process has done what it does at first


@click.command()
@click.option("--processes", default=20, show_default=True, help="How many live at once.")
def main(processes: int) -> None:
    """Measure the memory of idle processes."""
    figures = {}
    parts = {}
    with start("processes.py") as side:
        ids = side.ask("start", processes)
        time.sleep(SETTLED)
        weights = [pss.weigh(process) for process, _ in ids]
        monitors = [pss.weigh(monitor) for _, monitor in ids]
        side.ask("end")
    parts["the process"] = weights
    parts["its monitor"] = monitors
    figures[OURS] = [
        weight.total + monitor.total for weight, monitor in zip(weights, monitors, strict=True)
    ]
    for method in ("fork", "forkserver"):
        name = f"multiprocessing {method}"
        with start("processes_multiprocessing.py", method) as side:
            ids = side.ask("start", processes)
            time.sleep(SETTLED)
            parts[name] = [pss.weigh(process) for process in ids]
            side.ask("end")
        figures[name] = [weight.total for weight in parts[name]]
    report("an idle process and its monitor", figures, "MiB", Target(6, most=True))
    for name, several in parts.items():
        kinds = ", ".join(
            f"{kind} {statistics.median(getattr(weight, kind) for weight in several):.2f}"
            for kind in ("total", "anonymous", "file", "shared")
        )
        print(f"    {name}: {kinds} MiB")


if __name__ == "__main__":
    main()
