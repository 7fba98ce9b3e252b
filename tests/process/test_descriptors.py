from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from constellation.process import descriptors


def in_child(code: str, *, shell: str = 'exec "$0" "$@"') -> str:
    """Runs in an interpreter of its own; the descriptors of this one are pytest's."""
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_all_descriptors_but_those_to_keep_are_closed() -> None:
    code = (
        "import os; from constellation.process.descriptors import close_all_but\n"
        "opened = [os.open('/dev/null', 0) for _ in range(5)]; os.dup2(1, 500)\n"
        "close_all_but({0, 1, 2, opened[2]})\n"
        "print([each for each in range(600) if os.path.exists(f'/dev/fd/{each}')]"
        " == [0, 1, 2, opened[2]])"
    )
    assert in_child(code) == "True\n"


def test_replaced_by_null_they_hold_up_nobody() -> None:
    read, write = os.pipe()
    other = os.dup(write)
    descriptors.replace_with_null(write, other)
    assert os.read(read, 1) == b"", "the last writer is gone"
    for descriptor in (read, write, other):
        os.close(descriptor)


def test_listening_where_there_is_nothing_leaves_no_descriptor() -> None:
    with pytest.raises(OSError) as caught:
        descriptors.listen("/nowhere/at/all")
    assert caught.value.errno == errno.ENOENT
