"""Functions by value: what travels of a function that the receiver does not have.

Its code travels with the values of its free variables, its defaults and attributes. Its module
does not: the function is built over the receiver's own module of that name, so locks, caches and
data that are globals there stay where they are. Of the globals that the code names, those are sent
that were bound or rebound since the program image was made (`ImageRecord.changed`).

Where those go depends on what is being pickled. A spawned function has its process to itself, and
they are set in its module before it runs. A function sent over a channel must not rebind names
under the feet of the process that receives it: it gets a copy of the module's globals with the new
ones in it.

Functions that share a variable (two closures over one cell) share it after the journey too, if they
travel in one value.
"""

from __future__ import annotations

import builtins
import dis
import importlib
import marshal
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, Protocol

_GLOBAL_OPERATIONS = frozenset(
    # In the body of a class within a function a global is read by the last two.
    ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
)
_ATTRIBUTES = (
    "__name__",
    "__qualname__",
    "__module__",
    "__doc__",
    "__defaults__",
    "__kwdefaults__",
    "__type_params__",
)
_MODULE_NAMES = ("__name__", "__package__", "__path__", "__file__")


class ImageRecord(Protocol):
    """What pickling asks of the program image; `constellation.process.image.Image` is one."""

    @property
    def names(self) -> Mapping[int, str]:
        """The names of what `__main__` held when the image was made, by `id`."""

    def plain(self, name: str) -> bool:
        """Whether the name, as plain pickle writes it, means the recorded object here."""

    def rebound(self) -> bool:
        """Whether a name that plain pickle may write means something else here."""

    def recorded(self, name: str) -> object:
        """The object recorded under a name."""

    def found(self, obj: object) -> bool:
        """Whether an object is found under its own name in an importable module."""

    def importable(self, name: str) -> bool:
        """Whether every process has, or can import, the module loaded under a name."""

    def module_of(self, namespace: dict[str, object]) -> str | None:
        """The importable module whose globals a dictionary is."""

    def changed(self, module: str, names: Iterable[str]) -> dict[str, object]:
        """The globals of a module, among the names, that were bound since the image was made."""


class Namespace:
    """Stands in a pickle for the globals that functions are built over.

    Pickle keeps one identity for it, so functions that shared their globals share them again.
    """

    __slots__ = ("_pinned", "_reduced")

    def __init__(self, pinned: dict[str, object], module: str | None, *, private: bool) -> None:
        # Held so that no other dictionary gets its id, under which this object is kept.
        self._pinned = pinned
        self._reduced: tuple[Any, ...]
        if module is None:
            seed = {name: pinned[name] for name in _MODULE_NAMES if name in pinned}
            self._reduced = new_namespace, (seed,)
        else:
            self._reduced = private_namespace if private else namespace_of, (module,)

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


class FunctionReducer:
    """Reduces functions, cells and code for one pickler.

    Args:
        image: The program image.
        spawning: Whether what is pickled will have the receiving process to itself.
    """

    def __init__(self, image: ImageRecord, *, spawning: bool) -> None:
        self._image = image
        self._spawning = spawning
        self._namespaces: dict[tuple[int, bool], Namespace] = {}

    def function(self, function: FunctionType) -> tuple[Any, ...]:
        """The reduction of a function by value."""
        named, new = self.globals_of(function)
        contents = captured(function).values()
        state: dict[str, object] = {
            name: getattr(function, name) for name in _ATTRIBUTES if hasattr(function, name)
        }
        state["__annotations__"] = _annotations(function)
        return (
            make_function,
            (function.__code__, self._namespace(function, bool(new)), function.__closure__),
            (state, vars(function), new, _submodules(function, (*named.values(), *contents))),
            None,
            None,
            restore_function,
        )

    def forget(self) -> None:
        """Lets go of the globals of the functions reduced so far, which are kept alive by this."""
        if self._namespaces:
            self._namespaces.clear()

    def globals_of(self, function: FunctionType) -> tuple[dict[str, object], dict[str, object]]:
        """The globals that a function names: all, and those of them that travel with it."""
        namespace = function.__globals__
        names = global_names(function.__code__)
        named = {name: namespace[name] for name in names if name in namespace}
        module = self._image.module_of(namespace)
        return named, named if module is None else self._image.changed(module, names)

    def _namespace(self, function: FunctionType, changed: bool) -> Namespace:
        namespace = function.__globals__
        private = changed and not self._spawning
        key = id(namespace), private
        found = self._namespaces.get(key)
        if found is None:
            module = self._image.module_of(namespace)
            found = self._namespaces[key] = Namespace(namespace, module, private=private)
        return found


