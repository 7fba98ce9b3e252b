from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trees

from constellation.program import pack
from constellation.program.errors import PackError
from constellation.program.ignore import Rules
from constellation.program.manifest import Directory, Link
from constellation.program.pack import pack_module, pack_script


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return trees.grow(tmp_path / "prog", {"prog.py": "print()"})


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ten seconds later than files were changed."""
    clock = SimpleNamespace(time_ns=lambda: time.time_ns() + 10_000_000_000)
    monkeypatch.setattr(pack, "time", clock)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths of the files that are read."""
    paths: list[bytes] = []
    really = pack._read

    def noted(directory: str, path: bytes) -> Any:
        paths.append(path)
        return really(directory, path)

    monkeypatch.setattr(pack, "_read", noted)
    return paths


def packed(directory: Path, **options: Any) -> pack.Package:
    return pack_script(str(directory / "prog.py"), **options)


def refused(directory: Path, **options: Any) -> str:
    with pytest.raises(PackError) as raised:
        packed(directory, **options)
    return str(raised.value)


def test_a_script_is_the_directory_that_it_is_in(directory: Path) -> None:
    tree = {"pkg/mod.py": "x = 1", "to_mod": "-> pkg/mod.py", "out": None, "pkg/.gitignore": "*.o"}
    trees.grow(directory, {**tree, "pkg/a.o": "", ".git/HEAD": "", "only/__pycache__/x": ""})
    (directory / "run.sh").write_text("#!/bin/sh")
    (directory / "run.sh").chmod(0o755)
    package = packed(directory)
    assert package.directory == os.path.realpath(directory)
    assert package.notes == ()
    assert package.manifest.script == b"prog.py"
    assert list(package.manifest.entries) == [
        Directory(b"out"),
        trees.file("pkg/.gitignore", b"*.o"),
        trees.file("pkg/mod.py", b"x = 1"),
        trees.file("prog.py", b"print()"),
        trees.file("run.sh", b"#!/bin/sh", executable=True),
        Link(b"to_mod", b"pkg/mod.py"),
    ]


def test_a_module_is_the_working_directory(directory: Path) -> None:
    trees.grow(directory, {"pkg/__main__.py": "", "pkg/mod.py": ""})
    for name in ("prog", "pkg", "pkg.mod"):
        manifest = pack_module(name, str(directory)).manifest
        assert (manifest.script, manifest.module) == (None, name)
        assert len(manifest.entries) == 3


def test_names_that_are_not_utf8_are_shipped_as_they_are(directory: Path) -> None:
    name = b"b\xffd"
    with open(os.path.join(os.fsencode(directory), name), "wb") as file:
        file.write(b"content")
    package = packed(directory)
    assert trees.file(name, b"content") in package.manifest.entries
    assert package.read(trees.file(name, b"content"), 0, 7) == b"content"


