from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import programs
import pytest
import trees

from constellation.program import disk
from constellation.program.errors import BlobError, BlobsMissing, StoreError
from constellation.program.manifest import File, Manifest
from constellation.program.store import Store

HERE = Path(__file__).parent
ENVIRONMENT = programs.environment(
    PYTHONPATH=os.pathsep.join([str(programs.ROOT), str(HERE.parent / "support")])
)
A, B, C, D = (trees.file(name, name.encode() * 1000) for name in "abcd")
CONTENT = {file.sha256: file.path * 1000 for file in (A, B, C, D)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def of(*files: File) -> Manifest:
    return Manifest(files, module="a")


def keep(store: Store, *files: File) -> None:
    for file in files:
        with store.write(file) as writer:
            writer.write(CONTENT[file.sha256][:300])
            writer.write(CONTENT[file.sha256][300:])
            writer.commit()


def left(store: Store) -> dict[str, int]:
    """How much is in each of the store's directories."""
    directory = Path(store.directory)
    return {
        name: sum(path.is_file() for path in (directory / name).rglob("*"))
        for name in ("blobs", "incoming", "pins")
    }


def test_what_was_written_is_there(store: Store) -> None:
    assert store.missing(of(A, B)) == [A, B]
    keep(store, A)
    assert store.missing(of(A, B)) == [B]
    assert store.read(A, 0, 10_000) == b"a" * 1000
    assert store.read(A, 998, 10) == b"aa"
    assert Store(store.directory).missing(of(A, B)) == [B]


def test_a_blob_is_missing_once_however_many_files_have_it(store: Store) -> None:
    again = File(b"again", A.size, A.sha256)
    assert store.missing(of(A, again)) == [A]


def test_nothing_is_missing_of_what_is_empty_once_it_is_written(store: Store) -> None:
    empty = trees.file("empty")
    with store.write(empty) as writer:
        writer.commit()
    assert store.missing(of(empty)) == []


def test_nobody_else_can_read_it(store: Store) -> None:
    keep(store, A)
    with store.pin(of(A)):
        for path in Path(store.directory).rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE(os.stat(store.directory).st_mode) == 0o700


def test_a_store_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store" / "blobs").mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StoreError, match="blobs: it belongs to another user; choose another"):
        Store(str(tmp_path / "store"))


def test_a_store_that_others_could_reach_is_closed_to_them(tmp_path: Path) -> None:
    blobs = tmp_path / "store" / "blobs"
    blobs.mkdir(parents=True)
    blobs.chmod(0o777)
    tmp_path.joinpath("store").chmod(0o755)
    Store(str(tmp_path / "store"))
    assert stat.S_IMODE(blobs.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o755  # it may have other uses


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/store: Not a directory|file: Not a directory"):
        Store(str(tmp_path / "file" / "store"))


# -- what arrives wrong ---------------------------------------------------------------------------


def test_content_that_is_not_what_it_should_be_is_not_kept(store: Store) -> None:
    for content, reason in ((b"b" * 1000, "has the digest"), (b"a" * 999, "has 999 bytes instead")):
        writer = store.write(A)
        writer.write(content)
        with pytest.raises(BlobError, match=reason):
            writer.commit()
    writer = store.write(A)
    with pytest.raises(BlobError, match="has more than the 1000 bytes that it should have"):
        writer.write(b"a" * 1001)
    assert left(store) == {"blobs": 0, "incoming": 0, "pins": 0}
    keep(store, A)
    assert store.has(A)


def test_what_was_not_committed_is_not_kept(store: Store) -> None:
    with store.write(A) as writer:
        writer.write(b"a" * 1000)
        assert left(store)["incoming"] == 1
    writer.abandon()
    assert left(store) == {"blobs": 0, "incoming": 0, "pins": 0}


@pytest.mark.parametrize("damage", [b"", b"a" * 999, b"a" * 1001])
def test_a_blob_of_the_wrong_size_is_removed_and_asked_for_again(
    store: Store, damage: bytes
) -> None:
    for find in (store.has, lambda file: not store.missing(of(file)), store.open):
        keep(store, A)
        Path(store.path(A.sha256)).write_bytes(damage)
        try:
            assert not find(A)
        except BlobsMissing as error:
            assert error.digests == (A.sha256,)
        assert left(store)["blobs"] == 0
    with pytest.raises(BlobsMissing):
        store.read(A, 0, 1)


# -- several at once ------------------------------------------------------------------------------


def test_two_may_write_the_same_blob(store: Store) -> None:
    first, second = store.write(A), Store(store.directory).write(A)
    for writer in (first, second):
        writer.write(b"a" * 500)
    for writer in (second, first):
        writer.write(b"a" * 500)
        writer.commit()
        assert store.read(A, 0, 1000) == b"a" * 1000
    assert left(store) == {"blobs": 1, "incoming": 0, "pins": 0}


HELPER = """
import os, sys, trees
from constellation.program.manifest import Manifest
from constellation.program.store import Store

store = Store(sys.argv[1], *map(int, sys.argv[2:]))
files = [trees.file(name, name.encode() * 1000) for name in "abcd"]
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(store: Store) -> Iterator[Start]:
    """Start a process that has the store."""
    started = []

    def start(source: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HELPER + source, store.directory, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_processes_may_write_and_evict_at_once(store: Store, start: Start) -> None:
    source = """
for round in range(60):
    some = files[round % 3 : round % 3 + 2]
    with store.pin(Manifest(tuple(some), module="a")) as pin:
        manifest = Manifest(tuple(some), module="a")
        for file in store.missing(manifest):
            with store.write(file) as writer:
                writer.write(file.path * 1000)
                writer.commit()
        assert store.missing(manifest) == []
        assert [store.read(file, 0, 1000) for file in some] == [file.path * 1000 for file in some]
print("done")
"""
    # Room for what two of them pin, and no more.
    processes = [start(source, 4000) for _ in range(2)]
    assert [said(process) for process in processes] == ["done", "done"]
    assert left(store)["incoming"] == left(store)["pins"] == 0


WRITES = """
writer = store.write(files[0])
writer.write(b"a" * 500)
print("writing", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_writer_leaves_the_next_one_removes(store: Store, start: Start) -> None:
    killed, alive = start(WRITES), start(WRITES)
    assert said(killed) == said(alive) == "writing"
    assert left(store)["incoming"] == 2
    store.sweep()
    assert left(store)["incoming"] == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert left(store)["incoming"] == 2
    Store(store.directory)
    assert left(store)["incoming"] == 1
    assert store.missing(of(A)) == [A]


# -- eviction -------------------------------------------------------------------------------------


def used(store: Store, file: File, when: int) -> None:
    os.utime(store.path(file.sha256), (when, when))


def test_what_was_not_used_for_longest_is_evicted(tmp_path: Path) -> None:
    store = Store(str(tmp_path), 3000)
    for when, file in enumerate((B, A, C)):
        keep(store, file)
        used(store, file, when)
    with store.pin(of(B)):
        pass  # now it is the last one
    with store.pin(of(D)):
        assert store.missing(of(A, B, C, D)) == [A, D]
        keep(store, D)
    with store.pin(of(C)):
        assert store.missing(of(A, B, C, D)) == [A]


def test_room_is_made_before_anything_comes(tmp_path: Path) -> None:
    store = Store(str(tmp_path), 3000)
    keep(store, A, B, C)
    with store.pin(of(D)):
        assert left(store)["blobs"] == 2


def test_nothing_in_use_is_evicted(tmp_path: Path, start: Start) -> None:
    store = Store(str(tmp_path), 3000)
    with store.pin(of(A, B)), Store(str(tmp_path), 3000).pin(of(B, C)):
        keep(store, A, B, C)
        with pytest.raises(StoreError, match=r"the program has 1000 B, and with the programs in"):
            store.pin(of(D))
        assert store.missing(of(A, B, C)) == []
    with store.pin(of(D)):
        assert left(store)["blobs"] == 2
    assert left(store)["pins"] == 0


def test_room_for_what_has_yet_to_come_is_taken(tmp_path: Path) -> None:
    store = Store(str(tmp_path), 3000)
    with (
        store.pin(of(A, B)),
        store.pin(of(C)),
        pytest.raises(StoreError, match=r"comes to 3\.9 KiB"),
    ):
        store.pin(of(D))


def test_what_can_never_have_room_is_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path), "2.5 KiB")
    keep(store, A)
    with pytest.raises(StoreError) as raised:
        store.pin(of(A, B, C))
    assert str(raised.value) == (
        f"{tmp_path}: the program has 2.9 KiB, and the store may have 2.5 KiB in all"
    )
    assert left(store) == {"blobs": 1, "incoming": 0, "pins": 0}


PINS = """
with store.pin(Manifest((files[0],), module="a")) as pin:
    print("pinned", flush=True)
    sys.stdin.read()
"""


def test_a_pin_is_gone_with_its_process_and_not_before(store: Store, start: Start) -> None:
    keep(store, A)
    process = start(PINS)
    assert said(process) == "pinned"
    limited = Store(store.directory, 1500)
    with pytest.raises(StoreError):
        limited.pin(of(B))
    assert limited.has(A)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with limited.pin(of(B)):
        assert not limited.has(A)
        assert left(store)["pins"] == 1


def test_a_pin_is_released_once(store: Store) -> None:
    pin = store.pin(of(A))
    pin.release()
    pin.release()
    assert left(store)["pins"] == 0


def test_files_that_are_not_of_the_store_are_left_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path), 1500)
    keep(store, A)
    others = [tmp_path / "notes", Path(store.path(A.sha256)).with_name("notes")]
    others.append(Path(store.path(A.sha256)).with_name("abcd"))
    for path in others:
        path.write_text("x" * 5000)
    with store.pin(of(B)):
        assert not store.has(A)
    assert all(path.exists() for path in others)


