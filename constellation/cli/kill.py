"""``constellation kill``: end a program or a process of a cluster."""

from __future__ import annotations

import click
import msgspec

from constellation.address import Address
from constellation.cli.commands import Command
from constellation.cli.master import address_argument, query
from constellation.cli.options import (
    KeyOptions,
    format_option,
    key_options,
    verbose_option,
    version_option,
)
from constellation.control.cluster import SHORTEST_NAME, TOO_SHORT, AskKill, Done
from constellation.plain import plain
from constellation.settings import Format

__all__ = ["kill"]


@click.command(cls=Command)
@address_argument
@click.argument("target", metavar="NAME")
@format_option
@key_options
@verbose_option
@version_option
def kill(
    address: Address,
    target: str,
    format: Format,  # noqa: A002
    key_options: KeyOptions,
) -> None:
    """Kill a process, or all processes of a program.

    HOST:PORT is where the master listens. NAME is the beginning of the name of the program or the
    process, as `constellation status` shows it: 4 digits at least.
    """
    if len(target) < SHORTEST_NAME:
        raise click.BadParameter(f"{target!r}: {TOO_SHORT}", param_hint="NAME")
    done = query(address, key_options, AskKill(target))
    assert isinstance(done, Done)
    if format is Format.JSON:
        click.echo(msgspec.json.encode({"done": done.text}).decode())
    else:
        click.echo(plain(done.text))
