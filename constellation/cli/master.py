"""What the commands that ask a master have in common."""

from __future__ import annotations

import click

from constellation.address import Address
from constellation.cli.options import KeyOptions
from constellation.control import cluster
from constellation.session.client import ask
from constellation.transport.curve import Curve
from constellation.transport.network import Security

__all__ = ["address_argument", "connection", "query"]


def _address(context: click.Context, parameter: click.Parameter, text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


address_argument = click.argument("address", callback=_address, metavar="HOST:PORT")
"""Where the master listens."""


def connection(address: Address, key_options: KeyOptions) -> tuple[str, Security | None]:
    """The endpoint of the master, and how connections to it are secured."""
    keypair = key_options.key(loopback_only=address.is_loopback)
    return address.resolve()[0].endpoint, None if keypair is None else Curve(keypair)


def query(
    address: Address, key_options: KeyOptions, request: cluster.Request
) -> cluster.Status | cluster.NodeAnswer | cluster.Done:
    """Ask the master.

    Raises:
        MasterError: There is no answer, or it cannot be done.
    """
    endpoint, security = connection(address, key_options)
    return ask(endpoint, security, request)
