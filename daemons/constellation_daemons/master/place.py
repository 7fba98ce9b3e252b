"""Where a master is: which of the nodes it is itself, and where others reach it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import psutil

from constellation.address import Address, UnknownHost
from constellation.errors import ConstellationError
from constellation_daemons.node_config import Node

__all__ = ["NoPlace", "own_hosts", "own_node", "reached_at"]


class NoPlace(ConstellationError):
    """It cannot be known where a master is reached.

    Attributes:
        text: Why, and what would be right.
        exit_code: Of a command that fails for it.
    """

    exit_code = 2

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


def own_hosts() -> set[str]:
    """The IP addresses that this machine has."""
    found = set()
    for addresses in psutil.net_if_addrs().values():
        for address in addresses:
            try:
                found.add(Address(address.address, 0).host)
            except ValueError:  # of a network card
                continue
    return found


def own_node(
    address: Address,
    nodes: Iterable[Node],
    advertise: Address | None = None,
    hosts: Callable[[], set[str]] = own_hosts,
) -> Node | None:
    """The node that a master itself is; None: it is none.

    Several nodes may listen at all addresses of their machines, which is written the same for all.
    Then the one is meant that others reach here.

    Args:
        address: Where the master listens.
        nodes: What nodes.toml says.
        advertise: Where others reach the master, as far as the user has said.
        hosts: The addresses of this machine.

    Raises:
        NoPlace: It may be one of several.
    """
    found = [node for node in nodes if node.fabric_addr == address]
    if len(found) > 1 and advertise is not None:
        found = [node for node in found if node.reached_at == advertise]
    elif len(found) > 1:
        here = hosts()
        found = [node for node in found if here & _numeric(node.reached_at)]
        if len(found) != 1:
            raise NoPlace(
                f"several nodes listen at {address}, and which of them is this machine cannot be "
                f"seen from its addresses: say so with --advertise"
            )
    return found[0] if found else None


def reached_at(address: Address, own: Node | None, advertise: Address | None = None) -> Address:
    """Where others reach a master.

    Args:
        address: Where it listens.
        own: The node that it is itself.
        advertise: What the user has said.

    Raises:
        NoPlace: Nobody could.
    """
    if advertise is not None:
        return advertise
    if own is not None:
        return own.reached_at
    if not address.is_remote:
        raise NoPlace(
            f"nodes cannot connect to {address}, which is {address.vague}: say where they reach it "
            f"with --advertise HOST:PORT"
        )
    return address


def _numeric(address: Address) -> set[str]:
    try:
        return {each.host for each in address.resolve()}
    except UnknownHost:
        return set()
