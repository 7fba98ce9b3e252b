from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import programs
import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st

from constellation.program import tree as module
from constellation.program.errors import BlobsMissing, ManifestError, StoreError
from constellation.program.manifest import Directory, Entry, Link, Manifest, order
from constellation.program.pack import pack_script
from constellation.program.store import Store
from constellation.program.tree import Tree, fill, lay_out, sweep

BIG = bytes(range(256)) * (3 << 12)  # 3 MiB
CONTENT = {trees.file("x", content).sha256: content for content in (b"", b"print()", b"x", BIG)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    keep(store)
    return store


def keep(store: Store, *some: bytes) -> None:
    """Have some of CONTENT in the store, or all."""
    for content in some or CONTENT.values():
        with store.write(trees.file("x", content)) as writer:
            writer.write(content)
            writer.commit()


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    (tmp_path / "trees").mkdir()
    return tmp_path / "trees"


MANIFEST = trees.manifest(
    trees.file("pkg/deep/er/x.py", b"x"),
    trees.file("pkg/deep-er", b"x"),
    trees.file("big", BIG),
    trees.file("nothing"),
    trees.file("run.sh", b"x", executable=True),
    trees.file(b"b\xffd", b"x"),
    Link(b"pkg/up", b"../prog.py"),
    Link(b"dangling", b"left/out"),
    Directory(b"out/inner"),
)


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_it_is_the_program_again(store: Store, parent: Path) -> None:
    with lay_out(MANIFEST, store, str(parent)) as tree:
        assert trees.found(tree.path) == list(MANIFEST.entries)
        assert os.path.dirname(tree.path) == str(parent)
        assert stat.S_IMODE(os.stat(tree.path).st_mode) == 0o700
        for name, mode in {"prog.py": 0o640, "run.sh": 0o750, "pkg": 0o750}.items():
            assert stat.S_IMODE(os.stat(os.path.join(tree.path, name)).st_mode) == mode
    assert os.listdir(parent) == []


def test_what_was_packed_is_what_is_laid_out(store: Store, parent: Path, tmp_path: Path) -> None:
    trees.grow(tmp_path / "prog", {"prog.py": "print()", "a/b": "x", "link": "-> a", "e": None})
    package = pack_script(str(tmp_path / "prog" / "prog.py"))
    with lay_out(Manifest.decode(package.manifest.encode()), store, str(parent)) as tree:
        assert trees.found(tree.path) == trees.found(tmp_path / "prog")


def test_each_copy_is_its_own(store: Store, parent: Path) -> None:
    with lay_out(MANIFEST, store, str(parent)) as one, lay_out(MANIFEST, store, str(parent)) as two:
        path = Path(one.path, "prog.py")
        path.write_text("changed")
        path.chmod(0o600)
        assert Path(two.path, "prog.py").read_text() == "print()"
        assert Path(one.path, "big").stat().st_nlink == 1
        with lay_out(MANIFEST, store, str(parent)) as three:
            assert Path(three.path, "prog.py").read_text() == "print()"


@pytest.mark.parametrize("damage", [b"y", b"xx", None])
def test_damaged_blobs_are_removed_and_asked_for_again(
    damage: bytes | None, store: Store, parent: Path
) -> None:
    x, big = trees.file("x", b"x"), trees.file("big", BIG)
    path = Path(store.path(x.sha256))
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    Path(store.path(big.sha256)).write_bytes(BIG[:-1] + b"!")
    with pytest.raises(BlobsMissing) as raised:
        lay_out(MANIFEST, store, str(parent))
    assert set(raised.value.digests) == {x.sha256, big.sha256}
    assert os.listdir(parent) == []
    assert {file.sha256 for file in store.missing(MANIFEST)} == {x.sha256, big.sha256}
    keep(store)
    lay_out(MANIFEST, store, str(parent)).remove()


def test_where_it_cannot_be_made_the_place_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"/nowhere.*: No such file or directory"):
        lay_out(MANIFEST, store, str(tmp_path / "nowhere"))


