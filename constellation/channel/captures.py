"""Warns of a spawned function that takes more along than its author may know."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from constellation.channel.byvalue import FunctionReducer, ImageRecord, captured
from constellation.channel.culprit import call_name
from constellation.channel.pickling import ImagePickler
from constellation.units import Mem

__all__ = ["warn_if_large"]

_LIMIT = 1 << 20
"""Bytes of captured variables above which there is a warning."""

_NAMED = 3
"""How many of them it names: the largest."""

_HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


def warn_if_large(start: Callable[..., object], size: int, image: ImageRecord | None) -> None:
    """Warn if the variables that a function captures are large. Its arguments do not count.

    Args:
        start: What is spawned.
        size: The bytes of all that is sent for it.
        image: The program image.
    """
    if size <= _LIMIT:
        return
    variables = _variables(start, image)
    sizes = {name: _size(value, image) for name, value in variables.items()}
    total = sum(sizes.values())
    if total <= _LIMIT:
        return
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_NAMED]
    named = ", ".join(f"{name} ({Mem(sizes[name]).human})" for name in largest)
    warnings.warn(
        f"{call_name(_function(start))} captures {Mem(total).human} of variables, which every "
        f"spawn of it sends along: {named}",
        RuntimeWarning,
        stacklevel=_callers_level(),
    )


def _function(start: Callable[..., object]) -> Callable[..., object]:
    while True:
        if type(start) is partial:
            start = start.func
        elif type(start) is MethodType:
            start = start.__func__
        else:
            return start


def _variables(start: Callable[..., object], image: ImageRecord | None) -> dict[str, object]:
    """What goes along with a function because its code names it."""
    function = _function(start)
    if type(function) is not FunctionType:
        return {}
    if image is None:
        return captured(function)
    if id(function) in image.names or image.found(function):
        return {}
    _, changed = FunctionReducer(image, spawning=True).globals_of(function)
    return changed | captured(function)


class _Scale(ImagePickler):
    """Pickles to nowhere, and counts the bytes."""

    def __init__(self, image: ImageRecord | None) -> None:
        self.total = 0
        super().__init__(self, image, buffer_callback=self._weigh, spawning=True)

    def write(self, data: Any) -> None:
        """Takes bytes of the pickle."""
        self.total += len(data)

    def _weigh(self, buffer: pickle.PickleBuffer) -> bool:
        self.total += buffer.raw().nbytes
        return False


def _size(value: object, image: ImageRecord | None) -> int:
    scale = _Scale(image)
    try:
        scale.dump(value)
    except Exception:  # noqa: BLE001 - its reduction did work, but only once: no reason not to run
        return 0
    return scale.total


def _callers_level() -> int:
    """How far up the stack, seen from the caller, is the first line that is not the library's."""
    frame = sys._getframe(1)
    level = 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
        level += 1
    return level
