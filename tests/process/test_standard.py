"""The standard streams that a shell did not open."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import programs
import pytest


def run(code: str, closed: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("closed", ["", "<&-", "<&- 2>&-"])
def test_they_are_open_as_soon_as_the_package_is_imported(closed: str) -> None:
    done = run(
        "import os, constellation, ctypes\n"
        "from constellation.process import standard\n"
        "print([os.get_inheritable(each) for each in range(3)], repr(standard.taken()))\n"
        "standard.open_missing()\n"
        "print(os.open('/dev/null', 0) > 2)",
        closed,
    )
    assert done.stdout == "[True, True, True] ''\nTrue\n", done.stderr


@pytest.mark.parametrize(
    ("closed", "name"), [("<&-", "standard input (descriptor 0)"), ("1>&-", "standard output")]
)
def test_what_took_the_place_of_one_is_told(closed: str, name: str, tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        log = open("log", "w")
        import sys
        from constellation import InitError, init
        try:
            init()
        except InitError as error:
            print(error, file=sys.stderr)
        print("mine", file=log)
        """,
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert name in done.stderr
    assert "/dev/null" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "log").read_text() == "mine\n"
