from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation.program.tree import Tree
from constellation.session.loop import Loop
from constellation_daemons.node.remains import Remains


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_what_the_dead_have_left_goes_and_what_the_living_have_stays(
    loop: Loop, tmp_path: Path
) -> None:
    trees = tmp_path / "trees"
    trees.mkdir()
    # The process that makes this one is gone at once, without removing it.
    make = f"import os; from constellation.program.tree import Tree; Tree({str(trees)!r}).path"
    subprocess.run([sys.executable, "-c", make], check=True, timeout=60)
    assert len(os.listdir(trees)) == 1
    with Tree(str(trees)) as living:
        remains = Remains(loop, str(tmp_path / "store"), 1 << 20, str(trees))
        remains.remove()
        assert remains.busy
        assert loop.run(lambda: not remains.busy, 20)
        assert os.listdir(trees) == [os.path.basename(living.path)]
        # What they write while they die goes too.
        (trees / "tree-0123456789abcdef").mkdir()
        assert loop.run(lambda: len(os.listdir(trees)) == 1, 20)
        assert loop.run(lambda: not remains.busy, 20)
