"""The programs in tests/programs/, each of which says at its top what is to come of it.

Every line that begins with `# case:` is one, a JSON object of

- `args`, `stdin`, `env`: how the command is run;
- `out`, `err`: what the initial process writes, as text or as {"size": ..., "sha256": ...};
- `err~`: a regular expression that its standard error matches;
- `children`: the same, and `exit`, of the processes that it spawns, in order;
- `exit`: how the initial process ends, and `code`: what the command exits with (default: 0);
- `fresh`: whether it is run again with processes that start fresh, for which all is the same, but
  takes far longer.
- `native`: whether it is not run deployed, since what it is about is different there.

Each is run natively, and on a cluster of three nodes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cluster as clusters
import programs
import pytest

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))


def cases(ways: Callable[[dict[str, Any]], Iterator[str]]) -> list[Any]:
    found = []
    for path in PROGRAMS:
        lines = [line for line in path.read_text().splitlines() if line.startswith("# case:")]
        assert lines, f"{path} says nothing of what is to come of it"
        for index, line in enumerate(lines):
            case = json.loads(line[7:])
            found += [
                pytest.param(path, case, way, id=f"{path.stem}-{index}-{way}") for way in ways(case)
            ]
    return found


def native(case: dict[str, Any]) -> Iterator[str]:
    yield "fork"
    if case.get("fresh"):
        yield "fresh"


def deployed(case: dict[str, Any]) -> Iterator[str]:
    if not case.get("native"):
        yield "fork"


def check(written: bytes, expected: str | dict[str, Any]) -> None:
    if isinstance(expected, str):
        assert written.decode() == expected
    else:
        assert len(written) == expected["size"]
        assert hashlib.sha256(written).hexdigest() == expected["sha256"]


def check_node(node: programs.Node, case: dict[str, Any]) -> None:
    if "out" in case:
        check(node.out, case["out"])
    if "err~" in case:
        assert re.search(case["err~"], node.err.decode(), re.DOTALL), node.err.decode()
    else:
        check(node.err, case.get("err", ""))
    if "exit" in case:
        assert node.end == case["exit"]
    children = case.get("children", [])
    assert len(node.children) == len(children)
    for child, expected in zip(node.children, children, strict=True):
        check_node(child, expected)


def check_run(done: programs.Finished, case: dict[str, Any]) -> None:
    assert done.code == case.get("code", 0), done.err.decode()
    check_node(done.tree, case)


@pytest.mark.parametrize(("path", "case", "way"), cases(native))
def test_native(path: Path, case: dict[str, Any], way: str) -> None:
    stdin, environ = case.get("stdin", "").encode(), case.get("env", {})
    environ = {"CONSTELLATION_START": way, **environ}
    check_run(programs.run(path, *case.get("args", ()), stdin=stdin, **environ), case)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clusters.Cluster]:
    with clusters.cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.mark.parametrize(("path", "case", "way"), cases(deployed))
def test_deployed(path: Path, case: dict[str, Any], way: str, cluster: clusters.Cluster) -> None:
    stdin, environ = case.get("stdin", "").encode(), case.get("env", {})
    environ = {"CONSTELLATION_START": way, **environ}
    done = cluster.run(path, *case.get("args", ()), stdin=stdin, **environ)
    cluster.settle()
    check_run(done, case)
