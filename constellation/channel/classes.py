"""Classes by value: cloudpickle's reductions, and what these leave out.

A class is made empty and filled later, since what is in it may refer to it. cloudpickle gives each
a number, so that one that has come before, or comes back, is found. Such a one stays as it is: this
process may have changed it, and its methods are bound to its globals. Nor is it made a second time,
which the `__init_subclass__` of its base would hear of.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from enum import Enum
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any
from weakref import WeakSet

from cloudpickle import cloudpickle

__all__ = ["make_class", "reduce_class", "restore_class"]

Attributes = dict[str, object]

_complete: WeakSet[type] = WeakSet()
"""The classes that this process has whole: those that it made, and those that have come."""

# What every member of an enumeration has.
_OF_MEMBERS = ("_value_", "_name_", "__objclass__", "_sort_order_", "_inverted_")


def reduce_class(cls: type, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    """The reduction of a class by value, from cloudpickle's."""
    make, arguments, (contents, _), *_ = reduced
    members: dict[str, Attributes] = {}
    if issubclass(cls, Enum):
        arguments, contents = _with_aliases(cls, arguments, contents)
        members = _members(cls)
    elif typing.is_typeddict(cls):
        arguments = _as_typed_dict(cls, arguments)
    elif _takes_slots(cls):
        arguments, contents = _with_slots(cls, arguments, contents)
    _complete.add(cls)
    state = contents, cls.__qualname__, members
    return make_class, (make, *arguments), state, None, None, restore_class


def _with_aliases(
    cls: type[Enum], arguments: tuple[Any, ...], contents: Attributes
) -> tuple[tuple[Any, ...], Attributes]:
    """What cloudpickle makes an enumeration of, with the names that are not its members' first."""
    bases, name, qualname, _, *rest = arguments
    values = {name: member.value for name, member in cls.__members__.items()}
    contents = {name: value for name, value in contents.items() if name not in values}
    return (bases, name, qualname, values, *rest), contents


def _members(cls: type[Enum]) -> dict[str, Attributes]:
    """What an `__init__` or `__new__` gave the members, which are made without these there."""
    own = {
        name: {key: value for key, value in vars(member).items() if key not in _OF_MEMBERS}
        for name, member in cls.__members__.items()
    }
    return {name: attributes for name, attributes in own.items() if attributes}


def _as_typed_dict(cls: type, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    kind, name, bases, *rest = arguments
    if "__orig_bases__" not in vars(cls):  # before Python 3.12
        bases = (typing.TypedDict,)
    return kind, name, bases, *rest


def _takes_slots(cls: type) -> bool:
    if "__slots__" not in vars(cls):
        return False
    if typing.NamedTuple in vars(cls).get("__orig_bases__", ()):
        return False  # makes them itself
    # Metaclasses of native libraries, such as msgspec's, may do so too.
    make = type(cls).__new__
    return make is type.__new__ or type(make) is FunctionType


def _with_slots(
    cls: type, arguments: tuple[Any, ...], contents: Attributes
) -> tuple[tuple[Any, ...], Attributes]:
    """What cloudpickle makes a class of, with its slots, which it leaves out.

    An instance that came to a class without them could not go back: its values are those of a
    `__dict__`, which a class with slots may not have. They are taken from what they have become,
    since `__slots__` itself may be an iterator that is used up, and its names may be mangled.
    """
    *most, namespace, identity, extra = arguments
    slots = [
        name
        for name, value in vars(cls).items()
        if isinstance(value, MemberDescriptorType | GetSetDescriptorType)
        # In a copy of another class, as a decorator makes it, there may be some of that.
        and value.__objclass__ is cls
    ]
    contents = {name: value for name, value in contents.items() if name not in slots}
    return (*most, {**namespace, "__slots__": tuple(slots)}, identity, extra), contents


# -- on the other side


def make_class(make: Callable[..., type], *arguments: Any) -> type:
    """Makes a class that is still empty, or finds it; `restore_class` completes it."""
    identity = arguments[-2]
    known: type | None = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(identity)
    return make(*arguments) if known is None else known


def restore_class(cls: type, state: tuple[Attributes, str, dict[str, Attributes]]) -> type:
    """Completes a class by value, unless this process has it already."""
    if cls in _complete:
        return cls
    contents, qualname, members = state
    cloudpickle._class_setstate(cls, (contents, {}))
    cls.__qualname__ = qualname
    for name, attributes in members.items():
        for key, value in attributes.items():
            setattr(cls[name], key, value)  # type: ignore[index]
    _complete.add(cls)
    return cls
