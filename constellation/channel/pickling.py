"""Pickling within a program: by reference what its image holds, by value the rest.

`ImagePickler` is the one pickler for values and for what is spawned. docs/pickling.md says for
users what travels how. Two parts of it are cloudpickle's: classes by value with their identity, and
the reductions of what plain pickle does not know (properties, memoryviews, loggers, ...).

References to `__main__` are resolved by the image of the process that reads them, so a name that
was rebound after `init()`, there or here, still means what it meant at `init()`.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable
from functools import _lru_cache_wrapper, cached_property
from io import TextIOWrapper
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, NoReturn, Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from cloudpickle import cloudpickle

from constellation.channel.byvalue import (
    FunctionReducer,
    ImageRecord,
    reduce_cached,
    reduce_cell,
    reduce_code,
)
from constellation.channel.classes import reduce_class

PROTOCOL = 5

Buffer = bytes | bytearray | memoryview

# What a pickle contains that names objects of `__main__`: only for those does the image matter.
_MAIN = b"__main__"
_RECORDED = b"recorded__main__"
UNDERSCORE = ord("_")
"""A byte without which there is none of these."""


class Output(Protocol):
    """Where a pickler writes."""

    def write(self, data: Buffer, /) -> object:
        """Takes some bytes of the pickle; large `bytes` come as they are."""


class ImagePickler(cloudpickle.CloudPickler):  # type: ignore[misc]
    """Pickles values for other processes of the program.

    Usable for many values; `clear_memo` goes between them. It is `touched` by what is of no
    built-in type.

    Args:
        output: Where the pickles go.
        image: The program image; without one cloudpickle decides everything.
        buffer_callback: As for `pickle.Pickler`.
        spawning: Whether what is pickled will have the receiving process to itself; see
            `constellation.channel.byvalue`.
    """

    # cloudpickle's wrapper doubles the time for a small value; it only rewords RecursionError.
    dump = pickle.Pickler.dump

    def __init__(
        self,
        output: Output,
        image: ImageRecord | None,
        *,
        buffer_callback: Callable[[pickle.PickleBuffer], object] | None = None,
        spawning: bool = False,
    ) -> None:
        super().__init__(output, protocol=PROTOCOL, buffer_callback=buffer_callback)
        self._image = image
        self._functions = None if image is None else FunctionReducer(image, spawning=spawning)
        self.touched = False

    def forget(self) -> None:
        """Lets go of what only matters within one pickle. To be called when it was `touched`."""
        if self._functions is not None:
            self._functions.forget()
        if self.globals_ref:
            self.globals_ref.clear()
        self.touched = False

    def reducer_override(self, obj: Any) -> Any:
        """Says how an object is pickled; the built-in types never get here."""
        self.touched = True
        image, functions = self._image, self._functions
        if image is None or functions is None:
            return super().reducer_override(obj)
        name = image.names.get(id(obj))
        if name is not None:
            return NotImplemented if image.plain(name) else (recorded__main__, (name,))
        kind = type(obj)
        if kind is FunctionType:
            return NotImplemented if image.found(obj) else functions.function(obj)
        if issubclass(kind, type):
            return self._class(image, obj)
        if kind is CellType:
            return reduce_cell(obj)
        if kind is CodeType:
            return reduce_code(obj)
        if kind is _lru_cache_wrapper:
            return NotImplemented if image.found(obj) else reduce_cached(obj)
        if kind is ModuleType and not image.importable(obj.__name__):
            # Not one that another process could import, whatever `sys.modules` says here.
            contents = {k: v for k, v in vars(obj).items() if k not in _MODULE_MACHINERY}
            return cloudpickle.dynamic_subimport, (obj.__name__, contents)
        if isinstance(obj, TextIOWrapper) and obj not in (sys.stdin, sys.stdout, sys.stderr):
            # cloudpickle would read the file to its end, and send a copy.
            raise TypeError(f"cannot pickle '_io.{kind.__name__}' object")
        if isinstance(obj, BaseException) and self._is_plain_exception(kind):
            return make_exception, (kind, obj.args), vars(obj) or None
        if kind is WeakKeyDictionary or kind is WeakValueDictionary:
            return kind, (), None, None, iter(list(obj.items()))
        if kind is cached_property:
            # Before Python 3.12 it holds a lock.
            state = {k: v for k, v in vars(obj).items() if k not in ("func", "lock")}
            return cached_property, (obj.func,), state
        return NotImplemented

    def _is_plain_exception(self, kind: Any) -> bool:
        """Whether pickle would have an exception made again from what `super().__init__` got."""
        return (
            type(kind.__init__) is FunctionType
            and kind.__reduce__ is BaseException.__reduce__
            and kind.__reduce_ex__ is object.__reduce_ex__
            and kind not in self.dispatch_table
        )

    def _class(self, image: ImageRecord, cls: type) -> Any:
        reduced = super().reducer_override(cls)
        if reduced is NotImplemented and not image.importable(cls.__module__):
            reduced = cloudpickle._dynamic_class_reduce(cls)
        if reduced is NotImplemented or len(reduced) == 2:
            return reduced
        return reduce_class(cls, reduced)


_MODULE_MACHINERY = ("__builtins__", "__loader__", "__spec__")


class ImageUnpickler(pickle.Unpickler):
    """Unpickles values of other processes of the program, with names resolved by the image."""

    def __init__(
        self, file: Any, image: ImageRecord | None, *, buffers: Iterable[Buffer] | None = None
    ) -> None:
        super().__init__(file, buffers=buffers)
        self._image = image

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Finds what a name in a pickle means."""
        if self._image is not None:
            if module_name == "__main__":
                try:
                    return self._image.recorded(global_name)
                except KeyError:
                    pass  # not recorded, so by the name that it has now
            elif global_name == "recorded__main__" and module_name == __name__:
                return self._image.recorded
        return super().find_class(module_name, global_name)


def needs_image(pickles: bytes, image: ImageRecord | None) -> bool:
    """Whether plain `pickle.loads` might resolve a name in these pickles otherwise."""
    # Looking for one byte is many times faster than looking for more.
    if UNDERSCORE not in pickles or image is None or _MAIN not in pickles:
        return False
    return _RECORDED in pickles or image.rebound()


def recorded__main__(name: str) -> NoReturn:
    """Stands in pickles for the `recorded` of the reader's image; see `ImageUnpickler`.

    Its name has `__main__` in it so that whoever looks for that finds this too.

    Raises:
        pickle.UnpicklingError: Always: whoever calls this has no image.
    """
    raise pickle.UnpicklingError(f"{name} of __main__ can only be read within the program")


def make_exception(kind: type[BaseException], args: tuple[object, ...]) -> BaseException:
    """Makes an exception again, also one whose `__init__` takes something else than its `args`.

    Then `__init__` does not run; the attributes that it had set come with the rest of the state.
    """
    try:
        return kind(*args)
    except Exception:  # noqa: BLE001 - code of the user's; what matters is that the error arrives
        error = kind.__new__(kind, *args)
        error.args = args
        return error
