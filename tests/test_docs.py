"""What the documents promise."""

from __future__ import annotations

import ast
import configparser
import dataclasses
import doctest
import re
import shutil
import subprocess
from pathlib import Path

import pages
import programs
import pytest

from constellation_daemons import config
from constellation_daemons.cli import master as master_command
from constellation_daemons.cli import node as node_command
from constellation_daemons.node.ending import KILL_LIMIT, STOP_LIMIT
from constellation_daemons.node.process import LIMIT as NODE_LIMIT
from constellation_daemons.node_config import Node

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
    assert len([program for program in PROGRAMS if "channels" in str(program.id)]) == 9


def test_the_readme_has_two_commands_and_ci_finds_the_one_that_tests() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    commands = [line for line in lines if line.startswith("python3 -m venv ")]
    assert ["examples/fibonacci.py" in command for command in commands] == [True, False]
    assert ["pytest" in command for command in commands] == [False, True]


# -- a cluster ------------------------------------------------------------------------------------


def section(page: str, heading: str) -> str:
    """What a page has below a heading, up to the next one."""
    (text,) = re.findall(rf"^## {heading}\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    return str(text)


def test_the_commands_of_the_page_on_operations(tmp_path: Path) -> None:
    commands = pages.commands((ROOT / "docs" / "operations.md").read_text())
    asked = {command.words[1] for command in commands if command.words[0] == "constellation"}
    assert asked == {"keygen", "deploy", "status", "events", "kill"}
    with pages.followed(tmp_path) as cluster:
        for command in commands:
            cluster.follow(command)
        assert len(cluster.services) == 4


def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    commands = pages.commands(section((ROOT / "README.md").read_text(), "A cluster"))
    with pages.followed(tmp_path) as cluster:
        cluster.follow(pages.Command("constellation keygen", ()))
        for command in commands:
            cluster.follow(command)
        assert len(cluster.services) == 3


def test_the_example_of_nodes_toml_is_that_of_the_page(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "nodes.toml").write_text(shown)
    nodes = config.load(tmp_path / "nodes.toml").nodes
    assert nodes == config.load(ROOT / "examples" / "nodes.toml").nodes
    assert [str(node.fabric_addr) for node in nodes] == [f"10.0.0.{n}:9999" for n in (1, 2, 3)]


def test_the_page_has_a_row_for_each_key_of_nodes_toml() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|",
        section((ROOT / "docs" / "operations.md").read_text(), "nodes.toml"),
        re.MULTILINE,
    )
    assert sorted(rows) == sorted(field.name for field in dataclasses.fields(Node))


def said_in_the_sources() -> list[str]:
    """All texts, in the pieces that are between what is put into them."""
    return [
        node.value
        for directory in ("constellation", "daemons")
        for path in (ROOT / directory).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def is_said(part: str, said: list[str]) -> bool:
    """Whether a part of a message is a piece of a text of the sources, or two such."""
    words = part.split()
    pairs = ((" ".join(words[:n]), " ".join(words[n:])) for n in range(1, len(words)))
    return any(part in text for text in said) or any(
        any(one in text for text in said) and any(other in text for text in said)
        for one, other in pairs
    )


def test_the_messages_on_the_page_are_said() -> None:
    page = (ROOT / "docs" / "operations.md").read_text() + "\n## "
    rows = re.findall(r"^\| (`.*?) \|", section(page, "Troubleshooting"), re.MULTILINE)
    messages = [message for row in rows for message in re.findall("`([^`]+)`", row)]
    assert len(messages) > 20
    said = said_in_the_sources()
    for message in messages:
        if message == "ModuleNotFoundError":
            continue
        # Between clauses, addresses, numbers and what is left out.
        parts = re.split(r'\.\.\.|[.?;:] |"[^"]*"|\S*\d\S*|\.$', message)
        long = [part.strip() for part in parts if len(part) >= 12]
        assert long, message
        for part in long:
            assert is_said(part, said), (message, part)


UNITS = sorted((ROOT / "docs" / "systemd").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_the_units_start_what_there_is(unit: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(unit.read_text())
    assert parser.sections() == ["Unit", "Service", "Install"]
    command, *words = parser["Service"]["ExecStart"].split()
    assert Path(command).name == unit.stem
    service = {"constellation-node": node_command, "constellation-master": master_command}
    known = {name for option in service[unit.stem].params for name in option.opts}
    assert {word for word in words if word.startswith("-")} <= known
    stop = int(parser["Service"]["TimeoutStopSec"])
    # The master waits for its node, which waits for what it runs.
    limits = {"constellation-node": STOP_LIMIT, "constellation-master": NODE_LIMIT}
    assert stop > limits[unit.stem] + KILL_LIMIT


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    """Where there is a systemd to ask; what is above holds anywhere."""
    lines = unit.read_text().splitlines()
    assert all(re.fullmatch(r"(#.*|\[\w+\]|[A-Za-z]+=.*|)", line) for line in lines)
    if shutil.which("systemd-analyze") is not None:
        copy = tmp_path / unit.name
        copy.write_text(
            unit.read_text().replace("/opt/constellation/bin/" + unit.stem, "/bin/true")
        )
        done = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(copy)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        told = [line for line in done.stderr.splitlines() if unit.stem in line]
        # What it ignores where it is older: see the page on operating.
        assert all("'DelegateSubgroup'" in line for line in told)
        assert done.returncode == 0, done.stderr
