"""Whether the memory of large messages is kept for the next ones."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys

import pytest

ROUNDS, SIZE, AT_ONCE = 50, 1 << 20, 4
PAGES = ROUNDS * AT_ONCE * SIZE // 4096
"""What is written to, if nothing is kept."""

PROGRAM = f"""
import resource, sys
from constellation.process import heap

if sys.argv[1] == "kept":
    heap.keep()
first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
data = b"x" * {SIZE}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({ROUNDS}):
    copies = [bytes(bytearray(data)) for _ in range({AT_ONCE})]
    del copies
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, first)
"""


def faults(how: str) -> tuple[int, int]:
    """How many pages were made, and what the process had needed before, KiB."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, check=True)
    made, needed = map(int, ran.stdout.split())
    return made, needed


def test_a_process_that_may_not_have_so_much_goes_on() -> None:
    limited = f"""
import resource
from constellation.process import heap

used = int(open("/proc/self/statm").read().split()[0]) * {resource.getpagesize()}
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20), -1))
try:
    bytes(32 << 20)
except MemoryError:
    heap.keep()
    print("goes on")
"""
    ran = subprocess.run(
        [sys.executable, "-c", limited], check=False, capture_output=True, text=True
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("goes on\n", "", 0)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc takes the hint")
def test_what_was_freed_is_used_again() -> None:
    (kept, needed), (lost, as_ever) = faults("kept"), faults("lost")
    assert lost > PAGES / 4, "there is nothing to gain"
    assert kept < PAGES / 10
    assert needed < as_ever + 8192, "what is freed for the hint was never written to"
