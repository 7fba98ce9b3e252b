"""A thousand processes of one program alive at once.

Run it with `python tests/benchmarks/thousand.py`; it needs Linux. Each process exchanges a message
with the first, and all of them end as they should.
"""

from __future__ import annotations

import time

import click
import pss
import psutil
from harness import start


@click.command()
@click.option("--processes", default=1000, show_default=True, help="How many live at once.")
def main(processes: int) -> None:
    """Measure many processes at once."""
    with start("processes.py") as side:
        free = psutil.virtual_memory().available
        begin = time.perf_counter()
        side.ask("start", processes)
        started = time.perf_counter() - begin
        used = (free - psutil.virtual_memory().available) / 2**20
        members = [psutil.Process(side.pid), *psutil.Process(side.pid).children(recursive=True)]
        weight = sum(pss.weigh(member.pid).total for member in members)
        begin = time.perf_counter()
        good = side.ask("end")
        ended = time.perf_counter() - begin
    # The command is over, and its exit code was 0.
    left = [member for member in members if member.is_running()]
    print(
        f"{processes:,} processes alive at once: started in {started:.1f} s "
        f"({processes / started:.0f}/s), ended in {ended:.1f} s; the program's {len(members):,} "
        f"processes weigh {weight:,.0f} MiB (PSS), the machine's available memory fell by "
        f"{used:,.0f} MiB; target all ended as they should: "
        f"{'met' if good == processes and not left else f'missed, {good} did, {len(left)} left'}"
    )


if __name__ == "__main__":
    main()
