"""The public names: those of ``constellation``, exactly."""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys
import types
from pathlib import Path

import constellation


def test_all_names_exist_and_are_named_once() -> None:
    assert len(set(constellation.__all__)) == len(constellation.__all__)
    for name in constellation.__all__:
        assert hasattr(constellation, name)


def test_nothing_else_is_public() -> None:
    internal = {"annotations", "VERSION"}  # what the module itself needs
    for name, value in vars(constellation).items():
        if not name.startswith("_") and not isinstance(value, types.ModuleType):
            assert name in constellation.__all__ or name in internal


def test_every_public_name_is_documented() -> None:
    for name in constellation.__all__:
        value = getattr(constellation, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), name


def test_the_wild_card_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from constellation import *", names)
    assert set(constellation.__all__) <= set(names)


def test_the_version_is_that_of_the_distribution() -> None:
    assert importlib.metadata.version("constellation-fabric") == constellation.__version__


def test_the_package_is_typed() -> None:
    assert Path(constellation.__file__).with_name("py.typed").is_file()


def test_importing_starts_nothing() -> None:
    program = (
        "import constellation, os, threading\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "assert os.environ.get('CONSTELLATION') is None\n"
        "import zmq; assert zmq.Context._instance is None\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