@pytest.mark.parametrize("call", ["open", "mkdir", "write", "symlink"])
def test_what_cannot_be_written_is_named_and_nothing_is_left(
    call: str, store: Store, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = getattr(os, call)

    def full(*arguments: object, **more: object) -> object:
        new = arguments[0] in {b"deep", b"x.py", b"../prog.py"} or call == "write"
        if not new or (call == "open" and not arguments[1] & os.O_CREAT):  # type: ignore[operator]
            return really(*arguments, **more)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    monkeypatch.setattr(module, "_clone", lambda source, target: False)
    with pytest.raises(StoreError) as raised:
        lay_out(MANIFEST, store, str(parent))
    assert raised.value.path.startswith(f"{parent}/tree-")
    assert "make room there" in raised.value.reason
    assert os.listdir(parent) == []


# -- never outside --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pkg", "pkg/deep", "prog.py", "pkg/up", "pkg/deep/er/x.py"])
def test_a_link_on_the_way_is_refused(name: str, store: Store, tmp_path: Path) -> None:
    outside = trees.grow(tmp_path / "outside", {"file": "kept"})
    for target in (outside, outside / "file", outside / "new"):
        directory = tmp_path / f"tree-{target.name}"
        path = directory / name
        path.parent.mkdir(parents=True)
        path.symlink_to(target)
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            with pytest.raises(StoreError) as raised:
                fill(descriptor, str(directory), MANIFEST, store)
        finally:
            os.close(descriptor)
        assert raised.value.path.startswith(str(path))
        assert trees.found(outside) == [trees.file("file", b"kept")]


names = st.sampled_from([b"a", b"b", b"A", b"..", b".", b"prog.py", b"\xff"])
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)
entries = st.one_of(
    st.builds(trees.file, paths, st.sampled_from([b"", b"x"]), executable=st.booleans()),
    st.builds(Link, paths, st.lists(names, min_size=1, max_size=4).map(b"/".join)),
    st.builds(Directory, paths),
)


@given(some=st.lists(entries, max_size=6))
def test_any_manifest_is_laid_out_inside(
    some: list[Entry], tmp_path_factory: pytest.TempPathFactory
) -> None:
    every = {entry.path: entry for entry in [*some, trees.file("prog.py", b"x")]}
    try:
        manifest = Manifest(tuple(sorted(every.values(), key=lambda e: order(e.path))), b"prog.py")
    except ManifestError:
        return
    around = tmp_path_factory.mktemp("around")
    store = Store(str(around / "store"))
    keep(store, b"", b"x")
    (around / "trees").mkdir()
    before = trees.found(around)
    with lay_out(manifest, store, str(around / "trees")) as tree:
        assert trees.found(tree.path) == list(manifest.entries)
        for entry in manifest.entries:
            real = os.path.realpath(os.path.join(os.fsencode(tree.path), entry.path))
            assert (real + b"/").startswith(os.fsencode(os.path.realpath(tree.path)) + b"/")
        elsewhere = [e for e in trees.found(around) if not e.path.startswith(b"trees/tree-")]
        assert elsewhere == [entry for entry in before if entry.path != b"trees"]
    assert trees.found(around) == before


# -- reflinks -------------------------------------------------------------------------------------


