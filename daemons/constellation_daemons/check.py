"""``constellation-node --check``: who can be talked to from a machine, and where."""

from __future__ import annotations

import os
import platform
import socket

import click
import msgspec

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
from constellation.settings import Format
from constellation.transport.curve import Curve
from constellation.version import VERSION
from constellation_daemons.binding import ListenError
from constellation_daemons.listening import listen_at

__all__ = ["check_node"]

_PATIENCE = 3.0
_CONNECT = 2.0
_ANY = (32768, 60999)  # where systems have the ports that they give themselves


def check_node(
    address: Address, master: Address, keypair: Keypair | None, form: Format = Format.HUMAN
) -> int:
    """Say on stdout what works and what does not. Gives the exit code: 0 if all does.

    Args:
        address: Where the node would listen.
        master: The master.
        keypair: The key of the cluster; None: connections are not secured.
        form: How it is said.
    """
    check = _Check(keypair, form)
    check.listening(address)
    check.cluster(master, address)
    return 1 if check.failed else 0


class _Check:
    """Says what works, and notes whether anything does not.

    Attributes:
        failed: Whether something does not work.
    """

    def __init__(self, keypair: Keypair | None, form: Format) -> None:
        self._keypair = keypair
        self._form = form
        self.failed = False

    def _say(self, what: str, text: str, *, ok: bool) -> None:
        self.failed = self.failed or not ok
        if self._form is Format.JSON:
            line = {"about": plain(what), "ok": ok, "text": plain(text)}
            click.echo(msgspec.json.encode(line))
        else:
            click.echo(plain(f"{what}: {text}"))

    def listening(self, address: Address) -> None:
        """See whether a node can listen there."""
        try:
            for listener in listen_at(address):
                listener.socket.close()
        except (ListenError, UnknownHost) as error:
            self._say("here", str(error), ok=False)
        else:
            self._say("here", f"the node can listen at {address}", ok=True)

    def cluster(self, master: Address, own: Address) -> None:
        """Ask the master, and by that the nodes and the bridges."""
        found = self._answer(f"master {master}", master, AskStatus())
        if not isinstance(found, Status):
            self.failed = True
            return
        self._versions(f"master {master}", found.version, None)
        for node in found.nodes:
            if node.node != str(own):
                self._node(node.node, absent=node.state == "absent")
        # What runs of a program here is told by its bridge what to do.
        for place in self._bridges(master):
            self._answer(f"bridge {place}", Address.parse(place), AskWho())

    def _node(self, name: str, *, absent: bool) -> None:
        found = self._answer(f"node {name}", Address.parse(name), AskNode())
        if isinstance(found, NodeAnswer):
            self._versions(f"node {name}", found.version, found.python)
            self._ports(name, found.ports)
        elif absent:
            self._say(f"node {name}", "the master has not seen it either", ok=False)

    def _bridges(self, master: Address) -> tuple[str, ...]:
        """Where the bridges are that the master knows of."""
        try:
            found = self._ask("master", master, AskWho())
        except (MasterError, UnknownHost) as error:  # it has answered a moment ago
            self._say(f"master {master}", str(error), ok=False)
            return ()
        return found.bridges if isinstance(found, Who) else ()

    def _ports(self, name: str, ports: tuple[int, int]) -> None:
        """See whether the ports of a node's processes can be connected to.

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
                text = (
                    f"its processes cannot be connected to: {reason} at port {port}. A firewall is "
                    f"in between: open its {wanted} for the machines of the cluster"
                )
                choose = "" if ports[0] else ", and choose them with port_range"
                self._say(f"node {name}", text + choose, ok=False)
                return

    def _answer(
        self, what: str, address: Address, request: Request
    ) -> Status | NodeAnswer | Who | None:
        try:
            found = self._ask(what.partition(" ")[0], address, request)
        except (MasterError, UnknownHost) as error:
            self._say(what, str(error), ok=False)
            return None
        if isinstance(found, (Status, NodeAnswer, Who)):
            self._say(what, "can be talked to", ok=True)
            return found
        self.failed = True
        return None

    def _ask(self, role: str, address: Address, request: Request) -> Reply:
        """Ask a service.

        Raises:
            MasterError: There is no answer, or it is not that of such a service.
            UnknownHost: Its host has no known address.
        """
        security = None if self._keypair is None else Curve(self._keypair)
        endpoint = address.resolve()[0].endpoint
        return ask(endpoint, security, request, attempts=1, patience=_PATIENCE, role=role)

    def _versions(self, what: str, version: str, python: str | None) -> None:
        own = platform.python_version()
        if version != VERSION:
            text = f"has constellation {version}, and this machine {VERSION}"
            self._say(what, f"{text}: use the same version everywhere", ok=False)
        if python is not None and python.split(".")[:2] != own.split(".")[:2]:
            text = f"has Python {python}, and this machine {own}"
            self._say(what, f"{text}: use the same minor version everywhere", ok=False)
