"""What the documents promise."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import programs
import pytest

ROOT = Path(__file__).parent.parent


BLOCK = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_sessions_in_the_docs_give_what_they_say(path: Path) -> None:
    text = "\n".join(BLOCK.findall(path.read_text()))
    session = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)
    failures, _ = doctest.DocTestRunner().run(session)
    assert failures == 0


PROGRAM = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAMS = [
    pytest.param(source, output, id=f"{path.relative_to(ROOT)}-{number}")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    for number, (source, output) in enumerate(PROGRAM.findall(path.read_text()), 1)
]


@pytest.mark.parametrize(("source", "output"), PROGRAMS)
def test_the_programs_in_the_docs_print_what_they_say(
    source: str, output: str, tmp_path: Path
) -> None:
    initial = programs.run(programs.write(tmp_path, source)).tree
    assert b"".join(process.err for process in initial.all()) == b""
    assert initial.end == 0
    assert initial.out.decode() == output


def test_the_page_on_channels_has_its_programs() -> None:
    assert len([program for program in PROGRAMS if "channels" in str(program.id)]) == 8


def test_the_readme_has_two_commands_and_ci_finds_the_one_that_tests() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv ")]
    assert ["examples/fibonacci.py" in command for command in commands] == [True, False]
    assert ["pytest" in command for command in commands] == [False, True]
