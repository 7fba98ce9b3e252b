from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trees

from constellation.program.errors import BlobsMissing, StoreError, TransferError
from constellation.program.exchange import Fetching, Serving, Source
from constellation.program.manifest import Manifest
from constellation.program.pack import Package, pack_script
from constellation.program.store import Store
from constellation.program.transfer import Chunk, Failed, Progress
from constellation.program.tree import lay_out

TREE = {"prog.py": "print()", "empty": "", "pkg/a": "x", "pkg/b": "x", "big": os.urandom(9 << 20)}


@pytest.fixture
def package(tmp_path: Path) -> Package:
    trees.grow(tmp_path / "prog", TREE)
    return pack_script(str(tmp_path / "prog" / "prog.py"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def _nothing_half_written_is_left(store: Store) -> Iterator[None]:
    yield
    assert os.listdir(os.path.join(store.directory, "incoming")) == []


def ship(manifest: Manifest, source: Source, store: Store, cut_after: int = 1 << 30) -> int:
    """All of a transfer, which is cut each time that so many messages have come."""
    messages = 0
    serving = Serving(manifest, source)
    with store.pin(manifest), Fetching(manifest, store) as fetching:
        said = fetching.ask()
        while not serving.done:
            for message in said:
                serving.receive(message)
            said = []
            while (message := serving.next()) is not None:
                said += fetching.receive(message)
                messages += 1
                if messages % cut_after == 0:
                    said = fetching.ask()
                    break
        assert fetching.done
        assert fetching.progress.done == fetching.progress.total == serving.progress.total
    return messages


def test_a_program_goes_all_the_way(package: Package, store: Store, tmp_path: Path) -> None:
    """From the deployer to the bridge, from there to a node, and to where it runs."""
    manifest = Manifest.decode(package.manifest.encode())
    assert ship(manifest, package, store) == 38
    node = Store(str(tmp_path / "node"))
    assert ship(manifest, store, node) == 38
    with lay_out(manifest, node, str(tmp_path)) as tree:
        assert trees.found(tree.path) == trees.found(tmp_path / "prog")


def test_the_second_time_only_what_has_changed_is_sent(
    package: Package, store: Store, tmp_path: Path
) -> None:
    ship(package.manifest, package, store)
    assert ship(package.manifest, package, store) == 0
    (tmp_path / "prog" / "pkg" / "a").write_text("changed")
    changed = pack_script(str(tmp_path / "prog" / "prog.py"))
    assert ship(changed.manifest, changed, store) == 1
    assert store.missing(changed.manifest) == store.missing(package.manifest) == []


def test_a_transfer_that_is_cut_again_and_again_comes_to_its_end(
    package: Package, store: Store
) -> None:
    assert ship(package.manifest, package, store, cut_after=3) == 38
    assert store.missing(package.manifest) == []


def test_what_is_damaged_in_the_store_is_fetched_before_it_runs(
    package: Package, store: Store, tmp_path: Path
) -> None:
    manifest = package.manifest
    ship(manifest, package, store)
    Path(store.path(trees.file("x", b"x").sha256)).write_bytes(b"y")
    (tmp_path / "trees").mkdir()
    with pytest.raises(BlobsMissing):
        lay_out(manifest, store, str(tmp_path / "trees"))
    assert ship(manifest, package, store) == 1
    lay_out(manifest, store, str(tmp_path / "trees")).remove()


@pytest.mark.parametrize(("times", "fails"), [(2, False), (3, True)])
def test_what_is_damaged_on_the_way_is_sent_again(
    times: int, fails: bool, package: Package, store: Store
) -> None:
    left = times
    serving = Serving(package.manifest, package)
    with store.pin(package.manifest), Fetching(package.manifest, store) as fetching:
        said = fetching.ask()
        try:
            while not fetching.done:
                for message in said:
                    serving.receive(message)
                said = []
                while (message := serving.next()) is not None:
                    if left and type(message) is Chunk and message.data == b"x":
                        message = Chunk(message.transfer, message.position, b"y")
                        left -= 1
                    said += fetching.receive(message)
        except TransferError as error:
            assert "pkg/a came 3 times" in str(error)
    assert fetching.done != fails


def test_a_file_that_is_gone_ends_the_transfer_and_says_so(
    package: Package, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "prog" / "big").unlink()
    with pytest.raises(TransferError, match=r"big cannot be read any more: .* deploy it again"):
        ship(package.manifest, package, store)
    serving = Serving(package.manifest, store)
    with Fetching(package.manifest, Store(str(tmp_path / "node"))) as fetching:
        for message in fetching.ask():
            serving.receive(message)
    failed = serving.next()
    assert isinstance(failed, Failed)
    assert "the store lacks the content " in failed.reason


def test_a_full_disk_ends_the_transfer(
    package: Package, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.write

    def full(descriptor: int, data: memoryview) -> int:
        if len(data) > 1000:
            raise OSError(28, "No space left on device")
        return really(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="No space left on device: nothing of it was kept"):
        ship(package.manifest, package, store)


def test_what_is_half_there_at_the_end_is_removed(package: Package, store: Store) -> None:
    serving = Serving(package.manifest, package)
    with Fetching(package.manifest, store) as fetching:
        for message in fetching.ask():
            serving.receive(message)
        chunk = serving.next()
        assert isinstance(chunk, Chunk)
        fetching.receive(chunk)
        assert fetching.progress == Progress(len(chunk.data), (9 << 20) + 8)
        assert len(os.listdir(os.path.join(store.directory, "incoming"))) == 1
