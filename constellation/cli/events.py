"""``constellation events``: what happens in a cluster, as it happens."""

from __future__ import annotations

from typing import Any

import click
import msgspec
import zmq

from constellation.address import Address
from constellation.cli.commands import Command
from constellation.cli.master import address_argument, connection
from constellation.cli.options import (
    KeyOptions,
    format_option,
    key_options,
    verbose_option,
    version_option,
)
from constellation.control.cluster import AskStatus, Status
from constellation.session.client import ask
from constellation.settings import Format

__all__ = ["events"]


@click.command(cls=Command)
@address_argument
@format_option
@key_options
@verbose_option()
@version_option
def events(
    address: Address,
    format: Format,  # noqa: A002
    key_options: KeyOptions,
) -> None:
    """Show what happens, until Ctrl-C: nodes that come and go, programs, processes.

    HOST:PORT is where the master listens.
    """
    endpoint, security = connection(address, key_options)
    found = ask(endpoint, security, AskStatus())
    assert isinstance(found, Status)
    context: zmq.Context[Any] = zmq.Context()
    socket = context.socket(zmq.SUB)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, 1)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.subscribe(b"")
        if security is not None:
            security.secure_connection(socket)
        socket.connect(address.resolve()[0].with_port(found.events).endpoint)
        while True:
            _, body = socket.recv_multipart()
            click.echo(body.decode() if format is Format.JSON else line(msgspec.json.decode(body)))
    finally:
        socket.close()
        context.term()


def line(event: dict[str, Any]) -> str:
    """An event, for people."""
    words = [str(event["event"])]
    for name in ("node", "program", "pid"):
        if name in event:
            value = str(event[name])
            words.append(value if name == "node" else f"{name} {value[:7]}")
    if event.get("text"):
        words.append(str(event["text"]))
    return " ".join(words)
