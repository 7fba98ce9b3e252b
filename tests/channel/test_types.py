# The same types in all the ways in which they can be written.
# ruff: noqa: F821, PYI016, RUF036, UP006, UP007, UP045
from __future__ import annotations

import collections.abc
import sys
import typing
from typing import Annotated, Any, Literal, NewType, Optional, ParamSpec, TypeVar, Union

import pytest

from constellation.channel.types import Typed, matches, type_name

T = TypeVar("T")
P = ParamSpec("P")
Metres = NewType("Metres", float)


class Outer:
    class Inner:
        pass


@pytest.mark.parametrize(
    ("item", "name"),
    [
        (int, "int"),
        (Outer.Inner, f"{__name__}.Outer.Inner"),
        (Metres, f"{__name__}.Metres"),
        (None, "None"),
        (type(None), "None"),
        ("Job", "Job"),
        (list[int], "list[int]"),
        (dict[str, list[int]], "dict[str, list[int]]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (tuple[()], "tuple[]"),
        (list[Any], "list[Any]"),
        (list[T], "list[Any]"),
        (collections.abc.Callable[[int, str], None], "collections.abc.Callable[[int, str], None]"),
        (typing.Callable[P, int], "collections.abc.Callable[..., int]"),
        (Annotated[int, "metres"], "int"),
        (Literal["a", 1], "Literal['a', 1]"),
        (list["Job"], "list[Job]"),
    ],
)
def test_a_type_has_its_qualified_name(item: Any, name: str) -> None:
    assert type_name(item) == name


@pytest.mark.parametrize("item", [Any, T, Union[int, Any], Optional[T], "Any"])
def test_what_says_nothing_has_no_name(item: Any) -> None:
    assert type_name(item) == ""


@pytest.mark.parametrize(
    "same",
    [
        [Optional[str], Union[None, str], str | None, None | str, Optional[Optional[str]]],
        [Union[int, str, None], Union[str, None, int], None | str | int, Union[int, str | None]],
        [typing.List[int], list[int]],
        [typing.List, list],
        [typing.Dict[str, typing.List[int]], dict[str, list[int]]],
        [typing.Tuple[()], tuple[()]],
        [list[Optional[int]], list[None | int]],
        [Literal["a", 1], Literal[1, "a"]],
        [typing.Iterable[int], collections.abc.Iterable[int]],
    ],
)
def test_a_type_has_one_name_however_it_is_written(same: list[Any]) -> None:
    assert len({type_name(item) for item in same}) == 1


def test_a_name_does_not_depend_on_what_was_named_before() -> None:
    assert type_name(Literal["x", "y"]) == "Literal['x', 'y']"
    assert type_name(Literal["q", "p"]) == "Literal['p', 'q']"
    assert type_name(Literal[1]) != type_name(Literal[True])


def test_what_cannot_be_hashed_has_a_name() -> None:
    assert type_name(Annotated[int, []]) == "int"


if sys.version_info >= (3, 12):

    def test_an_alias_is_what_it_stands_for() -> None:
        namespace: dict[str, Any] = {}
        exec("type Maybe = int | None", namespace)
        assert type_name(namespace["Maybe"]) == "int | None"


@pytest.mark.parametrize(
    ("sent", "expected", "fits"),
    [
        (int, int, True),
        (int, str, False),
        (Any, str, True),
        (int, Any, True),
        (int, Optional[int], False),
        (list[Any], list[int], True),
        (list[int], list[Any], True),
        (list[Any], dict[Any, Any], False),
        (list[Any], list, False),
        (dict[str, Any], dict[str, list[int]], True),
        (dict[int, Any], dict[str, list[int]], False),
        (list[Any] | None, list[int] | None, True),
        (list[Any] | None, list[int], False),
        (tuple[Any, int], tuple[str, int], True),
        (tuple[Any, int], tuple[str], False),
        (dict[str, tuple[Any, list[int]]], dict[str, tuple[int, list[int]]], True),
        (dict[str, tuple[Any, list[int]]], dict[str, tuple[int, list[str]]], False),
        (collections.abc.Callable[[Any], int], collections.abc.Callable[[str], int], True),
    ],
)
def test_any_matches_anything(sent: Any, expected: Any, fits: bool) -> None:
    assert matches(type_name(sent), type_name(expected)) is fits
    assert matches(type_name(expected), type_name(sent)) is fits


def test_an_end_that_names_no_type_takes_any() -> None:
    assert matches("", "int")
    assert matches("int", "")
    assert matches("", "")
    assert not matches("Anybody", "Anything")


def test_a_handle_with_a_type_passes_it_on() -> None:
    made = []

    class Handle:
        def __init__(self, remote: int, *, name: str = "", _type: str = "") -> None:
            made.append((remote, name, _type))

    typed = Typed(Handle, Optional[str])
    typed(1, name="n")
    assert made == [(1, "n", "str | None")]
    assert repr(typed) == "Handle[str | None]"
    assert repr(Typed(Handle, Any)) == "Handle[Any]"
