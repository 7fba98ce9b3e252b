"""Channels as users meet them: each program beside this file is a list of checks of one subject."""

from __future__ import annotations

from pathlib import Path

import programs
import pytest

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))


@pytest.mark.parametrize(
    "path", [path for path in PROGRAMS if path.stem != "checking"], ids=lambda path: path.stem
)
def test_all_checks_of_a_program_hold(path: Path) -> None:
    done = programs.run(path)
    for node in done.tree.all():
        assert node.err.decode() == ""
    checks = path.read_text().count("\n@check\n")
    assert done.tree.out.decode() == f"{checks} checks\n"
    assert done.tree.end == 0
