"""Each example does what it says, with a small number of processes."""

from __future__ import annotations

import hashlib
import re

import programs
import pytest

EXAMPLES = programs.ROOT / "examples"

# What it is given, what it prints as a whole, and how many processes it has.
CASES = {
    "fibonacci.py": (["5"], r"5\n", 15),
    "fibonacci_asyncio.py": (["5"], r"5\n", 15),
    "fork_join.py": (
        ["3", "--seconds", "0.2"],
        r"\d+ numbers tried by 3 processes\n\d+ has the lowest hash: [0-9a-f]{64}\n",
        4,
    ),
    "all_to_all.py": (
        ["4", "--messages", "50"],
        r"4 processes received 600 messages, all in order\n",
        5,
    ),
    "process_pool.py": (
        ["3", "--tasks", "200"],
        r"46 of the numbers below 200 are prime\n",
        4,
    ),
    "pipeline.py": (
        ["3", "--blocks", "8"],
        r"8 MiB went through 3 stages unchanged\nthe source waited [\d.]+ seconds .*\n",
        6,
    ),
    "ping_pong.py": (
        ["2", "--rounds", "50"],
        r"([0-9a-f]{7}: a round trip takes \d+ microseconds\n){2}",
        5,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_example(name: str) -> None:
    arguments, expected, processes = CASES[name]
    done = programs.run(EXAMPLES / name, *arguments)
    tree = done.tree
    assert done.code == 0
    assert re.fullmatch(expected, tree.out.decode())
    assert [each.end for each in tree.all()] == [0] * processes
    assert [each.err for each in tree.all()] == [b""] * processes
    assert [each.out for each in tree.all()][1:] == [b""] * (processes - 1)


@pytest.mark.parametrize("name", CASES)
def test_an_example_for_people(name: str) -> None:
    arguments, expected, processes = CASES[name]
    done = programs.run(EXAMPLES / name, *arguments, form="human")
    assert done.code == 0
    assert re.fullmatch(expected, done.out.decode())
    assert done.err.count(b"    exited: 0\n") == processes
    assert done.err.count(b"    spawned: ") == processes - 1


@pytest.mark.parametrize("name", ["fibonacci.py", "fibonacci_asyncio.py"])
def test_the_first_example_is_short_without_arguments(name: str) -> None:
    done = programs.run(EXAMPLES / name, form="human")
    assert done.code == 0
    assert done.out == b"5\n"
    assert done.err.count(b"\n") < 70


def test_fork_join_finds_a_hash_of_the_number_it_names() -> None:
    out = programs.run(EXAMPLES / "fork_join.py", "1", "--seconds", "0.1").tree.out.decode()
    found = re.fullmatch(r"(\d+) numbers .*\n(\d+) has the lowest hash: (\w+)\n", out)
    assert found is not None
    tried, number, digest = found.groups()
    assert digest == min(hashlib.sha256(str(n).encode()).hexdigest() for n in range(int(tried)))
    assert digest == hashlib.sha256(number.encode()).hexdigest()


def test_the_source_of_the_pipeline_waits_for_the_slowest_stage() -> None:
    arguments = ["1", "--blocks", "32", "--delay", "0.05"]
    out = programs.run(EXAMPLES / "pipeline.py", *arguments).tree.out.decode()
    # Two windows of four blocks: at least twenty of the blocks have to wait for the stage.
    assert float(re.findall(r"waited ([\d.]+) seconds", out)[0]) > 0.1


def test_every_example_is_tested_and_described() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == set(CASES)
    readme = (programs.ROOT / "README.md").read_text()
    page = (programs.ROOT / "docs" / "examples.md").read_text()
    for name in names:
        assert f"[`{name}`](examples/{name})" in readme
        assert f"```{{literalinclude}} ../examples/{name}\n" in page


@pytest.mark.parametrize("name", CASES)
def test_an_example_explains_itself(name: str) -> None:
    done = programs.run(EXAMPLES / name, "--help", form="human")
    assert done.code == 0
    assert b"usage: " in done.out


@pytest.mark.parametrize("wrong", ["--no-such-option", "many", "-1"])
@pytest.mark.parametrize("name", CASES)
def test_an_example_refuses_what_it_cannot_do(name: str, wrong: str) -> None:
    arguments = ["--", wrong] if wrong == "-1" else [wrong]
    done = programs.run(EXAMPLES / name, *arguments, form="human")
    assert done.code == 2
    assert done.err.startswith(b"usage: ")
    assert done.out == b""
