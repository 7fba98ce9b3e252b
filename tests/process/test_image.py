from __future__ import annotations

import functools
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from constellation.process.image import Image, directory_identity, working_directory

SOURCE = """
import enum
import functools
import json
from typing import NewType, TypeVar

T = TypeVar("T")
Name = NewType("Name", str)
table = {"a": 1}


def function():
    return table


alias = function


@functools.lru_cache
def cached():
    return 1


class Outer:
    class Inner:
        def method(self):
            pass

    def method(self):
        pass

    @staticmethod
    def static():
        pass

    @classmethod
    def of_class(cls):
        pass

    @property
    def prop(self):
        return 1

    @functools.cached_property
    def once(self):
        return 1

    borrowed = json.dumps


Outer.itself = Outer


class Color(enum.Enum):
    RED = 1
"""


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A `__main__` that is not pytest's."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    exec(SOURCE, vars(module))
    return module


def test_what_main_declares_is_recorded_under_its_name(main: Any) -> None:
    image = Image.capture()
    # An Enum has other members in other versions of Python.
    assert {name for name in image.names.values() if not name.startswith("Color.")} == {
        "T",
        "Name",
        "function",
        "cached",
        "Outer",
        "Outer.method",
        "Outer.static",
        "Outer.of_class",
        "Outer.prop.fget",
        "Outer.once.func",
        "Outer.Inner",
        "Outer.Inner.method",
        "Color",
    }
    for name in ("T", "Name", "function", "cached", "Outer", "Color"):
        assert image.recorded(name) is getattr(main, name)
        assert image.holds(getattr(main, name))
    assert image.recorded("Outer.Inner") is main.Outer.Inner
    assert image.recorded("alias") is main.function, "both names mean it"
    assert image.names[id(main.function)] == "function"


def test_what_is_made_or_bound_later_is_not_in_the_record(main: Any) -> None:
    image = Image.capture()
    first = main.function
    exec("def function(): pass\ndef later(): pass", vars(main))
    assert image.holds(first)
    assert not image.holds(main.function)
    assert not image.holds(main.later)
    assert image.recorded("function") is first
    with pytest.raises(KeyError):
        image.recorded("later")


def test_a_name_alone_means_the_recorded_object_until_it_is_bound_anew(main: Any) -> None:
    image = Image.capture()
    assert image.plain("function")
    assert not image.plain("alias"), "plain pickle writes the function's own name"
    assert not image.plain("Outer.Inner")
    assert not image.rebound()
    first = main.function
    main.function = print
    assert not image.plain("function")
    assert image.rebound()
    main.function = first
    assert image.plain("function")
    assert not image.rebound()
    del main.function
    assert image.rebound()


def test_globals_that_changed_since(main: Any) -> None:
    image = Image.capture()
    names = ["table", "function", "new", "never"]
    assert image.changed("__main__", names) == {}
    main.table["b"] = 2  # in place: nothing was bound
    assert image.changed("__main__", names) == {}
    main.table = {"c": 3}
    main.new = 5
    assert image.changed("__main__", names) == {"table": {"c": 3}, "new": 5}
    assert image.changed("json", ["dumps"]) == {}, "an installed module has no record"


def test_what_is_found_in_an_importable_module_is_held(main: Any) -> None:
    image = Image.capture()
    assert image.holds(json.dumps)
    assert image.holds(functools.partial)
    assert image.found(json.JSONDecoder.decode)
    assert not image.found(main.function), "for __main__ only the record counts"
    assert not image.holds(lambda: None)

    def nested() -> None:
        pass

    assert not image.holds(nested)


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.usefixtures("main")
def test_a_module_loaded_later_counts_iff_it_can_be_found(
    reachable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.capture()
    package = tmp_path / "late_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text("def function(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    from late_package import part  # type: ignore[import-not-found]

    try:
        if not reachable:
            monkeypatch.undo()
            sys.path_importer_cache.pop(str(tmp_path), None)
            del sys.modules["late_package"]
        assert image.importable("late_package.part") is reachable
        assert image.holds(part.function) is reachable
        assert (image.module_of(vars(part)) == "late_package.part") is reachable
    finally:
        for name in ("late_package", "late_package.part"):
            sys.modules.pop(name, None)


@pytest.mark.usefixtures("main")
def test_modules_without_a_place_are_not_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.capture()
    module = types.ModuleType("made_by_hand")
    module.function = types.FunctionType(  # type: ignore[attr-defined]
        (lambda: None).__code__, vars(module), "function"
    )
    monkeypatch.setitem(sys.modules, "made_by_hand", module)
    assert not image.importable("made_by_hand")
    assert not image.importable("not_loaded_at_all")
    assert image.module_of(vars(module)) is None
    assert image.module_of({}) is None
    assert image.module_of({"__name__": 5}) is None
    # In the image it is there for every process, wherever it came from.
    assert Image.capture().importable("made_by_hand")


@pytest.mark.usefixtures("main")
def test_strange_entries_among_the_modules_are_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strange:
        def __getattr__(self, name: str) -> object:
            return Strange()

    monkeypatch.setitem(sys.modules, "strange", Strange())  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "none", None)  # type: ignore[arg-type]
    image = Image.capture()
    assert not image.importable("none")


@pytest.mark.usefixtures("main")
def test_the_surroundings_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAME", "välue")
    monkeypatch.setattr(sys, "argv", ["program", "x"])
    image = Image.capture()
    assert image.argv == ["program", "x"]
    assert image.environ[b"NAME"] == "välue".encode()
    assert image.cwd == str(tmp_path)
    assert image.directory == directory_identity()
    sys.argv.append("y")
    assert image.argv == ["program", "x"]


def test_a_removed_directory_has_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    identity = directory_identity()
    os.rmdir(tmp_path / "gone")
    assert working_directory() is None
    assert directory_identity() == identity
