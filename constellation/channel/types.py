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
    `typing.List[int]` is `list[int]`.
    """
    try:
        return _cached(item)
    except TypeError:  # not hashable
        return _name(item)


@lru_cache(maxsize=1024, typed=True)
def _cached(item: Any) -> str:
    return _name(item)


def _name(item: Any) -> str:
    if item is Any or isinstance(item, typing.TypeVar):
        return ""
    if item is None or item is type(None):
        return "None"
    if item is Ellipsis:
        return "..."
    if isinstance(item, str):
        return item
    if isinstance(item, typing.ForwardRef):
        return item.__forward_arg__
    if isinstance(item, (list, tuple)):
        return f"[{', '.join(_name(each) or 'Any' for each in item)}]"
    origin = typing.get_origin(item)
    if origin is not None:
        return _generic(origin, typing.get_args(item))
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
        return f"Literal[{', '.join(map(repr, arguments))}]"
    inner = ", ".join(_name(each) or "Any" for each in arguments)
    return f"{_name(origin)}[{inner}]"


def matches(sent: str, expected: str) -> bool:
    """Whether a Receiver may take what a Sender sends. An end that names no type takes any."""
    return sent == expected or not sent or not expected
