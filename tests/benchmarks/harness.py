"""What the benchmarks share: the programs they measure, rounds taken by turns, and the line.

A benchmark starts its sides, each a program of its own in `sides/`, and asks them by turns to do a
job and say how it went: ours, the baseline, ours, the baseline, and so on. What disturbs the
machine meanwhile then disturbs both, and the ratio of each round means more than either figure.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parent.parent.parent
SIDES = Path(__file__).parent / "sides"
OURS = "ours"


@dataclass(frozen=True)
class Side:
    """A program that measures: it takes a job a line on its standard input, and answers each."""

    script: str
    process: subprocess.Popen[str]
    errors: IO[bytes]

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, job: str, *arguments: object) -> Any:
        """Have a job done. Gives what the side says of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([job, *arguments]), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            self.fail()
        return json.loads(answer)

    def fail(self) -> NoReturn:
        """Show what the side said of its end."""
        code = self.process.wait()
        self.errors.seek(0)
        sys.stderr.buffer.write(self.errors.read())
        raise RuntimeError(f"{self.script} ended with {code}")


@contextmanager
def start(
    script: str, *arguments: str, command: Sequence[str] = (sys.executable,), code: int = 0
) -> Iterator[Side]:
    """Start a side, which ends with the block, and with this exit code."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            [*command, str(SIDES / script), *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(SIDES)))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        side = Side(script, process, errors)
        try:
            yield side
        except BaseException:
            process.kill()
            raise
        process.communicate()
        if process.returncode != code:
            side.fail()


@dataclass(frozen=True)
class Target:
    """What a figure should be."""

    limit: float
    most: bool  # else the least
    relative: bool = False  # to the first of the baselines

    def met(self, ours: float, ratio: float) -> bool:
        figure = ratio if self.relative else ours
        return figure <= self.limit if self.most else figure >= self.limit

    def describe(self, unit: str, baseline: str) -> str:
        value = f"{self.limit:g} times {baseline}" if self.relative else shown(self.limit, unit)
        return f"at {'most' if self.most else 'least'} {value}"


def alternate(
    rounds: int, sides: Mapping[str, Callable[[], float]], *, warm: bool = False
) -> dict[str, list[float]]:
    """Take figures by turns, so many of each side; `warm` drops a first round."""
    figures: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(-warm, rounds):
        for side, measure in sides.items():
            figure = measure()
            if number >= 0:
                figures[side].append(figure)
    return figures


def report(
    title: str, figures: Mapping[str, list[float]], unit: str, target: Target | None
) -> None:
    """Print a line: the median of each side, the medians of the rounds' ratios, and the target."""
    ours = statistics.median(figures[OURS])
    parts = []
    ratios = []
    for side, values in figures.items():
        text = f"{side} {shown(statistics.median(values), unit)}"
        if side != OURS:
            pairs = zip(figures[OURS], values, strict=True)
            ratios.append(statistics.median(mine / theirs for mine, theirs in pairs))
            text += f" (ratio {ratios[-1]:.2f})"
        parts.append(text)
    if target is None:
        verdict = "for information"
    else:
        baseline = next((side for side in figures if side != OURS), "")
        met = target.met(ours, ratios[0] if ratios else 0.0)
        verdict = f"target {target.describe(unit, baseline)}: {'met' if met else 'missed'}"
    print(f"{title}: {', '.join(parts)}; {verdict}", flush=True)


def shown(value: float, unit: str) -> str:
    """A figure for people."""
    number = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{number}{'' if unit.startswith('/') else ' '}{unit}"