# -- locks and full disks -------------------------------------------------------------------------


def test_a_file_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = disk.fcntl.flock
    swept = []

    def racing(descriptor: int, how: int) -> None:
        if not swept and how == disk.fcntl.LOCK_EX:
            swept.extend(os.listdir(tmp_path))
            monkeypatch.undo()
            assert not disk.in_use(str(tmp_path / swept[0]))
        really(descriptor, how)

    monkeypatch.setattr(disk.fcntl, "flock", racing)
    descriptor, path = disk.create_locked(str(tmp_path))
    assert os.listdir(tmp_path) == [os.path.basename(path)] != swept
    assert disk.in_use(path)
    os.close(descriptor)
    assert not disk.in_use(path)
    assert not disk.in_use(path)
    assert os.listdir(tmp_path) == []


def test_a_pin_waits_for_who_evicts(store: Store) -> None:
    pinned = threading.Event()

    def pin() -> None:
        with Store(store.directory).pin(of(A)):
            pinned.set()

    with store._locked():
        thread = threading.Thread(target=pin)
        thread.start()
        assert not pinned.wait(0.05)
    assert pinned.wait(10)
    thread.join()


def test_on_a_full_disk_nothing_half_written_stays(tmp_path: Path) -> None:
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "-r"]
    done = subprocess.run(
        [*alone, sys.executable, HERE / "programs" / "full_disk.py", tmp_path],
        check=False,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.stdout == "as it should be\n"


@pytest.mark.parametrize("number", [28, 122, 5])
def test_what_the_system_says_is_told_with_the_path(
    number: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    writer = store.write(A)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(StoreError) as raised:
            writer.write(b"a")
    assert str(raised.value).startswith(f"{store.directory}/incoming: {os.strerror(number)}")
    assert ("make room there" in str(raised.value)) == (number != 5)
    assert left(store)["incoming"] == 0
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        with pytest.raises(StoreError):
            store.pin(of(A))
    assert left(store)["pins"] == 0
    writer = store.write(A)
    writer.write(b"a" * 1000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(StoreError):
            writer.commit()
    assert left(store) == {"blobs": 0, "incoming": 0, "pins": 0}
