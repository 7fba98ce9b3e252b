"""Which functions a process runs, from its start to its exit, and which names these use.

Run as a program, it writes `constellation/process/locality_lists.py` anew.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import CodeType

from constellation.process import locality

PROGRAM = Path(__file__).with_name("locality_program.py")
LISTS = Path(locality.__file__).with_name("locality_lists.py")
_ROOT = "constellation."
_OF_OTHERS = ("constellation.bridge", "constellation.process.zygote", "constellation.process.host")
_WIDTH = 99


def functions_run() -> list[str]:
    """Have processes run, and give what they call, as `module:qualified name`, the first first."""
    with tempfile.TemporaryDirectory() as directory:
        called = Path(directory) / "called"
        environment = {**os.environ, "CONSTELLATION_START": "fork"}
        command = [sys.executable, str(PROGRAM), str(called)]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        lines = called.read_text().splitlines()
    # What only the monitor runs goes first, so that it lies on pages of its own.
    found = dict.fromkeys([*_of("monitor", lines), *_of("process", lines)])
    return [each for each in found if not each.startswith(_OF_OTHERS)]


def _of(role: str, lines: Iterable[str]) -> Iterator[str]:
    return (name for who, name in map(str.split, lines) if who == role)


def names_used(functions: Iterable[str]) -> list[str]:
    """The names that are in the code of functions, the first first."""
    found: dict[str, None] = {}
    for each in functions:
        module, qualified = each.split(":")
        function = locality.find(import_module(module), qualified)
        assert function is not None, each
        _collect(function.__code__, found)
    return list(found)


def _collect(code: CodeType, found: dict[str, None]) -> None:
    found.update(dict.fromkeys(code.co_names))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _collect(constant, found)


def write(functions: list[str]) -> None:
    """Write the lists."""
    runs: list[tuple[str, list[str]]] = []
    for each in functions:
        module, qualified = each.removeprefix(_ROOT).split(":")
        if not runs or runs[-1][0] != module:
            runs.append((module, []))
        runs[-1][1].append(qualified)
    lines = [line for module, several in runs for line in _wrapped(module, several)]
    text = "\n".join(lines)
    names = textwrap.fill(" ".join(names_used(functions)), _WIDTH, break_on_hyphens=False)
    LISTS.write_text(_TEXT.format(functions=text, names=names))


def _wrapped(module: str, functions: list[str]) -> list[str]:
    """Lines that each begin with the module."""
    room = _WIDTH - len(module) - 1
    filled = textwrap.wrap(
        " ".join(functions), room, break_on_hyphens=False, break_long_words=False
    )
    return [f"{module} {line}" for line in filled]


_TEXT = '''"""What every process runs first: see `constellation.process.locality`.

Written by `python tests/support/locality_lists.py`, in the order in which it was called.
"""

FUNCTIONS = """
{functions}
"""

NAMES = """
{names}
"""
'''

if __name__ == "__main__":
    write(functions_run())
