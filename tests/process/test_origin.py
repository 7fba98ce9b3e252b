from __future__ import annotations

import subprocess
import sys

import pytest

# Where it has just run out when it is stopped, a timer has no time left.
TIMER = """
import signal, sys, time
from constellation.process.origin import Origin

timer, number = getattr(signal, sys.argv[1]), getattr(signal, sys.argv[2])
handled = 0

def handler(number, frame):
    global handled
    handled += 1

signal.signal(number, handler)
signal.setitimer(timer, 0.0001, 0.0001)
for _ in range(100):
    origin = Origin()
    origin.give_up()
    before, limit = handled, time.monotonic() + 20
    while handled == before:
        assert time.monotonic() < limit, "it has stopped"
signal.setitimer(timer, 0)
origin = Origin()
assert not signal.sigpending()
origin.give_up()
assert signal.getitimer(timer) == (0, 0)
"""


@pytest.mark.parametrize(
    ("timer", "number"),
    [("ITIMER_REAL", "SIGALRM"), ("ITIMER_VIRTUAL", "SIGVTALRM"), ("ITIMER_PROF", "SIGPROF")],
)
def test_timers_go_on_where_init_fails(timer: str, number: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TIMER, timer, number], check=False, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
