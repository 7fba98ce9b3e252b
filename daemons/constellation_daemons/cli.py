"""The commands of the services: ``constellation-node`` and ``constellation-master``."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import click

from constellation.address import Address, PortRange
from constellation.cli.commands import Command
from constellation.cli.options import (
    KeyOptions,
    format_option,
    key_options,
    verbosity_option,
    version_option,
)
from constellation.settings import Format
from constellation.units import Cpu, Mem
from constellation_daemons import config, logs
from constellation_daemons.check import check_node
from constellation_daemons.master.values import Amount
from constellation_daemons.node.capacity import machine_capacity
from constellation_daemons.node.places import default_places
from constellation_daemons.service import (
    MasterOptions,
    NodeOptions,
    run_master,
    run_node,
)

__all__ = ["master", "node"]

logger = logging.getLogger(__name__)

_Quantity = TypeVar("_Quantity", Mem, Cpu)


def _address(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> Address | None:
    try:
        return None if text is None else Address.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _reached(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> Address | None:
    try:
        return None if text is None else Address.parse_remote(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _ports(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> PortRange | None:
    try:
        return None if text is None else PortRange.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _log_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``-v`` and ``--format``: how much is logged, and how. The function is called after that."""

    @format_option
    @verbosity_option
    @functools.wraps(function)
    def wrapper(*args: Any, format: Format, verbose: int, **kwargs: Any) -> Any:  # noqa: A002
        logs.set_up(verbose, format)
        return function(*args, **kwargs)

    return wrapper


def _read(kind: Callable[[str], _Quantity], text: str, option: str) -> _Quantity:
    try:
        return kind(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=repr(option)) from error


def _amount(mem: str | None, cpu: str | None) -> Amount | None:
    """What a node gives, where the user has said something of it."""
    if mem is None and cpu is None:
        return None
    machine = machine_capacity()
    amount = Amount(
        machine.mem if mem is None else int(_read(Mem, mem, "--mem")),
        machine.cpu if cpu is None else round(float(_read(Cpu, cpu, "--cpu")) * 10**9),
    )
    if not amount.mem or not amount.cpu:
        raise click.UsageError("--mem and --cpu are above 0: on nothing no process can be placed.")
    return amount


@click.command(cls=Command)
@click.argument("address", callback=_address, metavar="HOST:PORT")
@click.option("--join", callback=_reached, metavar="MASTER", help="Join a running cluster.")
@click.option("--advertise", callback=_reached, metavar="HOST:PORT", help="Where others reach it.")
@click.option("--mem", metavar="SIZE", help="What programs may be given of its memory.")
@click.option("--cpu", metavar="CORES", help="The same of its processors.")
@click.option(
    "--port-range", callback=_ports, metavar="FIRST-LAST", help="Where its processes listen."
)
@click.option("--check", is_flag=True, help="Only say who can be talked to from here, and where.")
@key_options
@_log_options
@version_option
def node(
    address: Address,
    join: Address | None,
    advertise: Address | None,
    mem: str | None,
    cpu: str | None,
    port_range: PortRange | None,
    check: bool,
    key_options: KeyOptions,
) -> None:
    """Run processes of programs on this machine.

    HOST:PORT is where the node listens for its master.
    """
    if join is not None and advertise is None and not address.is_remote:
        raise click.UsageError(
            f"Others cannot connect to {address}, which is {address.vague}: say where they reach "
            f"it with --advertise HOST:PORT."
        )
    if port_range is not None and address.port in port_range:
        raise click.UsageError(
            f"--port-range {port_range} has the node's own port {address.port} in it: take others "
            f"for its processes."
        )
    others = [each for each in (join, advertise) if each is not None]
    loopback = all(each.is_loopback for each in (address, *others))
    keypair = key_options.key(loopback_only=loopback)
    if check:
        if join is None:
            raise click.UsageError("--check needs --join, to know the master and by that the nodes")
        raise click.exceptions.Exit(check_node(address, join, keypair, logs.current_format()))
    run_node(
        NodeOptions(
            address,
            keypair,
            default_places(),
            limit=_amount(mem, cpu),
            ports=port_range,
            join=join,
            advertise=advertise,
        )
    )


@click.command(cls=Command)
@click.argument("address", callback=_address, metavar="HOST:PORT")
@click.argument("nodes", type=click.Path(), metavar="NODES.TOML")
@click.option("--advertise", callback=_reached, metavar="HOST:PORT", help="Where others reach it.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for nodes before programs are taken.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a node may be silent until it is lost.",
)
@click.option(
    "--events-port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Where events are published; any free port otherwise.",
)
@key_options
@_log_options
@version_option
def master(
    address: Address,
    nodes: str,
    advertise: Address | None,
    wait: float,
    timeout: float,
    events_port: int | None,
    key_options: KeyOptions,
) -> None:
    """Place the processes of programs on the nodes of a cluster.

    HOST:PORT is where the master listens. If it is the `fabric_addr` of a node in NODES.TOML, the
    master is that node too.
    """
    if events_port == address.port:
        raise click.UsageError(f"--events-port {events_port} is the port of the master itself.")
    found = config.load(nodes, Address.resolve)
    if all(each.bridge_bind is None for each in found.nodes):
        logger.warning("%s: no node has a bridge_bind, so programs cannot be deployed", nodes)
    for each in found.hidden_bridges:
        logger.warning(
            "%s: the bridge_bind of the node %s is %s, a loopback address, and other nodes cannot "
            "connect to it: what is deployed there runs on that machine only",
            nodes,
            each.reached_at,
            each.bridge_bind,
        )
    addresses = [address, *found.addresses, *([] if advertise is None else [advertise])]
    keypair = key_options.key(loopback_only=all(each.is_loopback for each in addresses))
    run_master(
        MasterOptions(
            address,
            found.nodes,
            keypair,
            default_places(),
            timeout,
            wait,
            advertise,
            events_port or 0,
        )
    )


def node_main() -> None:
    """The command ``constellation-node``."""
    node.main(prog_name="constellation-node")


def master_main() -> None:
    """The command ``constellation-master``."""
    master.main(prog_name="constellation-master")