def test_a_link_to_a_script_is_the_script(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link.py").symlink_to("prog/prog.py")
    package = pack_script(str(tmp_path / "link.py"))
    assert package.manifest == packed(directory).manifest


def test_the_script_is_shipped_whatever_is_ignored(directory: Path) -> None:
    (directory / ".gitignore").write_text("*")
    for rules in (Rules(), Rules(exclude=["*.py"])):
        assert packed(directory, rules=rules).manifest.entries == (
            trees.file("prog.py", b"print()"),
        )


def test_gitignores_above_count_up_to_the_top_of_the_repository(tmp_path: Path) -> None:
    tree = {
        ".gitignore": "*",
        "repo/.git/HEAD": "",
        "repo/.gitignore": "*.log\n/in/prog/data\n",
        "repo/in/.gitignore": "!keep.log\n",
        "repo/in/prog/prog.py": "",
        "repo/in/prog/a.log": "",
        "repo/in/prog/keep.log": "",
        "repo/in/prog/data/x": "",
    }
    trees.grow(tmp_path, tree)
    manifest = packed(tmp_path / "repo/in/prog").manifest
    assert [entry.path for entry in manifest.entries] == [b"keep.log", b"prog.py"]


@pytest.mark.parametrize(
    ("tree", "note"),
    [
        ({"a.py": ""}, None),
        ({".gitignore": "data.csv", "data.csv": ""}, "data.csv, which .gitignore names; --include"),
        (
            {".gitignore": "*.csv\n.env", "b.csv": "", "pkg/a.csv": "", ".env": ""},
            "3 files that .gitignore names, such as b.csv; --include ships them",
        ),
        (
            {".gitignore": "/data/\nprog.py\nx", "data/a": "", "data/b": "", "pkg/x": ""},
            "2 files and directories that .gitignore names, such as pkg/x; --include ships them",
        ),
        # What nobody would miss: caches, environments, what is empty.
        (
            {
                ".gitignore": "*.egg-info\n__pycache__/\nvenv\nout\ncache",
                "a.egg-info/x": "",
                "__pycache__/x.pyc": "",
                "venv/pyvenv.cfg": "",
                "cache/CACHEDIR.TAG": "",
                "out": None,
            },
            None,
        ),
    ],
)
def test_what_gitignore_leaves_behind_is_noted(
    directory: Path, tree: dict[str, str | bytes | None], note: str | None
) -> None:
    told = packed(trees.grow(directory, tree)).ignored
    if note is None:
        assert told is None
    else:
        assert told is not None
        assert told.startswith(f"not shipped: {note}")


def test_what_options_decide_is_not_noted(directory: Path) -> None:
    trees.grow(directory, {".gitignore": "*.csv\ndata", "a.csv": "", "data/b": "", "data/c": ""})
    assert packed(directory, rules=Rules(exclude=["*.csv"], include=["data/b"])).ignored is None
    assert packed(directory, rules=Rules(include=["*.csv", "data"])).ignored is None


def test_links_are_kept_if_they_stay_inside(directory: Path) -> None:
    trees.grow(directory, {"pkg/mod.py": "", "a/up": "-> ../pkg", "pkg/nowhere": "-> left/out"})
    (directory / "absolute").symlink_to(os.path.realpath(directory / "pkg"))
    (directory / "a" / "root").symlink_to(os.path.realpath(directory))
    links = {entry for entry in packed(directory).manifest.entries if type(entry) is Link}
    assert links == {
        Link(b"a/root", b".."),
        Link(b"a/up", b"../pkg"),
        Link(b"absolute", b"pkg"),
        Link(b"pkg/nowhere", b"left/out"),
    }


def test_links_that_leave_are_refused_with_their_paths(directory: Path) -> None:
    trees.grow(directory, {"data": "-> /mnt/data", "pkg/out": "-> ../../x", "pkg/in": "-> ../pkg"})
    text = refused(directory)
    assert "    data -> /mnt/data\n" in text
    assert "    pkg/out -> ../../x\n" in text
    assert "pkg/in" not in text
    assert "Leave them out, as with --exclude '/" in text
    left = packed(directory, rules=Rules(exclude=["/data", "out"])).manifest
    assert [entry.path for entry in left.entries] == [b"pkg/in", b"prog.py"]


def test_many_links_that_leave_are_not_all_listed(directory: Path) -> None:
    trees.grow(directory, {f"l{number}": "-> /" for number in range(15)})
    text = refused(directory)
    assert text.count(" -> /") == 10
    assert "    and 5 more\n" in text


def test_what_is_no_file_is_left_out_with_a_note(directory: Path) -> None:
    os.mkfifo(directory / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(directory / "sock"))
        package = packed(directory)
    assert set(package.notes) == {
        "pipe is a named pipe, and is not shipped",
        "sock is a socket, and is not shipped",
    }
    assert len(package.manifest.entries) == 1


# -- what cannot be shipped -----------------------------------------------------------------------


def test_what_is_too_large_is_refused_with_the_largest(directory: Path) -> None:
    trees.grow(
        directory,
        {"data/big.bin": bytes(3 << 20), "data/deep/er/x.bin": bytes(1 << 20), "a[1]": bytes(100)},
    )
    advice = (
        "Leave out what it does not need, as with --exclude '/data/', "
        "or allow that much with --max-size '5 MiB'."
    )
    assert refused(directory, max_size="2 MiB").splitlines() == [
        f"the program in {directory} has 4 MiB to ship; the limit is 2 MiB.",
        "The largest files:",
        "         3 MiB  data/big.bin",
        "         1 MiB  data/deep/er/x.bin",
        "         100 B  a[1]",
        "           7 B  prog.py",
        "The largest directories:",
        "         4 MiB  data/",
        "         1 MiB  data/deep/",
        advice,
    ]
    packed(directory, max_size="5 MiB")
    packed(directory, max_size="2 MiB", rules=Rules(exclude=["/data/"]))


def test_a_byte_too_much_is_told_in_bytes(directory: Path) -> None:
    trees.grow(directory, {"big": bytes(1 << 20)})
    assert "has 1048583 bytes to ship; the limit is 1 MiB." in refused(directory, max_size="1 MiB")


def test_a_large_file_is_excluded_by_what_the_text_says(directory: Path) -> None:
    trees.grow(directory, {"a[1] *!": bytes(100)})
    text = refused(directory, max_size=50)
    pattern = text.partition("--exclude '")[2].partition("'")[0]
    assert packed(directory, max_size=50, rules=Rules(exclude=[pattern]))


def test_nothing_is_read_of_what_is_too_large(directory: Path, read: list[bytes]) -> None:
    refused(directory, max_size=1)
    assert read == []


def test_too_many_files_are_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("constellation.program.sizes.ENTRIES_LIMIT", 3)
    trees.grow(directory, {"many/a": "", "many/b": "", "empty": None})
    text = refused(directory)
    assert "has 4 files to ship; the limit is 3." in text
    assert "             2  many/" in text
    assert packed(directory, rules=Rules(exclude=["many"]))


def test_the_home_directory_is_refused(home: Path) -> None:
    for place in (home, home.parent):
        text = refused(trees.grow(place, {"prog.py": ""}))
        assert "move it into a directory of its own" in text
    assert "is in your home directory" in refused(home)
    with pytest.raises(PackError, match="is in the directory /, and all that is there"):
        pack._check_place("/")
    packed(trees.grow(home / "prog", {"prog.py": ""}))
    with pytest.raises(PackError, match="your home directory"):
        pack_module("prog", str(home))


def test_what_is_to_run_must_be_there(directory: Path) -> None:
    with pytest.raises(PackError, match=r"other\.py is no file; name the script"):
        pack_script(str(directory / "other.py"))
    with pytest.raises(PackError, match="is a directory; name the script"):
        pack_script(str(directory))
    with pytest.raises(PackError, match=r"neither pkg/mod\.py nor pkg/mod/__main__\.py; deploy"):
        pack_module("pkg.mod", str(directory))
    with pytest.raises(PackError, match="'a/b' is not the name of a module"):
        pack_module("a/b", str(directory))
    with pytest.raises(PackError, match=r"prog\.py is what is to run, and is left out"):
        pack_module("prog", str(directory), Rules(exclude=["prog.py"]))


@pytest.mark.parametrize("call", ["listdir", "lstat", "readlink", "open"])
def test_what_cannot_be_read_is_named(
    call: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may read everything.
    trees.grow(directory, {"secret/file": "", "secret/link": "-> file"})
    really = getattr(os, call)

    def refuse(path: Any, *rest: Any, **more: Any) -> Any:
        if b"/secret" in os.fsencode(path):
            raise PermissionError(13, "Permission denied")
        return really(path, *rest, **more)

    monkeypatch.setattr(os, call, refuse)
    text = refused(directory)
    assert f"{directory}/secret" in text
    assert "cannot be read: Permission denied; make it readable, or leave it out with" in text


# -- changes while it is packed -------------------------------------------------------------------


def test_what_vanishes_is_left_out_with_a_note(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.grow(directory, {"temporary": ""})
    really = os.open

    def racing(path: Any, *rest: Any) -> int:
        if os.fsencode(path).endswith(b"/temporary"):
            os.unlink(path)
        return really(path, *rest)

    monkeypatch.setattr(os, "open", racing)
    package = packed(directory)
    assert package.notes == ("temporary vanished while the program was packed",)
    assert len(package.manifest.entries) == 1


@pytest.mark.parametrize("times", [2, 3])
def test_what_changes_is_read_again_and_refused_in_the_end(
    times: int, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.grow(directory, {"log": "line\n"})
    really = pack._digest
    left = [times]

    def racing(descriptor: int, size: int) -> bytes | None:
        digest = really(descriptor, size)
        if left[0] and os.path.samestat(os.fstat(descriptor), (directory / "log").stat()):
            left[0] -= 1
            with open(directory / "log", "a") as file:
                file.write("line\n")
        return digest

    monkeypatch.setattr(pack, "_digest", racing)
    if times == 3:
        assert "log changes while it is read" in refused(directory)
        return
    assert packed(directory).manifest.entries[0] == trees.file("log", b"line\n" * 3)


def test_a_file_that_becomes_another_kind_is_not_waited_for(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.grow(directory, {"x": "", "y": ""})
    really = pack.walk

    def racing(*arguments: Any) -> Any:
        found = really(*arguments)
        for name in ("x", "y"):
            (directory / name).unlink(missing_ok=True)
        os.mkfifo(directory / "x")
        (directory / "y").symlink_to("prog.py")
        return found

    monkeypatch.setattr(pack, "walk", racing)
    assert "changes while it is read" in refused(directory)
    (directory / "x").unlink()
    (directory / "y").unlink()
    monkeypatch.setattr(pack, "walk", really)
    packed(directory)


def test_a_file_that_only_grows_is_not_read_for_ever(directory: Path) -> None:
    descriptor = os.open("/dev/zero", os.O_RDONLY)
    try:
        assert pack._digest(descriptor, 3 << 20) is None
    finally:
        os.close(descriptor)


def test_what_is_read_after_packing_may_have_changed(directory: Path) -> None:
    package = packed(directory)
    (file,) = package.manifest.files
    assert package.read(file, 0, 100) == b"print()"
    assert package.read(file, 2, 3) == b"int"
    (directory / "prog.py").unlink()
    with pytest.raises(PackError, match=r"prog\.py cannot be read any more: .*; the program has"):
        package.read(file, 0, 1)


# -- the second time ------------------------------------------------------------------------------


@pytest.mark.usefixtures("later")
def test_the_second_time_nothing_is_read_but_what_changed(
    directory: Path, read: list[bytes]
) -> None:
    trees.grow(directory, {"a": "a", "b": "b"})
    first = packed(directory).manifest
    assert sorted(read) == [b"a", b"b", b"prog.py"]
    read.clear()
    assert packed(directory).manifest == first
    assert read == []
    (directory / "a").write_text("A")
    (directory / "b").rename(directory / "c")
    second = packed(directory).manifest
    assert sorted(read) == [b"a", b"c"]
    assert second.entries[:2] == (trees.file("a", b"A"), trees.file("c", b"b"))


def test_what_has_just_changed_is_read_again(directory: Path, read: list[bytes]) -> None:
    packed(directory)
    packed(directory)
    assert read == [b"prog.py"] * 2


@pytest.mark.usefixtures("later")
def test_a_change_that_puts_the_time_back_is_seen(directory: Path) -> None:
    packed(directory)
    path = directory / "prog.py"
    status = path.stat()
    path.write_text("PRINT()")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert packed(directory).manifest.entries == (trees.file("prog.py", b"PRINT()"),)
