"""All that a link knows, for tests that something changes none of it."""

from __future__ import annotations

import copy
from typing import Any

from constellation.wire.link import Link
from constellation.wire.stream import Inbound, Outbound


def snapshot(link: Link) -> dict[str, Any]:
    """Everything that a link and its streams know, but for the time."""
    known = _fields(link)
    del known["_now"]
    return known


def _fields(thing: object) -> dict[str, Any]:
    names = getattr(thing, "__slots__", None) or vars(thing)
    return {name: _copied(getattr(thing, name)) for name in names if name != "_link"}


def _copied(value: Any) -> Any:
    match value:
        case Inbound() | Outbound():
            return _fields(value)
        case dict():
            return [(_copied(key), _copied(each)) for key, each in value.items()]
        case list() | tuple() | set():
            return [_copied(each) for each in value]
    return copy.copy(value)
