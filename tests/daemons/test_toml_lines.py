from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation_daemons.toml_lines import Path, key_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Each key has the line it is on for its value, or holds what is on other lines.
LAYOUTS = {
    "plain": 'a = 1\n\nb = 3 # c = 3\n# d = 4\n"e" = 5\n',
    "tables": "[a]\nb = 2\n[ c . d ]\ne = 4\n[a.f]\ng = 6\n[c]\nh = 8",
    "arrays of tables": "[[n]]\na = 2\n[[ n ]]\na = 4\n[n.b]\nc = 6\n[[n.d]]\ne = 8\n"
    "[[n.d]]\ne = 10\n[[n]]\n[[n.d]]\ne = 13\n",
    "dotted keys": "a.b.c = 1\na . d = 2\n[t]\na.'x.y'.\"z\" = 4\n",
    "quoted keys": '"a b" = 1\n\'c\\n\' = 2\n"\\u0065\\"" = 3\n[\'#\'."]"]\nf = 5\n"" = 6',
    "inline tables": "n = [{ a = 1, b.c = 1 }, # {\n {a = 2}, {\t}\n,\n { d = { e = 4 } }]\nf = 5",
    "arrays": "a = [1, 1, [ # ]\n2,\n\n4\n, 5 # 6,\n],\n7]\nb = 8",
    "strings": "a = 1\nb = '''2\nb = 3\n[[n]]'''\nc = 5\n"
    'd = """\\\n  [e]\\\n""\\""" """""\nf = 9\n'
    "g = '#'\nh = \"\\\"#\" # \"\ni = ''\nj = \"\"\nk = ''''''\nl = '''''15'''''\n",
    "Windows": "a = 1\r\n[b]\r\nc = 3\r\nd = '''4\r\n5'''\r\ne = 6\r\n",
    "dates and numbers": "a = 1979-05-27T07:32:00Z # 2\nb = 0x2\nc = 3.0e1\nd = -inf\ne = true",
    "empty": "",
    "blank": " \n\t# only\n",
    "no newline": "a=1\nb=[]",
}


def paths(value: object, path: Path = ()) -> set[Path]:
    found = {path} if path else set()
    if isinstance(value, dict):
        found = found.union(*(paths(inner, (*path, key)) for key, inner in value.items()))
    if isinstance(value, list):
        found = found.union(*(paths(inner, (*path, at)) for at, inner in enumerate(value)))
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_key_and_element_has_a_line(name: str) -> None:
    text = LAYOUTS[name]
    assert set(key_lines(text)) == paths(tomllib.loads(text))


