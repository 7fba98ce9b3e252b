from __future__ import annotations

import pickle

import msgspec
import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st

from constellation.program import errors
from constellation.program.errors import ManifestError
from constellation.program.manifest import (
    DEPTH_LIMIT,
    ENTRIES_LIMIT,
    MANIFEST_LIMIT,
    Directory,
    Entry,
    File,
    Link,
    Manifest,
    leaving,
    order,
    shown,
)

PROG = trees.file("prog.py", b"print()")


def test_it_survives_the_wire() -> None:
    manifest = trees.manifest(
        trees.file("pkg/a.py", b"a"),
        trees.file("run.sh", b"#!", executable=True),
        trees.file(b"not \xff utf-8", b"x"),
        Link(b"pkg/up", b"../run.sh"),
        Directory(b"empty/inner"),
    )
    assert Manifest.decode(manifest.encode()) == manifest
    assert manifest.size == 11
    assert [file.path for file in manifest.files] == [
        b"not \xff utf-8",
        b"pkg/a.py",
        b"prog.py",
        b"run.sh",
    ]


def test_the_digest_is_that_of_the_tree() -> None:
    manifest = trees.manifest()
    assert manifest.digest() == trees.manifest().digest()
    assert len(manifest.digest()) == 32
    assert manifest.digest() != trees.manifest(trees.file("a")).digest()
    assert manifest.digest() != Manifest((PROG,), module="prog").digest()


def test_a_blob_is_named_once_however_many_files_have_it() -> None:
    manifest = trees.manifest(trees.file("a", b"same"), trees.file("b", b"same"))
    assert {file.path for file in manifest.blobs.values()} == {b"a", b"prog.py"}


def test_names_that_differ_in_case_only_are_different_names() -> None:
    manifest = trees.manifest(trees.file("README"), trees.file("readme"))
    assert Manifest.decode(manifest.encode()) == manifest


def test_what_is_below_a_name_follows_it() -> None:
    paths = [b"a-b", b"a", b"a/b", b"a.py", b"a/b/c"]
    assert sorted(paths, key=order) == [b"a", b"a/b", b"a/b/c", b"a-b", b"a.py"]


def test_a_path_is_shown_whatever_is_in_it() -> None:
    assert shown("pkg/größe.py".encode()) == "pkg/größe.py"
    assert shown(b"a\xff") == r"a\xff"
    assert shown(b"a\nb\x1b") == r"a\nb\x1b"


LONG = b"/".join([b"n" * 200] * 12)

REFUSED: list[tuple[str, list[Entry]]] = [
    ("has '..' as a name", [trees.file("../out")]),
    ("has '..' as a name", [trees.file("a/../out")]),
    ("has '.' as a name", [trees.file("a/./b")]),
    ("has '' as a name", [trees.file("a//b")]),
    ("has '' as a name", [trees.file("a/")]),
    ("is absolute", [trees.file("/etc/passwd")]),
    ("a path of 0 bytes", [trees.file("")]),
    (f"a path of {len(LONG)} bytes", [trees.file(LONG)]),
    ("a name of 256 bytes", [trees.file("n" * 256)]),
    (f"has {DEPTH_LIMIT + 1} names", [trees.file("/".join("d" * (DEPTH_LIMIT + 1)))]),
    ("has a NUL in it", [trees.file(b"a\0b")]),
    ("is there twice", [trees.file("a", b"1"), trees.file("a", b"2")]),
    ("is there twice", [trees.file("a"), Directory(b"a")]),
    ("a is no directory, and has a/b below it", [trees.file("a"), trees.file("a/b")]),
    ("a is no directory, and has a/b below it", [Link(b"a", b"."), trees.file("a/b")]),
    ("a is no directory", [trees.file("a"), trees.file("a-b"), trees.file("a/b/c/d")]),
    ("a is said to be empty, and has a/b in it", [Directory(b"a"), trees.file("a/b")]),
    ("the link a leads to .., out", [Link(b"a", b"..")]),
    ("the link a/b leads to ../../x, out", [Link(b"a/b", b"../../x")]),
    ("the link a leads to /etc/passwd, out", [Link(b"a", b"/etc/passwd")]),
    ("has a NUL in it", [Link(b"a", b"b\0c")]),
    ("a has -1 bytes", [File(b"a", -1, bytes(32))]),
    ("a has 1 bytes and a digest of 31", [File(b"a", 1, bytes(31))]),
    ("has 1 bytes, and 2 at b", [File(b"a", 1, bytes(32)), File(b"b", 2, bytes(32))]),
]


@pytest.mark.parametrize(("reason", "entries"), REFUSED)
def test_what_could_not_be_laid_out_is_refused(reason: str, entries: list[Entry]) -> None:
    with pytest.raises(ManifestError) as made:
        trees.manifest(*entries)
    assert reason in str(made.value)
    every = sorted([PROG, *entries], key=lambda entry: order(entry.path))
    with pytest.raises(ManifestError):
        Manifest.decode(msgspec.msgpack.encode(["program", every, b"prog.py", None]))


