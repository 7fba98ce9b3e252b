"""``constellation keygen``: make the key of a cluster."""

from __future__ import annotations

import json
import os

import click

from constellation.cli.commands import Command
from constellation.cli.options import format_option, verbose_option, version_option
from constellation.security.errors import KeyFileExists
from constellation.security.key_file import default_path, make_key_file, read_key_file
from constellation.settings import Format

__all__ = ["keygen"]


@click.command(cls=Command)
@click.option(
    "--key-file",
    type=click.Path(),
    metavar="PATH",
    help="Where to put it; by default in your configuration directory, where it is looked for.",
)
@click.option("--force", is_flag=True, help="Replace a key that is there.")
@format_option
@verbose_option()
@version_option
def keygen(key_file: str | None, force: bool, format: Format) -> None:  # noqa: A002
    """Make the key of a cluster.

    Whoever has the key can run programs on the cluster, and nobody else can. Each machine of the
    cluster needs a copy of it, and so does everybody who deploys to it.
    """
    path = os.path.abspath(key_file if key_file is not None else default_path())
    there = os.path.lexists(path)
    try:
        keypair = make_key_file(path, replace=force)
    except KeyFileExists:
        if there:
            raise
        keypair = read_key_file(path)  # somebody else has made it at the same moment
    if format is Format.JSON:
        click.echo(json.dumps({"path": path, "fingerprint": keypair.fingerprint}))
        return
    click.echo(f"{path} holds the new key, with the fingerprint {keypair.fingerprint}.")
    click.echo("Copy it to each machine of the cluster, and to who deploys to it. Keep it secret.")