EXPECTED: dict[str, dict[Path, int]] = {
    "plain": {("a",): 1, ("b",): 3, ("e",): 5},
    "tables": {
        ("a",): 1,
        ("a", "b"): 2,
        ("c", "d"): 3,
        ("c", "d", "e"): 4,
        ("a", "f"): 5,
        ("a", "f", "g"): 6,
        ("c", "h"): 8,
    },
    "arrays of tables": {
        ("n",): 1,
        ("n", 0): 1,
        ("n", 0, "a"): 2,
        ("n", 1): 3,
        ("n", 1, "a"): 4,
        ("n", 1, "b", "c"): 6,
        ("n", 1, "d", 0, "e"): 8,
        ("n", 1, "d", 1): 9,
        ("n", 1, "d", 1, "e"): 10,
        ("n", 2): 11,
        ("n", 2, "d", 0, "e"): 13,
    },
    "quoted keys": {("a b",): 1, ("c\\n",): 2, ('e"',): 3, ("#", "]", "f"): 5, ("#", "]", ""): 6},
    "inline tables": {
        ("n", 0): 1,
        ("n", 0, "b", "c"): 1,
        ("n", 1, "a"): 2,
        ("n", 2): 2,
        ("n", 3): 4,
        ("n", 3, "d", "e"): 4,
        ("f",): 5,
    },
    "arrays": {("a", 2): 1, ("a", 2, 0): 2, ("a", 2, 1): 4, ("a", 2, 2): 5, ("a", 3): 7, ("b",): 8},
    "strings": {("b",): 2, ("c",): 5, ("d",): 6, ("f",): 9, ("g",): 10, ("h",): 11, ("l",): 15},
    "Windows": {("b", "c"): 3, ("b", "d"): 4, ("b", "e"): 6},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_and_it_is_the_right_one(name: str) -> None:
    lines = key_lines(LAYOUTS[name])
    assert {path: lines.get(path) for path in EXPECTED[name]} == EXPECTED[name]


# Documents whose every value is the line that it is on, laid out in any way.

keys = st.text(min_size=1, max_size=3).filter(lambda text: text.isprintable())
blanks = st.sampled_from(["", " ", "\t"])
breaks = st.sampled_from(["\n", "\r\n", "\n\n", "\n# [x]\n", " # a = '''\n", "\n\t \n"])
noise = st.sampled_from(["'''\n[[n]]\n'''", '"""\\\n a = "1" ]\n"""', "'[[n]]'", '"\\"#"'])


@st.composite
def documents(draw: st.DrawFn) -> str:
    text = ""

    def quoted(key: str) -> str:
        if re.fullmatch(r"[A-Za-z0-9_-]+", key) and draw(st.booleans()):
            return key
        return json.dumps(key, ensure_ascii=False)

    def line() -> int:
        return text.count("\n") + 1

    def put(more: str) -> None:
        nonlocal text
        text += more

    def array(depth: int) -> None:
        put("[")
        for _ in range(draw(st.integers(0, 3))):
            put(draw(blanks | breaks))
            value(depth + 1)
            put(draw(blanks | breaks) + ",")
        put(draw(blanks | breaks) + "]")

    def inline(depth: int) -> None:
        put("{")
        for at, key in enumerate(draw(st.lists(keys, max_size=3, unique=True))):
            put((", " if at else " ") + quoted(key) + draw(blanks) + "=" + draw(blanks))
            value(depth + 1)
        put(draw(blanks) + "}")

    def value(depth: int) -> None:
        kind = draw(st.integers(0, 6 if depth < 3 else 2))
        if kind < 2:
            put(str(line()))
        elif kind == 2:
            put(draw(noise))
        else:
            (array if kind < 5 else inline)(depth)

    def pairs() -> None:
        for key in draw(st.lists(keys, max_size=3, unique=True)):
            put(draw(blanks) + quoted(key) + draw(blanks) + "=" + draw(blanks))
            value(0)
            put(draw(blanks) + draw(breaks))

    pairs()
    # Names of one letter more, which none of the keys above has.
    for name in draw(st.lists(st.sampled_from(["nnnn", "mmmm"]), max_size=4)):
        put(f"[[{draw(blanks)}{name}{draw(blanks)}]]" + draw(breaks))
        pairs()
        for under in draw(st.lists(st.sampled_from(["tttt", "uuuu"]), max_size=2, unique=True)):
            put(f"[{name}.{quoted(under)}]" + draw(breaks))
            pairs()
    return text


def leaves(value: object, path: Path = ()) -> dict[Path, Any]:
    if isinstance(value, dict):
        return {
            at: v for key, inner in value.items() for at, v in leaves(inner, (*path, key)).items()
        }
    if isinstance(value, list):
        return {
            at: v
            for index, inner in enumerate(value)
            for at, v in leaves(inner, (*path, index)).items()
        }
    return {path: value}


@given(documents())
def test_in_any_layout_each_key_has_its_line(text: str) -> None:
    read = tomllib.loads(text)
    lines = key_lines(text)
    assert set(lines) == paths(read)
    for path, value in leaves(read).items():
        if isinstance(value, int):
            assert lines[path] == value


@given(st.text(alphabet="ab=[]{}\"'.,#\n\\ 1", max_size=60))
def test_what_is_no_toml_is_no_error_here(text: str) -> None:
    key_lines(text)


def test_large_files_take_no_time() -> None:
    text = '[[nodes]]\nfabric_addr = "10.0.0.1:9999"\nmem = "1 GiB"\n' * 20_000
    assert key_lines(text)["nodes", 19_999, "mem"] == 60_000
