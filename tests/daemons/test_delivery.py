from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from constellation.program.exchange import Serving
from constellation.program.ignore import Rules
from constellation.program.pack import Package, pack_script
from constellation.program.store import Store
from constellation.program.tree import Tree
from constellation.session.loop import Loop
from constellation_daemons.delivery import Delivery, serve

LIMIT = 20.0


class Delivered:
    """A delivery from a package, whose messages go by a queue."""

    def __init__(self, loop: Loop, store: Store, package: Package) -> None:
        self.loop = loop
        self.serving = Serving(package.manifest, package)
        self.arrivals = 0
        self.failures: list[str] = []
        self.trees: list[Tree] = []
        self.sent = 0
        self.delivery = Delivery(
            loop, store, package.manifest, self._send, self._arrived, self.failures.append
        )

    def _send(self, data: bytes) -> None:
        self.sent += 1
        self.loop.after(0, lambda: serve(self.serving, data, self._answer))

    def _answer(self, data: bytes) -> None:
        self.loop.after(0, lambda: self.delivery.hear(data))

    def _arrived(self) -> None:
        self.arrivals += 1

    def until(self, condition: Callable[[], object]) -> None:
        assert self.loop.run(lambda: bool(condition()), LIMIT), self.failures


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def package(tmp_path: Path) -> Package:
    source = tmp_path / "source"
    source.mkdir()
    (source / "prog.py").write_text("print()")
    (source / "data").write_bytes(os.urandom(700_000))
    return pack_script(str(source / "prog.py"), Rules())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def pins(store: Store) -> list[str]:
    return os.listdir(os.path.join(store.directory, "pins"))


def test_what_is_missing_comes_and_is_laid_out(
    loop: Loop, store: Store, package: Package, tmp_path: Path
) -> None:
    delivered = Delivered(loop, store, package)
    delivered.delivery.start()
    assert delivered.arrivals == 0
    delivered.until(lambda: delivered.arrivals)
    assert pins(store)
    delivered.delivery.lay_out(str(tmp_path), delivered.trees.append)
    assert delivered.delivery.busy
    delivered.until(lambda: delivered.trees)
    assert sorted(os.listdir(delivered.trees[0].path)) == ["data", "prog.py"]
    delivered.trees[0].remove()
    delivered.delivery.close()
    delivered.delivery.close()
    assert pins(store) == []
    assert delivered.failures == []


def test_what_is_there_is_not_asked_for(loop: Loop, store: Store, package: Package) -> None:
    first = Delivered(loop, store, package)
    first.delivery.start()
    first.until(lambda: first.arrivals)
    second = Delivered(loop, store, package)
    second.delivery.start()
    assert second.arrivals == 1
    for each in (first, second):
        each.delivery.close()


def test_what_turns_out_to_be_damaged_comes_again(
    loop: Loop, store: Store, package: Package, tmp_path: Path
) -> None:
    delivered = Delivered(loop, store, package)
    delivered.delivery.start()
    delivered.until(lambda: delivered.arrivals)
    for file in package.manifest.blobs.values():
        path = store.path(file.sha256)
        os.chmod(path, 0o600)
        with open(path, "wb") as blob:
            blob.write(bytes(file.size))
    while not delivered.trees:
        seen = delivered.arrivals
        delivered.delivery.lay_out(str(tmp_path), delivered.trees.append)
        delivered.until(lambda seen=seen: delivered.trees or delivered.arrivals > seen)
    assert 2 <= delivered.arrivals <= 3
    delivered.trees[0].remove()
    delivered.delivery.close()


def test_what_nobody_waits_for_any_more_is_removed(
    loop: Loop, store: Store, package: Package, tmp_path: Path
) -> None:
    delivered = Delivered(loop, store, package)
    delivered.delivery.start()
    delivered.until(lambda: delivered.arrivals)
    parent = tmp_path / "trees"
    parent.mkdir()
    delivered.delivery.lay_out(str(parent), delivered.trees.append)
    delivered.delivery.close()
    assert pins(store)  # it is being read
    delivered.until(lambda: not delivered.delivery.busy)
    assert delivered.trees == []
    assert list(parent.iterdir()) == []
    assert pins(store) == []


def test_a_place_that_cannot_be_written_is_told(
    loop: Loop, store: Store, package: Package, tmp_path: Path
) -> None:
    delivered = Delivered(loop, store, package)
    delivered.delivery.start()
    delivered.until(lambda: delivered.arrivals)
    delivered.delivery.lay_out(str(tmp_path / "nowhere"), delivered.trees.append)
    delivered.until(lambda: delivered.failures)
    assert "nowhere" in delivered.failures[0]
    delivered.delivery.close()


def test_what_is_no_message_is_told_once(loop: Loop, store: Store, package: Package) -> None:
    delivered = Delivered(loop, store, package)
    delivered.delivery.start()
    delivered.delivery.hear(b"\xc1")
    delivered.delivery.hear(b"\xc1")
    assert len(delivered.failures) == 1
    delivered.delivery.close()


def test_a_store_that_cannot_be_read_is_told(loop: Loop, store: Store, package: Package) -> None:
    delivered = Delivered(loop, store, package)
    blobs = os.path.join(store.directory, "blobs")
    os.rmdir(blobs)
    with open(blobs, "w"):
        pass  # a file in place of the directory: what is below it cannot be looked at
    delivered.delivery.start()
    assert len(delivered.failures) == 1
    delivered.delivery.close()
