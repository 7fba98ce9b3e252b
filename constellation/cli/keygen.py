"""``constellation keygen``: make the key of a cluster, or show which one there is."""

from __future__ import annotations

import json
import os

import click

from constellation.cli.commands import Command
from constellation.cli.options import format_option, verbose_option, version_option
from constellation.security.errors import KeyFileError, KeyFileExists
from constellation.security.key_file import default_path, make_key_file, read_key_file
from constellation.security.keypair import Keypair
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
@click.option("--show", is_flag=True, help="Make none: show the fingerprint of the one there is.")
@format_option
@verbose_option
@version_option
def keygen(
    key_file: str | None,
    force: bool,
    show: bool,
    format: Format,  # noqa: A002
) -> None:
    """Make the key of a cluster.

    Whoever has the key can run programs on the cluster, and nobody else can. Each machine of the
    cluster needs a copy of it, and so does everybody who deploys to it.
    """
    if show and force:
        raise click.UsageError("--show and --force exclude each other.")
    path = os.path.abspath(key_file if key_file is not None else default_path())
    keypair = read_key_file(path) if show else _make(path, replace=force)
    if format is Format.JSON:
        click.echo(json.dumps({"path": path, "fingerprint": keypair.fingerprint}))
        return
    if show:
        click.echo(f"{path} holds the key with the fingerprint {keypair.fingerprint}.")
        return
    click.echo(f"{path} holds the new key, with the fingerprint {keypair.fingerprint}.")
    click.echo("Copy it to each machine of the cluster, and to who deploys to it. Keep it secret.")


def _make(path: str, *, replace: bool) -> Keypair:
    there = os.path.lexists(path)
    try:
        return make_key_file(path, replace=replace)
    except KeyFileExists as error:
        keypair = _readable(path)
        if keypair is None:
            raise
        if there:
            raise KeyFileExists(path, keypair.fingerprint) from error
        return keypair  # somebody else has made it at the same moment


def _readable(path: str) -> Keypair | None:
    """The key in a file; None: what is there cannot be used, which whoever uses it is told."""
    try:
        return read_key_file(path)
    except KeyFileError:
        return None
