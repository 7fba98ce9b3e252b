from __future__ import annotations

import dataclasses
import sys

import pytest

from constellation.errors import SettingsError
from constellation.settings import START_DEFAULT, Format, Settings, Start


def read(**settings: str) -> Settings:
    environ = {f"CONSTELLATION_{name}": value for name, value in settings.items()}
    return Settings.from_environment(environ)


def test_nothing_set() -> None:
    assert Settings.from_environment({"PATH": "/bin"}) == Settings(
        format=Format.HUMAN, version=False, recce=False, start=START_DEFAULT
    )
    assert START_DEFAULT is (Start.FRESH if sys.platform == "darwin" else Start.FORK)


def test_everything_set() -> None:
    settings = read(FORMAT="json", VERSION="1", RECCE="1", START="fresh")
    assert dataclasses.astuple(settings) == ("json", True, True, "fresh")
    assert read(FORMAT="human", START="fork").start is Start.FORK


@pytest.mark.parametrize("value", ["", " ", "0", "xml", "JSON", "json ", "true", "2"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("FORMAT", "'human' or 'json'"),
        ("START", "'fork' or 'fresh'"),
        ("VERSION", "'1' or not set"),
        ("RECCE", "'1' or not set"),
    ],
)
def test_anything_else_is_told_what_is_right(name: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{name: value})
    error = caught.value
    assert (error.variable, error.value) == (f"CONSTELLATION_{name}", value)
    assert str(error) == (
        f"the environment variable CONSTELLATION_{name} is {value!r}, but must be {expected}"
    )
