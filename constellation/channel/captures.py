"""Warns of a spawned function that takes more along than its author may know.

What a function takes along are its captured variables, the globals that it names and that are new
since `init()`, its defaults and its attributes. A function among these takes its own along, and so
on: `helper -> table` is the variable `table` of the captured function `helper`.
"""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import _lru_cache_wrapper, partial
from types import FunctionType, MethodType
from typing import Any, TypeAlias

from constellation.channel.byvalue import FunctionReducer, ImageRecord, captured
from constellation.channel.culprit import call_name
from constellation.channel.pickling import ImagePickler
from constellation.units import Mem

__all__ = ["warn_if_large"]

_LIMIT = 1 << 20
"""Bytes of what a function takes along above which there is a warning."""

_NAMED = 3
"""How many of them it names: the largest."""

_HERE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


def warn_if_large(start: Callable[..., object], size: int, image: ImageRecord | None) -> None:
    """Warn if what a function takes along is large. Its arguments do not count.

    Args:
        start: What is spawned.
        size: The bytes of all that is sent for it.
        image: The program image; without one it is not known what every process has.
    """
    if size <= _LIMIT or image is None:
        return
    function = _function(start)
    sizes = [(_size(value, image), path) for path, value in _captured_data(function, image)]
    total = sum(size for size, _ in sizes)
    if total <= _LIMIT:
        return
    sizes.sort(key=lambda each: -each[0])
    named = ", ".join(f"{path} ({Mem(size).human})" for size, path in sizes[:_NAMED])
    warnings.warn(
        f"{call_name(function)} captures {Mem(total).human}, which every spawn of it sends along: "
        f"{named}",
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


_Step: TypeAlias = "tuple[str, object]"
"""What something is called where it is held, and what it is. Without a name it stands for that."""


def _captured_data(start: Callable[..., object], image: ImageRecord) -> Iterator[_Step]:
    """What goes along with a function and is no function: each once, by its shortest path."""
    opened = _opened(start, image)
    if opened is None:
        return  # something else that can be called, which is given as arguments are
    seen = {id(start)}
    waiting = deque(opened)
    while waiting:
        path, value = waiting.popleft()
        if id(value) in seen:
            continue  # it travels once; a function may be in its own closure
        seen.add(id(value))
        inner = _opened(value, image)
        if inner is None:
            yield path, value
        else:
            waiting += [(f"{path} -> {name}" if name else path, each) for name, each in inner]


def _opened(value: object, image: ImageRecord) -> Iterable[_Step] | None:
    """What goes along with a function because of what it is made of; None: it is not a function."""
    if isinstance(value, _lru_cache_wrapper | FunctionType) and (
        id(value) in image.names or image.found(value)
    ):
        return ()  # every process has it
    if isinstance(value, _lru_cache_wrapper):
        return [("", value.__wrapped__)]
    if type(value) is partial:
        given = [(f"argument {index}", each) for index, each in enumerate(value.args)]
        named = [(f"argument {name!r}", each) for name, each in value.keywords.items()]
        return [("", value.func), *given, *named]
    if type(value) is FunctionType:
        return _parts(value, image)
    return None


def _parts(function: FunctionType, image: ImageRecord) -> list[_Step]:
    """What a function that travels by value takes along."""
    _, changed = FunctionReducer(image, spawning=True).globals_of(function)
    defaults = function.__defaults__ or ()
    code = function.__code__
    last = code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount]
    defaulted = {**dict(zip(last, defaults, strict=True)), **(function.__kwdefaults__ or {})}
    return [
        *(changed | captured(function)).items(),
        *((f"default of argument {name!r}", each) for name, each in defaulted.items()),
        *((f"attribute {name!r}", each) for name, each in vars(function).items()),
    ]


class _Scale(ImagePickler):
    """Pickles to nowhere, and counts the bytes."""

    def __init__(self, image: ImageRecord) -> None:
        self.total = 0
        super().__init__(self, image, buffer_callback=self._weigh, spawning=True)

    def write(self, data: Any) -> None:
        """Takes bytes of the pickle."""
        self.total += len(data)

    def _weigh(self, buffer: pickle.PickleBuffer) -> bool:
        self.total += buffer.raw().nbytes
        return False


def _size(value: object, image: ImageRecord) -> int:
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
