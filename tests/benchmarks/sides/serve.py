"""How a side does its jobs: one a line, each answered with a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping


def serve(jobs: Mapping[str, Callable[..., object]]) -> None:
    for line in sys.stdin:
        job, *arguments = json.loads(line)
        print(json.dumps(jobs[job](*arguments)), flush=True)
