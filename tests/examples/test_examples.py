"""Each example does what it says, with a small number of processes."""

from __future__ import annotations

import programs
import pytest

EXAMPLES = programs.ROOT / "examples"

CASES = [
    ("fibonacci.py", ["5"], "5\n", 15),
    ("fibonacci_asyncio.py", ["5"], "5\n", 15),
    ("fork_join.py", ["3", "--seconds", "0.2"], "numbers tried by 3 processes", 4),
    ("all_to_all.py", ["4", "--messages", "50"], "4 processes received 600 messages", 5),
    ("process_pool.py", ["3", "--tasks", "200"], "46 of the numbers below 200 are prime\n", 4),
    ("pipeline.py", ["3", "--blocks", "8"], "8 MiB went through 3 stages unchanged\n", 6),
    ("ping_pong.py", ["2", "--rounds", "50"], "a round trip takes", 5),
]


@pytest.mark.parametrize(
    ("name", "arguments", "expected", "processes"), CASES, ids=[case[0] for case in CASES]
)
def test_an_example(name: str, arguments: list[str], expected: str, processes: int) -> None:
    done = programs.run(EXAMPLES / name, *arguments)
    tree = done.tree
    assert done.code == 0
    assert expected in tree.out.decode()
    assert [each.end for each in tree.all()] == [0] * processes
    assert all(each.err == b"" for each in tree.all())


def test_every_example_is_tested_and_in_the_readme() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {case[0] for case in CASES}
    readme = (programs.ROOT / "README.md").read_text()
    for name in names:
        assert f"[`{name}`](examples/{name})" in readme


@pytest.mark.parametrize("name", [case[0] for case in CASES])
def test_an_example_explains_itself(name: str) -> None:
    done = programs.run(EXAMPLES / name, "--help", form="human")
    assert done.code == 0
    assert b"usage: " in done.out
    assert programs.run(EXAMPLES / name, "--no-such-option", form="human").code == 2
