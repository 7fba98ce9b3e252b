from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import trees
from hypothesis import example, given
from hypothesis import strategies as st

from constellation.program.errors import PackError
from constellation.program.ignore import NAMES, Fate, GitIgnore, Place, Rules, marked


def shipped(directory: Path, rules: Rules | None = None, *above: GitIgnore) -> set[str]:
    """The files in a directory that are shipped."""
    rules = rules or Rules()
    found = set()

    def walk(place: Place, path: Path) -> None:
        for name in os.listdir(path):
            entry = path / name
            if not entry.is_dir():
                if rules.fate(place, name) in {Fate.SHIPPED, Fate.WHOLE}:
                    found.add(place.path + name)
                continue
            fate = rules.fate(place, name, lambda entry=entry: os.listdir(entry))
            if fate is not Fate.LEFT_OUT:
                walk(rules.enter(place, name, fate, lambda entry=entry: text(entry)), entry)

    def text(path: Path) -> bytes | None:
        gitignore = path / ".gitignore"
        return gitignore.read_bytes() if gitignore.is_file() else None

    root = rules.root(above)
    walk(rules.enter(root, "", Fate.SHIPPED, lambda: text(directory)), directory)
    return found


def test_what_nobody_ships_is_left_out(tmp_path: Path) -> None:
    tree = {
        "prog.py": "",
        "pkg/mod.py": "",
        "pkg/__pycache__/mod.cpython-311.pyc": "",
        ".git/HEAD": "",
        "sub/.git": "gitdir: elsewhere",
        ".hg/store": "",
        "pkg/.mypy_cache/x": "",
        "constellation.egg-info/PKG-INFO": "",
        "node_modules/left-pad/index.js": "",
        "env/pyvenv.cfg": "",
        "env/lib/python3.11/site-packages/big.py": "",
        "conda/conda-meta/history": "",
        "cached/CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55",
        "cached/entry": "",
        ".github/workflows/ci.yml": "",
    }
    trees.grow(tmp_path, tree)
    assert shipped(tmp_path) == {"prog.py", "pkg/mod.py", ".github/workflows/ci.yml"}


def test_a_mark_is_a_name_in_the_directory() -> None:
    assert marked(["bin", "pyvenv.cfg"])
    assert not marked(["venv.cfg", "conda-meta.txt"])


TREE = {
    ".gitignore": "*.bin\n/data/\nbuild\n",
    "prog.py": "",
    "small.bin": "",
    "data/model.bin": "",
    "data/deep/table.csv": "",
    "data/deep/__pycache__/x.pyc": "",
    "data/.gitignore": "*\n",
    "build/out.txt": "",
    "pkg/build/out.txt": "",
    "pkg/mod.py": "",
    "pkg/notes.txt": "",
}
ALWAYS = {".gitignore", "prog.py", "pkg/mod.py", "pkg/notes.txt"}


@pytest.mark.parametrize(
    ("include", "exclude", "more", "less"),
    [
        ([], [], set(), set()),
        # An include takes back what was ignored, of a directory all, save what nobody ships.
        (["*.bin"], [], {"small.bin"}, set()),
        (["data/"], [], {"data/model.bin", "data/deep/table.csv", "data/.gitignore"}, set()),
        (["build"], [], {"build/out.txt", "pkg/build/out.txt"}, set()),
        (["/build"], [], {"build/out.txt"}, set()),
        # One with a slash inside leads there.
        (["data/model.bin"], [], {"data/model.bin"}, set()),
        (["data/*/table.csv"], [], {"data/deep/table.csv"}, set()),
        (["data/**/*.csv"], [], {"data/deep/table.csv"}, set()),
        (["**/table.csv"], [], {"data/deep/table.csv"}, set()),
        (["data/deep/__pycache__/"], [], {"data/deep/__pycache__/x.pyc"}, set()),
        # One without does not.
        (["table.csv"], [], set(), set()),
        # An exclude has the last word.
        ([], ["pkg/"], set(), {"pkg/mod.py", "pkg/notes.txt"}),
        ([], ["*.txt"], set(), {"pkg/notes.txt"}),
        (["data/"], ["*.csv"], {"data/model.bin", "data/.gitignore"}, set()),
        (["*.py"], ["pkg"], set(), {"pkg/mod.py", "pkg/notes.txt"}),
        (["pkg/mod.py"], ["pkg"], set(), {"pkg/mod.py", "pkg/notes.txt"}),
    ],
)
def test_include_and_exclude(
    include: list[str], exclude: list[str], more: set[str], less: set[str], tmp_path: Path
) -> None:
    trees.grow(tmp_path, TREE)
    assert shipped(tmp_path, Rules(include, exclude)) == (ALWAYS | more) - less


