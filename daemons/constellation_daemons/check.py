"""``constellation-node --check``: who can be talked to from a machine, and where."""

from __future__ import annotations

import platform

import click

from constellation.address import Address, UnknownHost
from constellation.control.cluster import AskNode, AskStatus, NodeAnswer, Request, Status
from constellation.security.keypair import Keypair
from constellation.session.client import MasterError, ask
from constellation.transport.curve import Curve
from constellation.version import VERSION
from constellation_daemons.binding import ListenError
from constellation_daemons.listening import listen_at

__all__ = ["check_node"]

_PATIENCE = 3.0


def check_node(address: Address, master: Address, keypair: Keypair | None) -> int:
    """Say on stdout what works and what does not. Gives the exit code: 0 if all does.

    Args:
        address: Where the node would listen.
        master: The master.
        keypair: The key of the cluster; None: connections are not secured.
    """
    problems = [_listening(address)]
    found = _answer(f"master {master}", master, keypair, AskStatus())
    if isinstance(found, Status):
        problems.append(_versions(f"master {master}", found.version, None))
        problems += [
            _node(node.node, keypair, absent=node.state == "absent")
            for node in found.nodes
            if node.node != str(address)
        ]
    else:
        problems.append(True)
    return 1 if any(problems) else 0


def _listening(address: Address) -> bool:
    try:
        for listener in listen_at(address):
            listener.socket.close()
    except (ListenError, UnknownHost) as error:
        click.echo(f"here: {error}")
        return True
    click.echo(f"here: the node can listen at {address}")
    return False


def _node(name: str, keypair: Keypair | None, *, absent: bool) -> bool:
    found = _answer(f"node {name}", Address.parse(name), keypair, AskNode())
    if isinstance(found, NodeAnswer):
        return _versions(f"node {name}", found.version, found.python)
    if absent:
        click.echo(f"node {name}: the master has not seen it either")
    return True


def _answer(
    what: str, address: Address, keypair: Keypair | None, request: Request
) -> Status | NodeAnswer | None:
    role = what.partition(" ")[0]
    security = None if keypair is None else Curve(keypair)
    try:
        endpoint = address.resolve()[0].endpoint
        found = ask(endpoint, security, request, attempts=1, patience=_PATIENCE, role=role)
    except MasterError as error:
        click.echo(f"{what}: {error}")
        return None
    except UnknownHost as error:
        click.echo(f"{what}: {error}")
        return None
    if isinstance(found, (Status, NodeAnswer)):
        click.echo(f"{what}: can be talked to")
        return found
    return None


def _versions(what: str, version: str, python: str | None) -> bool:
    own = platform.python_version()
    wrong = False
    if version != VERSION:
        click.echo(f"{what}: has constellation {version}, and this machine {VERSION}")
        wrong = True
    if python is not None and python.split(".")[:2] != own.split(".")[:2]:
        click.echo(f"{what}: has Python {python}, and this machine {own}")
        wrong = True
    return wrong
