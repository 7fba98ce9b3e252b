from __future__ import annotations

import pytest

from constellation.machine import machine_bound


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "TMPDIR",
        "PYTHONPATH",
        "PYTHONHASHSEED",
        "VIRTUAL_ENV",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "XDG_RUNTIME_DIR",
        "SSH_AUTH_SOCK",
        "DISPLAY",
        "CONSTELLATION",
        "CONSTELLATION_FORMAT",
    ],
)
def test_what_belongs_to_a_machine(name: str) -> None:
    assert machine_bound(name)


@pytest.mark.parametrize(
    "name", ["LANG", "LC_ALL", "TERM", "EDITOR", "OMP_NUM_THREADS", "MY_PATH", "HOMER", "path", ""]
)
def test_what_does_not(name: str) -> None:
    assert not machine_bound(name)
