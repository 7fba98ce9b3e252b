"""Where a bridge is: found out before a program is deployed to it."""

from __future__ import annotations

from constellation.address import Address
from constellation.cli.lookup import endpoints_of
from constellation.control.cluster import AskWho, Who
from constellation.session.client import MasterError, ask_one_of
from constellation.transport.network import Security

__all__ = ["bridge_at"]


def bridge_at(address: Address, security: Security | None) -> str:
    """The endpoint of the bridge that listens at an address.

    Raises:
        MasterError: There is none; the text says what there is, and what would be right.
        UnknownHost: The host name stands for nothing.
    """
    endpoint, who = ask_one_of(endpoints_of(address), security, AskWho(), role="bridge")
    if isinstance(who, Who) and who.kind == "bridge":
        return endpoint
    kind = who.kind if isinstance(who, Who) else "service of another kind"
    raise MasterError(f"{address} is a {kind}, and no bridge: {_right(who)}")


def _right(who: object) -> str:
    if isinstance(who, Who) and who.bridges:
        return f"deploy to {' or '.join(who.bridges)}"
    return "deploy to the `bridge_bind` of a node in nodes.toml"