def test_the_order_is_given() -> None:
    with pytest.raises(ManifestError, match=r"a after prog\.py"):
        Manifest((PROG, trees.file("a")), b"prog.py")


@pytest.mark.parametrize(
    ("script", "module", "reason"),
    [
        (None, None, "either a script or a module"),
        (b"prog.py", "prog", "either a script or a module"),
        (b"other.py", None, "other.py is none of its files"),
        (b"d", None, "d is none of its files"),
        (None, "", "'' is not the name of a module"),
        (None, "a..b", "is not the name of a module"),
        (None, "-c", "is not the name of a module"),
        (None, "a/b", "is not the name of a module"),
        (None, "a\0", "is not the name of a module"),
        (None, "a\udcff", "is not the name of a module"),
    ],
)
def test_it_says_what_is_run(script: bytes | None, module: str | None, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        Manifest((Directory(b"d"), PROG), script, module)


def test_too_many_entries_are_refused() -> None:
    few = tuple(Directory(b"%07d" % number) for number in range(ENTRIES_LIMIT))
    Manifest(few, module="prog")
    with pytest.raises(ManifestError, match="100001 entries, of 100000 allowed"):
        Manifest((*few, PROG), b"prog.py")
    with pytest.raises(ManifestError, match=r"bytes, of \d+ allowed"):
        Manifest.decode(bytes(MANIFEST_LIMIT + 1))


@pytest.mark.parametrize(
    ("links", "left"),
    [
        # Each target alone seems to stay inside.
        ({"a/b/up": "../..", "a/b/out": "up/.."}, ["a/b/out"]),
        ({"up": "a/b", "a/b": "..", "out": "up/.."}, ["out"]),
        # And each of these to leave it.
        ({"a/down": "../b/c/d", "a/in": "down/../../../prog.py"}, []),
        # They lead nowhere, round and round, or to the root itself.
        ({"a": "a", "b": "c", "c": "b/../.."}, []),
        ({"here": ".", "a/root": "..", "a/b": "root/a/root/a/root"}, []),
        ({"dangling": "nothing/at/../all"}, []),
        # Through an absolute one.
        ({"abs": "/etc", "through": "abs/passwd"}, ["abs", "through"]),
    ],
)
def test_links_are_followed_through_links(links: dict[str, str], left: list[str]) -> None:
    entries = [Link(path.encode(), target.encode()) for path, target in links.items()]
    assert [link.path.decode() for link in leaving(entries)] == left


def test_links_that_take_too_long_to_follow_are_refused() -> None:
    deep = b"/".join([b"."] * 1000)
    tangle = [Link(b"l%d" % n, deep + b"/l%d" % (n + 1)) for n in range(2000)]
    with pytest.raises(ManifestError, match="through too many others"):
        leaving(tangle)


# -- any bytes ------------------------------------------------------------------------------------

names = st.sampled_from([b"a", b"b", b"..", b".", b"", b"prog.py", b"\xff", b"A", b"a\0"])
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
digests = st.sampled_from([bytes(32), b"d" * 32, b"short"])
values = st.one_of(
    st.tuples(st.just("file"), paths, st.integers(-1, 3), digests, st.booleans()),
    st.tuples(st.just("link"), paths, paths),
    st.tuples(st.just("directory"), paths),
)
nearly = st.tuples(
    st.just("program"),
    st.lists(values, max_size=6).map(lambda them: sorted(them, key=lambda v: order(v[1]))),
    st.one_of(st.none(), paths),
    st.one_of(st.none(), st.sampled_from(["a", "a.b", "a/b", ""])),
)
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.binary(max_size=5), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(max_size=3), inner)),
    max_leaves=10,
)


@given(
    st.one_of(
        st.binary(max_size=100),
        st.one_of(nearly, anything).map(msgspec.msgpack.encode),
        nearly.map(msgspec.msgpack.encode).flatmap(
            lambda data: st.integers(0, len(data)).map(lambda end: data[:end])
        ),
    )
)
def test_any_bytes_are_a_manifest_or_the_one_error(data: bytes) -> None:
    try:
        manifest = Manifest.decode(data)
    except ManifestError as error:
        assert str(error).startswith("not a program's manifest: ")
    else:
        assert Manifest.decode(manifest.encode()) == manifest


def test_some_of_what_is_nearly_a_manifest_is_one() -> None:
    value = ["program", [["directory", b"a/b"]], None, "a.b"]
    assert Manifest.decode(msgspec.msgpack.encode(value)).entries == (Directory(b"a/b"),)
    with pytest.raises(ManifestError):
        Manifest.decode(msgspec.msgpack.encode([*value, "more"]))


@pytest.mark.parametrize(
    "error",
    [
        errors.ManifestError("reason"),
        errors.BlobError(bytes(32), "is short"),
        errors.BlobsMissing([bytes(32)]),
        errors.BlobsMissing([bytes(32), b"d" * 32]),
        errors.StoreError("/path", "is full"),
        errors.PackError("text"),
        errors.TransferError("text"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_errors_pickle_and_have_a_text(error: errors.ShippingError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert vars(again) == vars(error)