def test_an_environment_is_shipped_if_it_is_named(tmp_path: Path) -> None:
    tree = {"env/pyvenv.cfg": "", "env/lib/__pycache__/x.pyc": "", "a/b/pyvenv.cfg": ""}
    trees.grow(tmp_path, tree)
    assert shipped(tmp_path, Rules(["env"])) == {"env/pyvenv.cfg"}
    assert shipped(tmp_path, Rules(["a"])) == set()
    assert shipped(tmp_path, Rules(["a/b"])) == {"a/b/pyvenv.cfg"}


def test_gitignore_takes_nothing_back_that_nobody_ships(tmp_path: Path) -> None:
    trees.grow(tmp_path, {".gitignore": "*\n!*/\n!*.py\n", "a/x.py": "", "__pycache__/y.py": ""})
    assert shipped(tmp_path) == {"a/x.py"}


def test_those_above_count_from_where_they_are(tmp_path: Path) -> None:
    trees.grow(tmp_path, {"prog.py": "", "out/x": "", "in/out/x": "", "build/y": "", "z.log": ""})
    above = GitIgnore(b"examples/\nexamples/out\n*.log\n/build\n", above="examples/")
    assert shipped(tmp_path, None, above) == {"prog.py", "in/out/x", "build/y"}


@pytest.mark.parametrize("pattern", ["", " ", "/", "#comment", "[z-a]", "back\\"])
def test_an_option_that_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(PackError, match=r"is not a pattern; write one as in \.gitignore"):
        Rules(exclude=[pattern])


@pytest.mark.parametrize(
    ("include", "exclude", "other"), [(["!a"], [], "--exclude"), ([], ["!a"], "--include")]
)
def test_an_option_cannot_be_negated(include: list[str], exclude: list[str], other: str) -> None:
    with pytest.raises(PackError, match=f"cannot begin with '!'; use {other} for the opposite"):
        Rules(include, exclude)


# -- as git does ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def git() -> str:
    path = shutil.which("git")
    assert path, "this test compares with git: apt-get install -y git (or: brew install git)"
    return path


def as_git(git: str, directory: Path) -> set[str]:
    """The files in a directory that git would not ignore."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    for command in (["init", "-q"], ["ls-files", "-z", "--others", "--exclude-standard"]):
        done = subprocess.run(
            [git, "-C", directory, *command], env=environment, stdout=subprocess.PIPE, check=True
        )
    return {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}


FILES = [
    "a", "b.py", "c.o", "foo/a", "foo/b.py", "foo/bar/a", "foo/bar/c.o", "foo/bar/foo/b.py",
    "bar", "baz/foo/a", "baz/bar/c.o", "baz/#x", "baz/!y", "baz/sp ace ", "foo/.hidden",
]  # fmt: skip
SEGMENTS = [
    "*", "**", "foo", "bar", "a", "*.o", "*.py", "b*", "?", "[a-c]*", "[!a]*", "ba[rz]", ".*",
    "f**o", "[[:alpha:]]", "[!b].py",
]  # fmt: skip
segments = st.sampled_from(SEGMENTS)
patterns = st.builds(
    lambda negated, lead, parts, end: negated + lead + "/".join(parts) + end,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(segments, min_size=1, max_size=3),
    st.sampled_from(["", "", "/", " ", "\r"]),
)
gitignores = st.dictionaries(
    st.sampled_from(["", "foo/", "foo/bar/", "baz/"]),
    st.lists(patterns, max_size=5).map("\n".join),
    min_size=1,
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.grow(tmp_path_factory.mktemp("repository"), dict.fromkeys(FILES, ""))


@given(texts=gitignores)
@example({"": "foo/**\n!foo/bar/\n"})
@example({"": "*\n!*/\n!*.py\n"})
@example({"": "foo\n", "foo/": "!a\n"})
@example({"": "bar\n*.o", "foo/": "!bar\n"})
@example({"": "\\#x\n#y\n\\!y\n"})
@example({"": "sp ace\\ \n!foo \n"})
@example({"": "\ufefffoo\n[z-a]\nback\\\n/\n!\n"})
@example({"": "foo[!a]bar\nfoo[!x]a\n"})
@example({"": "/*\n!/foo\n/foo/*\n!/foo/bar/\n"})
def test_it_is_as_git_does(git: str, repository: Path, texts: dict[str, str]) -> None:
    for directory in ("", "foo/", "foo/bar/", "baz/"):
        (repository / directory / ".gitignore").write_text(texts.get(directory, ""))
    assert shipped(repository) == as_git(git, repository)


def test_the_docs_name_all_that_nobody_ships() -> None:
    page = (Path(__file__).parents[2] / "docs" / "programs.md").read_text()
    for name in (*NAMES, "pyvenv.cfg", "conda-meta", "CACHEDIR.TAG"):
        assert f"`{name}`" in page, name
