"""The options that commands share, each with one meaning everywhere."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import click

from constellation.plain import PlainFormatter, log_with
from constellation.security.keypair import Keypair
from constellation.security.policy import cluster_key
from constellation.settings import Format
from constellation.version import VERSION

__all__ = [
    "KeyOptions",
    "format_option",
    "key_options",
    "verbose_option",
    "verbosity_option",
    "version_option",
]

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Decorator = Callable[[_Function], _Function]

_LEVELS: Final = (logging.WARNING, logging.INFO, logging.DEBUG)

version_option: Final[_Decorator[Any]] = click.version_option(
    VERSION, message="constellation %(version)s"
)
"""``--version``: show the version and exit."""


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What the user said about the key of the cluster.

    Attributes:
        key_file: ``--key-file``.
        insecure: ``--insecure``.
    """

    key_file: str | None
    insecure: bool

    def key(self, *, loopback_only: bool, asking: bool = False) -> Keypair | None:
        """The key to use: see :func:`constellation.security.policy.cluster_key`."""
        return cluster_key(
            self.key_file, loopback_only=loopback_only, insecure=self.insecure, asking=asking
        )


def key_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--key-file`` and ``--insecure``; the function gets them as `key_options`."""

    @click.option(
        "--key-file",
        type=click.Path(),
        metavar="PATH",
        help="The key of the cluster; by default the one in your configuration directory.",
    )
    @click.option(
        "--insecure",
        is_flag=True,
        help="Use no key: whoever can connect can run programs. For networks of your own.",
    )
    @functools.wraps(function)
    def wrapper(*args: Any, key_file: str | None, insecure: bool, **kwargs: Any) -> Any:
        if key_file is not None and insecure:
            raise click.UsageError("--key-file and --insecure exclude each other.")
        return function(*args, key_options=KeyOptions(key_file, insecure), **kwargs)

    return wrapper


def format_option(function: _Function) -> _Function:
    """``--format human|json``; the function gets it as `format`, a Format."""
    return click.option(
        "--format",
        "format",
        type=click.Choice([choice.value for choice in Format]),
        default=Format.HUMAN.value,
        envvar="CONSTELLATION_FORMAT",
        show_envvar=True,  # errors name it too: it may be what is wrong
        show_default=True,
        callback=lambda _context, _option, value: Format(value),
        help="What is printed: text for people, or JSON, one object a line.",
    )(function)


_verbosity = partial(
    click.option,
    "-v",
    "--verbose",
    count=True,
    is_eager=True,
    help="Log more on stderr; twice for everything.",
)


def _level(count: int) -> int:
    return _LEVELS[min(count, len(_LEVELS) - 1)]


def verbosity_option(function: _Function) -> _Function:
    """``-v``: log more on stderr; ``-vv``: everything. The function gets the level as `verbose`."""
    return _verbosity(callback=lambda _context, _option, count: _level(count))(function)


def verbose_option(function: _Function) -> _Function:
    """As `verbosity_option`, and sets logging up instead."""

    def set_up(_context: click.Context, _option: click.Parameter, count: int) -> None:
        log_with(PlainFormatter("%(levelname)s: %(message)s"), sys.stderr, _level(count))

    return _verbosity(callback=set_up, expose_value=False)(function)
