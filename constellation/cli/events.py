"""``constellation events``: what happens in a cluster, as it happens."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from constellation.address import Address
from constellation.cli.commands import Command
from constellation.cli.feed import events_of
from constellation.cli.master import address_argument, security
from constellation.cli.options import (
    KeyOptions,
    format_option,
    key_options,
    verbose_option,
    version_option,
)
from constellation.exit_status import ExitStatus
from constellation.plain import plain
from constellation.settings import Format

__all__ = ["events"]


@click.command(cls=Command)
@address_argument
@format_option
@key_options
@verbose_option
@version_option
def events(
    address: Address,
    format: Format,  # noqa: A002
    key_options: KeyOptions,
) -> None:
    """Show what happens, until Ctrl-C: nodes that come and go, programs, processes.

    HOST:PORT is where the master listens.
    """
    for event in events_of(address, security(address, key_options)):
        click.echo(_json(event) if format is Format.JSON else line(event))


def _json(event: dict[str, Any]) -> str:
    return msgspec.json.encode(event).decode()


def line(event: dict[str, Any]) -> str:
    """An event, for people."""
    words = [str(event["event"])]
    for name in ("node", "program", "pid"):
        if name in event:
            value = str(event[name])
            words.append(value if name == "node" else f"{name} {value[:7]}")
    if "status" in event:
        words.append(_ended(event["status"]))
    if event.get("text"):
        words.append(str(event["text"]))
    return plain(" ".join(words))


def _ended(form: dict[str, Any]) -> str:
    """How a process ended, from the form in JSON."""
    status = ExitStatus(code=form.get("code"), signal=form.get("signal"), lost=form.get("lost"))
    return f"{status} ({form['cause']})" if "cause" in form else str(status)
