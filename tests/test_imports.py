"""The directions of imports: the table below is the architecture."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

VALUES = "values"
VALUE_MODULES = [
    "address",
    "awaited",
    "deadline",
    "errors",
    "exit_status",
    "machine",
    "pid",
    "plain",
    "resources",
    "settings",
    "uncaught",
    "units",
    "user_places",
    "version",
]

# What each part of the library may import, besides itself: exactly this. A part is a package or
# module right below `constellation`; the modules of values are one part.
ALLOWED: dict[str, set[str]] = {
    VALUES: set(),
    "security": {VALUES},
    "operation": {VALUES},
    "control": {VALUES},
    "session": {"transport", "wire", "control", VALUES},
    "wire": {VALUES},
    "program": {VALUES},
    "transport": {"wire", "control", "security", "operation", VALUES},
    "channel": {"transport", "wire", "operation", VALUES},
    "process": {"channel", "transport", "control", "security", "operation", VALUES},
    "bridge": {"process", "control", VALUES},
    "cli": {"bridge", "process", "program", "session", "transport", "control", "security", VALUES},
    "runtime": {"cli", "bridge", "process", "channel", "transport", "control", "operation", VALUES},
    "testing": {"transport", "wire", VALUES},
    "__init__": {"runtime", "process", "channel", "operation", VALUES},
    "__main__": {"cli"},
}

# What touches the world. The pure modules get events, bytes and the time as arguments.
WORLD = {
    "asyncio",
    "random",
    "select",
    "selectors",
    "signal",
    "socket",
    "subprocess",
    "threading",
    "time",
    "zmq",
}
PURE = [
    "constellation/wire",
    "constellation/bridge/events",
    "constellation/bridge/tree",
    "constellation/program/ignore",
    "constellation/program/manifest",
    "constellation/program/receiving",
    "constellation/program/sending",
    "constellation/program/sizes",
    "constellation/program/transfer",
    # All but the shell around them.
    *(
        str(path.relative_to(ROOT).with_suffix(""))
        for path in (ROOT / "daemons/constellation_daemons/master").glob("*.py")
        if path.stem not in ("service", "feed")
    ),
    "daemons/constellation_daemons/agent/limits",
    "daemons/constellation_daemons/agent/shares",
    "daemons/constellation_daemons/node/pressure",
]


def modules(directory: str) -> list[Path]:
    return sorted((ROOT / directory).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, wherever in it, also for types only."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=0) if module is not None:
                # `from constellation import channel` imports a module, not a name of one.
                for alias in names:
                    yield f"{module}.{alias.name}"
            case ast.ImportFrom():
                raise AssertionError(f"{path} has a relative import")


def part(name: str) -> str:
    """The part of the library that a module, or a name in one, belongs to."""
    first = name.split(".")[1] if "." in name else "__init__"
    if first in VALUE_MODULES:
        return VALUES
    here = ROOT / "constellation" / first
    if first in ALLOWED or here.is_dir() or here.with_suffix(".py").is_file():
        return first
    return "__init__"  # a public name


def module_name(path: Path) -> str:
    names = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


@pytest.mark.parametrize("path", modules("constellation"), ids=lambda path: module_name(path))
def test_the_library_imports_downwards(path: Path) -> None:
    own = part(module_name(path))
    assert own in ALLOWED, f"{path} is of a part that has no line in the table"
    wrong = {
        name
        for name in imports(path)
        if name.split(".")[0] == "constellation" and part(name) not in ALLOWED[own] | {own}
    }
    assert not wrong, f"{own} may import {sorted(ALLOWED[own])}"


@pytest.mark.parametrize("path", modules("constellation"), ids=lambda path: module_name(path))
def test_the_library_never_imports_the_services(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith("constellation_daemons")]


@pytest.mark.parametrize("pure", PURE)
def test_what_is_pure_does_not_touch_the_world(pure: str) -> None:
    paths = [*modules(pure), *ROOT.glob(pure + ".py")]
    assert paths
    for path in paths:
        assert not {name.split(".")[0] for name in imports(path)} & WORLD, path


@pytest.mark.parametrize(
    "path", [*modules("daemons"), *modules("constellation/control")], ids=lambda path: path.stem
)
def test_the_services_unpickle_nothing(path: Path) -> None:
    loads = {"pickle", "_pickle", "cloudpickle", "marshal", "shelve", "dill"}
    assert not {name.split(".")[0] for name in imports(path)} & loads
    assert not [name for name in imports(path) if name.startswith("constellation.channel")]


def test_the_table_has_no_cycle() -> None:
    left = {name: set(below) for name, below in ALLOWED.items()}
    while ready := [name for name, below in left.items() if not below]:
        for name in ready:
            del left[name]
        for below in left.values():
            below.difference_update(ready)
    assert not left


def test_the_services_and_the_library_name_only_what_they_declare() -> None:
    declared = {"click", "cloudpickle", "msgspec", "pathspec", "platformdirs", "psutil", "zmq"}
    declared |= {"rich", "tomli"}
    # Types only, or only where the program has imported it itself, or only where Python has it.
    declared |= {"typing_extensions", "numpy", "tomllib"}
    for path in [*modules("constellation"), *modules("daemons")]:
        for name in imports(path):
            first = name.split(".")[0]
            known = first in sys.stdlib_module_names or first in declared
            assert known or first in {"constellation", "constellation_daemons"}, f"{path}: {name}"
