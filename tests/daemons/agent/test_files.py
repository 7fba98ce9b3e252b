from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from constellation.program.ignore import Rules
from constellation.program.pack import pack_script
from constellation.program.store import Store
from constellation.program.tree import Tree
from constellation.session.loop import Loop
from constellation_daemons.agent.files import Files


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_the_loop_goes_on_while_a_program_is_removed(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, trees, store = tmp_path / "program", tmp_path / "trees", tmp_path / "store"
    for directory in (program, trees):
        directory.mkdir()
    (program / "prog.py").write_text("print()")
    package = pack_script(str(program / "prog.py"), Rules())
    # All of it is in the store already.
    for file in package.manifest.files:
        with Store(str(store)).write(file) as writer:
            writer.write((program / "prog.py").read_bytes())
            writer.commit()
    ready: list[str] = []
    said: list[bytes] = []
    files = Files(loop, str(store), 1 << 20, str(trees), said.append)
    files.begin(package.manifest.encode(), ready.append, pytest.fail)
    assert loop.run(lambda: bool(ready), 20)
    assert os.listdir(ready[0]) == ["prog.py"]
    go = threading.Event()
    remove = Tree.remove

    def slowly(tree: Tree) -> None:
        assert go.wait(20)
        remove(tree)

    monkeypatch.setattr(Tree, "remove", slowly)
    files.close()
    assert files.busy
    loop.after(0.05, go.set)
    assert loop.run(lambda: not files.busy, 20)
    assert os.listdir(trees) == []
