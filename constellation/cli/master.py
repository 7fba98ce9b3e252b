"""What the commands that ask a master have in common."""

from __future__ import annotations

import click

from constellation.address import Address
from constellation.cli.lookup import endpoints_of
from constellation.cli.options import KeyOptions
from constellation.control import cluster
from constellation.session.client import ask_one_of
from constellation.transport.curve import Curve
from constellation.transport.network import Security

__all__ = ["address_argument", "query", "security"]


def _address(context: click.Context, parameter: click.Parameter, text: str) -> Address:
    try:
        return Address.parse_remote(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


address_argument = click.argument("address", callback=_address, metavar="HOST:PORT")
"""Where the master listens."""


def security(address: Address, key_options: KeyOptions) -> Security | None:
    """How connections to the master are secured."""
    keypair = key_options.key(loopback_only=address.is_loopback, asking=True)
    return None if keypair is None else Curve(keypair)


def query(address: Address, key_options: KeyOptions, request: cluster.Request) -> cluster.Reply:
    """Ask the master.

    Raises:
        MasterError: There is no answer, or it cannot be done.
        UnknownHost: The host name stands for nothing.
    """
    return ask_one_of(endpoints_of(address), security(address, key_options), request)[1]