def test_a_clone_is_verified_like_a_copy(
    store: Store, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the call does it on a file system that can: no position moves.
    def clone(source: int, target: int) -> bool:
        os.pwrite(target, os.pread(source, len(BIG) + 1, 0), 0)
        return True

    monkeypatch.setattr(module, "_clone", clone)
    with lay_out(MANIFEST, store, str(parent)) as tree:
        assert trees.found(tree.path) == list(MANIFEST.entries)
    Path(store.path(trees.file("x", b"x").sha256)).write_bytes(b"y")
    with pytest.raises(BlobsMissing):
        lay_out(MANIFEST, store, str(parent))


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.ENOTTY, errno.EINVAL])
def test_where_files_cannot_be_cloned_they_are_copied(
    number: int, store: Store, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def refuse(*arguments: object) -> None:
        asked.append(arguments)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(module.fcntl, "ioctl", refuse)
    with lay_out(MANIFEST, store, str(parent)) as tree:
        assert trees.found(tree.path) == list(MANIFEST.entries)
    assert len(asked) == 1


def test_a_disk_that_is_full_for_a_clone_is_full(
    store: Store, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.fcntl, "ioctl", full)
    with pytest.raises(StoreError, match="No space left on device"):
        lay_out(MANIFEST, store, str(parent))
    assert os.listdir(parent) == []


# -- removal --------------------------------------------------------------------------------------


def test_it_is_removed_with_what_the_program_has_made(store: Store, parent: Path) -> None:
    tree = lay_out(MANIFEST, store, str(parent))
    trees.grow(Path(tree.path), {"made/read/only": "x", "made/link": f"-> {store.directory}"})
    Path(tree.path, "made/read").chmod(0o500)
    Path(tree.path).chmod(0o500)
    tree.remove()
    tree.remove()
    assert os.listdir(parent) == []
    assert not store.missing(MANIFEST)


HELPER = """
import sys, trees
from constellation.program.store import Store
from constellation.program.tree import lay_out
tree = lay_out(trees.manifest(), Store(sys.argv[1]), sys.argv[2])
trees.grow(__import__("pathlib").Path(tree.path), {"made/by/the": "program"})
print(tree.path, flush=True)
sys.stdin.read()
"""


def test_those_of_dead_processes_are_removed(store: Store, parent: Path) -> None:
    support = Path(__file__).parent.parent / "support"
    started = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", HELPER, store.directory, parent],
            env=programs.environment(
                PYTHONPATH=os.pathsep.join([str(programs.ROOT), str(support)])
            ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        started.append((process, process.stdout.readline().strip()))
    (killed, left), (alive, kept) = started
    sweep(str(parent))
    assert os.path.exists(left)
    killed.kill()
    killed.communicate()
    assert os.path.exists(os.path.join(left, "made"))
    sweep(str(parent))
    assert os.listdir(parent) == [os.path.basename(kept)]
    alive.kill()
    alive.communicate()
    sweep(str(parent))
    assert os.listdir(parent) == []


def test_a_sweep_touches_nothing_else(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = trees.grow(parent / "outside", {"kept": ""})
    digits = "0123456789abcdef"
    (parent / f"tree-{digits}").symlink_to(outside)
    trees.grow(parent, {f"tree-{digits[::-1]}": "a file", "tree-short/file": ""})
    sweep(str(parent))
    sweep(str(parent / "nowhere"))
    mine = Tree(str(parent))
    os.close(mine.fileno())
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        sweep(str(parent))
    assert os.path.exists(mine.path)
    sweep(str(parent))
    assert set(os.listdir(parent)) == {
        "outside",
        f"tree-{digits}",
        f"tree-{digits[::-1]}",
        "tree-short",
    }
    assert (outside / "kept").exists()


def test_one_that_cannot_be_removed_keeps_no_other(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        os.close(Tree(str(parent)).fileno())
    really = module.remove_tree
    stuck = sorted(os.listdir(parent))[1]

    def refuse(path: str) -> None:
        if path.endswith(stuck):
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        really(path)

    monkeypatch.setattr(module, "remove_tree", refuse)
    with pytest.raises(StoreError, match=f"{stuck}: Operation not permitted"):
        sweep(str(parent))
    assert os.listdir(parent) == [stuck]


def test_one_that_is_swept_before_it_is_locked_is_made_again(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = module.fcntl.flock
    swept = []

    def racing(descriptor: int, how: int) -> None:
        if not swept:
            swept.extend(os.listdir(parent))
            sweep(str(parent))
        really(descriptor, how)

    monkeypatch.setattr(module.fcntl, "flock", racing)
    with Tree(str(parent)) as tree:
        assert swept != os.listdir(parent) == [os.path.basename(tree.path)]


def test_one_that_is_swept_before_it_is_opened_is_made_again(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.mkdir
    swept = []

    def racing(path: str, mode: int) -> None:
        really(path, mode)
        if not swept:
            swept.extend(os.listdir(parent))
            sweep(str(parent))

    monkeypatch.setattr(os, "mkdir", racing)
    with Tree(str(parent)) as tree:
        assert swept != os.listdir(parent) == [os.path.basename(tree.path)]


def test_a_file_system_without_locks_is_fine(
    store: Store, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(module.fcntl, "flock", refuse)
    with lay_out(MANIFEST, store, str(parent)) as tree:
        sweep(str(parent))
        assert trees.found(tree.path) == list(MANIFEST.entries)
