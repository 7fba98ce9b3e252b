"""What the environment says to ``init()``."""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from constellation.errors import SettingsError


class Format(str, enum.Enum):
    """What the command prints for its processes."""

    HUMAN = "human"
    JSON = "json"


class Start(str, enum.Enum):
    """How the processes of a program start."""

    FORK = "fork"
    """As a fork of the program's image."""
    FRESH = "fresh"
    """As a new interpreter that runs the program up to ``init()``."""


#: What macOS has in its own libraries does not survive a fork.
START_DEFAULT = Start.FRESH if sys.platform == "darwin" else Start.FORK

_Choice = TypeVar("_Choice", bound=enum.Enum)


@dataclass(frozen=True, slots=True)
class Settings:
    """The ``CONSTELLATION_*`` variables, read and checked.

    Attributes:
        format: ``CONSTELLATION_FORMAT``.
        version: ``CONSTELLATION_VERSION``: print the version of the library, and exit.
        recce: ``CONSTELLATION_RECCE``: print what the initial process needs, and exit.
        start: ``CONSTELLATION_START``.
    """

    format: Format = Format.HUMAN
    version: bool = False
    recce: bool = False
    start: Start = START_DEFAULT

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from ``environ``, usually :data:`os.environ`.

        Raises:
            SettingsError: A variable has a value that it cannot have. An empty value is one.
        """
        return cls(
            format=_choice(environ, "CONSTELLATION_FORMAT", Format.HUMAN),
            version=_switch(environ, "CONSTELLATION_VERSION"),
            recce=_switch(environ, "CONSTELLATION_RECCE"),
            start=_choice(environ, "CONSTELLATION_START", START_DEFAULT),
        )


def _choice(environ: Mapping[str, str], variable: str, default: _Choice) -> _Choice:
    value = environ.get(variable)
    if value is None:
        return default
    choices = type(default)
    try:
        return choices(value)
    except ValueError:
        expected = " or ".join(repr(choice.value) for choice in choices)
        raise SettingsError(variable, value, expected) from None


def _switch(environ: Mapping[str, str], variable: str) -> bool:
    value = environ.get(variable)
    if value is None:
        return False
    if value != "1":
        raise SettingsError(variable, value, "'1' or not set")
    return True
