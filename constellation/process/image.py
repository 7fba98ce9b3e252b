"""The program image: what every process of a program has without being sent it.

All processes of a program are forks of one process that had reached `init()` (or interpreters that
ran the same program up to it), so what existed there exists in each of them. `Image` is the record
of it, made at `init()`, and answers the one question that pickling asks: may this object travel as
a name?

===========================================  ================================================
a function, class or type variable that ...  travels
===========================================  ================================================
... `__main__` held when the record was      by reference, resolved by the receiver's own
made, under any name, at any depth of class  record: later rebindings change nothing
... is found under its own name in a module  by reference
that can be imported, whenever imported
... anything else: nested, rebound in        by value
`__main__` since, of a module that is
nowhere on the import path
===========================================  ================================================

A function that goes by value runs over the receiver's own module; of the globals that it names only
those are sent that were bound or rebound since the record was made (`Image.changed`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from functools import _lru_cache_wrapper, cached_property
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import NewType, ParamSpec, TypeVar

_DECLARATIONS = (
    type,
    FunctionType,
    BuiltinFunctionType,
    _lru_cache_wrapper,
    TypeVar,
    ParamSpec,
    NewType,
)
_MISSING = object()


class Image:
    """The record of the program made at `init()`.

    Make it with `Image.capture`. It is not changed after that, except for a cache of which modules
    can be imported; a fork inherits it.

    Attributes:
        argv: `sys.argv` as it was.
        environ: The environment as it was, names and values in the file system's encoding.
        path: `sys.path` as it was.
        cwd: The working directory as it was, None if it had been removed.
        directory: Device and inode of the working directory: they tell whether it is still the same
            one, also where it was removed or renamed.
        fresh: Whether processes are no forks of one that had made this record, but have made their
            own.
        root: Where the program is laid out on this node; None: it runs natively.
    """

    def __init__(self, main: ModuleType, *, fresh: bool = False, root: str | None = None) -> None:
        self.fresh = fresh
        self.root = root
        self.argv: list[str] = list(sys.argv)
        self.environ: dict[bytes, bytes] = dict(os.environb)
        self.path: list[str] = list(sys.path)
        self.cwd: str | None = working_directory()
        self.directory: tuple[int, int] | None = directory_identity()
        self._main = main
        self._modules: dict[str, ModuleType] = dict(sys.modules)
        self._globals: dict[str, dict[str, object]] = {
            name: dict(vars(module))
            for name, module in self._modules.items()
            if module is main or _is_program_module(name, module)
        }
        self._importable: dict[str, tuple[ModuleType, bool]] = {}
        # The objects are held by `_objects`, so no other object can get one of these ids.
        self._objects: dict[str, object] = {}
        self.names: dict[int, str] = {}
        for name, value in self._declarations():
            self._objects.setdefault(name, value)
            self.names.setdefault(id(value), name)
        # Names by which plain pickling finds the recorded object, as long as nobody rebinds them.
        self._plain: dict[str, object] = {
            name: value
            for name, value in self._objects.items()
            if "." not in name
            and getattr(value, "__qualname__", None) == name
            and getattr(value, "__module__", None) == main.__name__
        }

    @classmethod
    def capture(cls, *, fresh: bool = False, root: str | None = None) -> Image:
        """Records the program as it is now. Called once, by `init()`, before anything is forked."""
        return cls(sys.modules["__main__"], fresh=fresh, root=root)

    # -- by reference or by value

    def holds(self, obj: object) -> bool:
        """Whether a function or class travels by reference."""
        return id(obj) in self.names or self.found(obj)

    def found(self, obj: object) -> bool:
        """Whether a function or class is found under its own name in an importable module.

        `__main__` is not one: for what is in it, only the record counts.
        """
        name = getattr(obj, "__module__", None)
        if not isinstance(name, str) or name == self._main.__name__:
            return False
        module = sys.modules.get(name)
        if module is None or _attribute(module, getattr(obj, "__qualname__", "")) is not obj:
            return False
        return self.importable(name)

    def importable(self, name: str) -> bool:
        """Whether every process has, or can import, the module loaded under this name."""
        module = sys.modules.get(name)
        if module is None:
            return False
        if module is self._main or self._modules.get(name) is module:
            return True
        known = self._importable.get(name)
        if known is None or known[0] is not module:
            known = self._importable[name] = (module, self._can_be_found(name, module))
        return known[1]

    def plain(self, name: str) -> bool:
        """Whether `__main__` still binds this recorded name to the recorded object.

        Then the name alone, as plain pickle writes it, means the recorded object here.
        """
        value = self._plain.get(name, _MISSING)
        return value is not _MISSING and vars(self._main).get(name, _MISSING) is value

    def rebound(self) -> bool:
        """Whether any of the names that plain pickle may write is bound to something else here."""
        current = vars(self._main).get
        return any(current(name) is not value for name, value in self._plain.items())

    def recorded(self, name: str) -> object:
        """The object of `__main__` recorded under a name such as `Point` or `Job.State`.

        Raises:
            KeyError: The record holds none under this name.
        """
        return self._objects[name]

    # -- the globals of functions by value

    def module_of(self, namespace: dict[str, object]) -> str | None:
        """The name of the importable module whose globals this dictionary is, None if of none."""
        name = namespace.get("__name__")
        if not isinstance(name, str):
            return None
        module = sys.modules.get(name)
        if module is None or getattr(module, "__dict__", None) is not namespace:
            return None
        return name if self.importable(name) else None

    def changed(self, module: str, names: Iterable[str]) -> dict[str, object]:
        """Those of a module's globals, among the names, that were bound since the record was made.

        Modules of the standard library and of installed packages have no record: they are taken as
        every process imports them.
        """
        recorded = self._globals.get(module)
        if recorded is None:
            return {}
        current = vars(sys.modules[module])
        return {
            name: current[name]
            for name in names
            if name in current and recorded.get(name, _MISSING) is not current[name]
        }

    # -- making the record

    def _declarations(self) -> Iterator[tuple[str, object]]:
        """What of `__main__` may go by reference, with the names under which it is recorded."""
        own = [
            (name, value)
            for name, value in vars(self._main).items()
            if isinstance(value, _DECLARATIONS) and not self.found(value)
        ]
        # An object with two names is recorded under its own, which is the one plain pickle writes.
        own.sort(key=lambda item: getattr(item[1], "__qualname__", None) != item[0])
        for name, value in own:
            yield name, value
            if isinstance(value, type):
                yield from self._members(name, value, {id(value)})

    def _members(self, name: str, owner: type, above: set[int]) -> Iterator[tuple[str, object]]:
        for key, member in list(vars(owner).items()):
            path = f"{name}.{key}"
            match member:
                case staticmethod() | classmethod():
                    yield path, member.__func__
                case property():
                    for part in ("fget", "fset", "fdel"):
                        function = getattr(member, part)
                        if function is not None:
                            yield f"{path}.{part}", function
                case cached_property():
                    yield f"{path}.func", member.func
                case type():
                    if id(member) not in above and not self.found(member):
                        yield path, member
                        yield from self._members(path, member, above | {id(member)})
                case FunctionType() | _lru_cache_wrapper():
                    if not self.found(member):
                        yield path, member

    def _can_be_found(self, name: str, module: ModuleType) -> bool:
        """Whether an import of the name, elsewhere, would find what was loaded here."""
        loaded = getattr(module, "__spec__", None)
        if loaded is None:
            return False
        parent = name.rpartition(".")[0]
        path = None
        if parent:
            if not self.importable(parent):
                return False
            path = getattr(sys.modules[parent], "__path__", None)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path)
            if spec is not None:
                return bool(spec.origin == loaded.origin)
        return False


def working_directory() -> str | None:
    """The path of the working directory, None if it has been removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def directory_identity() -> tuple[int, int] | None:
    """Device and inode of the working directory, None if it cannot be read."""
    try:
        status = os.stat(".")
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _attribute(module: ModuleType, path: str) -> object:
    value: object = module
    for name in path.split("."):
        value = getattr(value, name, _MISSING)
        if value is _MISSING:
            break
    return value


def _is_program_module(name: str, module: object) -> bool:
    """Whether a module belongs to the program, not to the interpreter or an installed package.

    `sys.modules` may hold other things than modules.
    """
    file = getattr(module, "__file__", None)
    if not isinstance(module, ModuleType) or not isinstance(file, str):
        return False
    if name.partition(".")[0] == __name__.partition(".")[0]:
        return False
    if any(part in ("site-packages", "dist-packages") for part in file.split(os.sep)):
        return False
    return not file.startswith(os.path.dirname(os.__file__) + os.sep)