def captured(function: FunctionType) -> dict[str, object]:
    """The free variables of a function that have a value, by name."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: value for name, cell in cells for value in _contents(cell)}


def _contents(cell: CellType) -> tuple[object, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()  # not bound yet, or deleted


def reduce_cell(cell: CellType) -> tuple[Any, ...]:
    """The reduction of a cell.

    It is made empty and filled later: a recursive function is in its own cell.
    """
    contents = _contents(cell)
    return make_cell, (), contents or None, None, None, fill_cell


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """The reduction of a code object. The file's name stays, so that tracebacks show lines."""
    return marshal.loads, (marshal.dumps(code),)


def reduce_cached(function: Any) -> tuple[Any, ...]:
    """The reduction of a function under `functools.cache` or `lru_cache`. The cache stays here."""
    options = function.cache_parameters()
    return make_cached, (function.__wrapped__, options["maxsize"], options["typed"])


# -- on the other side


def make_function(
    code: CodeType, namespace: dict[str, object], closure: tuple[CellType, ...] | None
) -> FunctionType:
    """Builds a function; `restore_function` completes it."""
    return FunctionType(code, namespace, None, None, closure)


def restore_function(
    function: FunctionType,
    state: tuple[dict[str, object], dict[str, object], dict[str, object], list[ModuleType]],
) -> None:
    """Gives a function its attributes, and sets the globals that travelled with it.

    The modules in the state need only have been unpickled: they are imported now.
    """
    attributes, own, new, _ = state
    function.__globals__.update(new)
    for name, value in attributes.items():
        setattr(function, name, value)
    vars(function).update(own)


def make_cell() -> CellType:
    """An empty cell."""
    return CellType()


def fill_cell(cell: CellType, state: tuple[object]) -> None:
    """Gives a cell its contents."""
    (cell.cell_contents,) = state


def make_cached(function: Any, maxsize: int | None, typed: bool) -> Any:
    """Puts a function under a new cache."""
    return lru_cache(maxsize, typed)(function)


def namespace_of(module: str) -> dict[str, object]:
    """The globals of a module of this process."""
    return vars(importlib.import_module(module))


def private_namespace(module: str) -> dict[str, object]:
    """A copy of the globals of a module of this process."""
    return dict(namespace_of(module))


def new_namespace(seed: dict[str, object]) -> dict[str, object]:
    """Globals for functions whose module exists nowhere else."""
    return {"__builtins__": builtins, **seed}


# -- what code refers to


@lru_cache(maxsize=4096)
def global_names(code: CodeType) -> tuple[str, ...]:
    """The globals that code names, in itself and in the functions and classes within it."""
    names = dict.fromkeys(
        str(operation.argval)
        for part in _codes(code)
        for operation in dis.get_instructions(part)
        if operation.opname in _GLOBAL_OPERATIONS
    )
    return tuple(names)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _submodules(function: FunctionType, values: Iterable[object]) -> list[ModuleType]:
    """The loaded submodules that a function reaches as attributes of packages it refers to.

    `import concurrent.futures` binds only `concurrent`, and that name alone would not import the
    rest.
    """
    packages = [v for v in values if isinstance(v, ModuleType) and hasattr(v, "__path__")]
    if not packages:
        return []
    mentioned = {name for part in _codes(function.__code__) for name in part.co_names}
    return [
        module
        for package in packages
        for name, module in list(sys.modules.items())
        if name.startswith(package.__name__ + ".")
        and mentioned.issuperset(name[len(package.__name__) + 1 :].split("."))
        and isinstance(module, ModuleType)
    ]


def _annotations(function: FunctionType) -> dict[str, object]:
    try:
        return function.__annotations__
    except Exception:  # noqa: BLE001 - since Python 3.14 they are code of the user's
        # They may name what exists for type checkers only. That is no reason not to run.
        return {}
