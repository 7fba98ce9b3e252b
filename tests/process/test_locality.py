"""That what processes write to first lies on few pages, and that the lists of it are up to date."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import locality_lists

from constellation.process import locality

ALIKE = 0.9
"""What the lists and a process have in common, at least: it calls a little more where the machine
is busy, or where Python is another one."""

ADVICE = "to be written anew: python tests/support/locality_lists.py"

GATHER = """
import json, sys
import constellation
from constellation.process import holes, locality

functions = [locality.find(sys.modules[module], name) for module, name in locality.named()
             if module in sys.modules]
def pages():
    return len({id(each.__code__) // 4096 for each in functions})
before = pages()
holes.fill()
locality.gather()
print(json.dumps({
    "before": before,
    "after": pages(),
    "names": [id(each) // 4096 for each in locality._names],
}))
"""


def test_what_is_listed_is_there() -> None:
    missing = [
        (module, name)
        for module, name in locality.named()
        if locality.find(importlib.import_module(module), name) is None
    ]
    assert not missing, ADVICE


def test_the_lists_are_what_a_process_runs() -> None:
    run = set(locality_lists.functions_run())
    listed = {f"{module}:{name}" for module, name in locality.named()}
    common = len(run & listed)
    assert common >= ALIKE * len(run), (ADVICE, sorted(run - listed))
    assert common >= ALIKE * len(listed), (ADVICE, sorted(listed - run))


def test_what_is_listed_lies_together() -> None:
    told = json.loads(subprocess.check_output([sys.executable, "-c", GATHER], timeout=60))
    assert told["after"] < 0.75 * told["before"]
    # Names that Python itself has used before are where they were.
    assert len(set(told["names"])) < len(told["names"]) / 4


def test_what_is_no_function_is_left_alone() -> None:
    assert locality.find(locality, "nothing") is None
    assert locality.find(locality, "FUNCTIONS") is None
    assert locality.find(locality, "gather.nothing") is None
