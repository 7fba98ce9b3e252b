"""``constellation-node --check``: who can be talked to from a machine, and where."""

from __future__ import annotations

import os
import platform
import socket

import click

from constellation.address import Address, UnknownHost
from constellation.control.cluster import (
    AskNode,
    AskStatus,
    AskWho,
    NodeAnswer,
    Reply,
    Request,
    Status,
    Who,
)
from constellation.plain import plain
from constellation.security.keypair import Keypair
from constellation.session.client import MasterError, ask
from constellation.transport.curve import Curve
from constellation.version import VERSION
from constellation_daemons.binding import ListenError
from constellation_daemons.listening import listen_at

__all__ = ["check_node"]

_PATIENCE = 3.0
_CONNECT = 2.0
_ANY = (32768, 60999)  # where systems have the ports that they give themselves


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
        problems += [_bridge(bridge, keypair) for bridge in _bridges(master, keypair)]
    else:
        problems.append(True)
    return 1 if any(problems) else 0


def _say(text: str) -> None:
    click.echo(plain(text))


def _listening(address: Address) -> bool:
    try:
        for listener in listen_at(address):
            listener.socket.close()
    except (ListenError, UnknownHost) as error:
        _say(f"here: {error}")
        return True
    _say(f"here: the node can listen at {address}")
    return False


def _node(name: str, keypair: Keypair | None, *, absent: bool) -> bool:
    found = _answer(f"node {name}", Address.parse(name), keypair, AskNode())
    if isinstance(found, NodeAnswer):
        wrong = _versions(f"node {name}", found.version, found.python)
        return _closed(name, found.ports) or wrong
    if absent:
        _say(f"node {name}: the master has not seen it either")
    return True


def _bridges(master: Address, keypair: Keypair | None) -> tuple[str, ...]:
    """Where the bridges are that the master knows of."""
    try:
        found = _ask("master", master, keypair, AskWho())
    except (MasterError, UnknownHost) as error:  # it has answered a moment ago
        _say(f"master {master}: {error}")
        return ()
    return found.bridges if isinstance(found, Who) else ()


def _bridge(place: str, keypair: Keypair | None) -> bool:
    """Whether what runs of a program here could not be told what to do."""
    return not _answer(f"bridge {place}", Address.parse(place), keypair, AskWho())


def _closed(name: str, ports: tuple[int, int]) -> bool:
    """Whether the ports of a node's processes cannot be connected to.

    Nobody need listen there: who is told so has been let through.
    """
    first, last = ports if ports[0] else _ANY
    wanted = f"ports {first} to {last}" if ports[0] else "ports"
    for port in sorted({first, (first + last) // 2, last}):
        address = Address.parse(name).resolve()[0].with_port(port)
        try:
            socket.create_connection((address.host, address.port), _CONNECT).close()
        except ConnectionRefusedError:
            continue
        except OSError as error:
            reason = "no answer" if error.errno is None else os.strerror(error.errno)
            _say(
                f"node {name}: its processes cannot be connected to: {reason} at port {port}. "
                f"A firewall is in between: open its {wanted} for the machines of the cluster"
                + ("" if ports[0] else ", and choose them with port_range")
            )
            return True
    return False


def _answer(
    what: str, address: Address, keypair: Keypair | None, request: Request
) -> Status | NodeAnswer | Who | None:
    try:
        found = _ask(what.partition(" ")[0], address, keypair, request)
    except (MasterError, UnknownHost) as error:
        _say(f"{what}: {error}")
        return None
    if isinstance(found, (Status, NodeAnswer, Who)):
        _say(f"{what}: can be talked to")
        return found
    return None


def _ask(role: str, address: Address, keypair: Keypair | None, request: Request) -> Reply:
    """Ask a service.

    Raises:
        MasterError: There is no answer, or it is not that of such a service.
        UnknownHost: Its host has no known address.
    """
    security = None if keypair is None else Curve(keypair)
    endpoint = address.resolve()[0].endpoint
    return ask(endpoint, security, request, attempts=1, patience=_PATIENCE, role=role)


def _versions(what: str, version: str, python: str | None) -> bool:
    own = platform.python_version()
    wrong = False
    if version != VERSION:
        _say(
            f"{what}: has constellation {version}, and this machine {VERSION}: "
            "use the same version everywhere"
        )
        wrong = True
    if python is not None and python.split(".")[:2] != own.split(".")[:2]:
        _say(
            f"{what}: has Python {python}, and this machine {own}: "
            "use the same minor version everywhere"
        )
        wrong = True
    return wrong
