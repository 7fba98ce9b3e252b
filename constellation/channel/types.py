"""The types that the two ends of a channel name, as text that both ends can compare."""

from __future__ import annotations

import types
import typing
from functools import lru_cache
from typing import Any

__all__ = ["Typed", "matches", "type_name"]

_UNIONS = (typing.Union, types.UnionType)


class Typed:
    """`Sender[int]`: makes handles that say what they carry."""

    __slots__ = ("_handle", "_type")

    def __init__(self, handle: type, item: Any) -> None:
        self._handle = handle
        self._type = type_name(item)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the handle."""
        return self._handle(*args, _type=self._type, **kwargs)

    def __repr__(self) -> str:
        return f"{self._handle.__name__}[{self._type or 'Any'}]"


def type_name(item: Any) -> str:
    """A type by its qualified name; "" for what says nothing (`Any`, a type variable).

    The same type gives the same text however it is written: `Optional[str]` is `str | None`, and
    `typing.List[int]` is `list[int]`. A type that is given as text stays that text.
    """
    try:
        return _cached(item)
    except TypeError:  # not hashable
        return _name(item)


@lru_cache(maxsize=1024, typed=True)
def _cached(item: Any) -> str:
    return _name(item)


def _name(item: Any) -> str:
    # Most are these two, of which nothing has to be asked.
    if type(item) is type and item is not type(None):
        return _qualified(item)
    if type(item) is types.GenericAlias:
        return _generic(item.__origin__, item.__args__)
    if item is Any or item == "Any" or isinstance(item, typing.TypeVar):
        return ""
    if item is None or item is type(None):
        return "None"
    if item is Ellipsis or isinstance(item, typing.ParamSpec):
        return "..."
    if isinstance(item, str):
        return item
    if isinstance(item, typing.ForwardRef):
        return _name(item.__forward_arg__)
    if type(item).__name__ == "TypeAliasType":  # `type Job = ...`, since Python 3.12
        return _name(item.__value__)
    if isinstance(item, (list, tuple)):
        return f"[{', '.join(_name(each) or 'Any' for each in item)}]"
    origin = typing.get_origin(item)
    if origin is not None and not hasattr(item, "__args__"):
        item = origin  # `typing.List`, with nothing in brackets
    elif origin is not None:
        return _generic(origin, typing.get_args(item))
    return _qualified(item)


def _qualified(item: Any) -> str:
    name = getattr(item, "__qualname__", None) or getattr(item, "__name__", None) or repr(item)
    module = getattr(item, "__module__", "builtins")
    return name if module == "builtins" else f"{module}.{name}"


def _generic(origin: Any, arguments: tuple[Any, ...]) -> str:
    if origin is typing.Annotated:
        return _name(arguments[0])
    if origin in _UNIONS:
        names = {_name(each) for each in arguments}
        # A union with anything is anything. None comes last, as people write it.
        return "" if "" in names else " | ".join(sorted(names, key=lambda n: (n == "None", n)))
    if origin is typing.Literal:
        # Those in another order are equal, and may have been cached first.
        return f"Literal[{', '.join(sorted(map(repr, arguments)))}]"
    if arguments == ((),):
        arguments = ()  # `Tuple[()]` in Python 3.10
    inner = ", ".join(_name(each) or "Any" for each in arguments)
    return f"{_name(origin)}[{inner}]"


def matches(sent: str, expected: str) -> bool:
    """Whether a Receiver may take what a Sender sends.

    An end that names no type takes any, and `Any` within a type stands for any: `list[Any]` takes
    `list[int]`.
    """
    if sent == expected or not sent or not expected:
        return True
    return ("Any" in sent or "Any" in expected) and _fits(sent, expected)


@lru_cache(maxsize=1024)
def _fits(one: str, other: str) -> bool:
    if one == other or one == "Any" or other == "Any":
        return True
    for separator in (" | ", ", "):
        ones, others = _split(one, separator), _split(other, separator)
        if len(ones) > 1 or len(others) > 1:
            return len(ones) == len(others) and all(map(_fits, ones, others))
    outer, bracket, inner = one.partition("[")
    outer_of_other, bracket_of_other, inner_of_other = other.partition("[")
    if not bracket or not bracket_of_other or outer != outer_of_other:
        return False
    return _fits(inner.removesuffix("]"), inner_of_other.removesuffix("]"))


def _split(text: str, separator: str) -> list[str]:
    """Splits text where the separator is not within brackets."""
    found = [""]
    for part in text.split(separator):
        if found[-1].count("[") > found[-1].count("]"):
            found[-1] += separator + part
        elif found == [""]:
            found = [part]
        else:
            found.append(part)
    return found
