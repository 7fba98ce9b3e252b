"""``constellation status``: how a cluster stands."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Column, Table

from constellation.address import Address
from constellation.cli.commands import Command
from constellation.cli.master import address_argument, query
from constellation.cli.options import (
    KeyOptions,
    format_option,
    key_options,
    verbose_option,
    version_option,
)
from constellation.control.cluster import AskStatus, NodeState, Status
from constellation.plain import plain
from constellation.settings import Format
from constellation.units import Mem, memory_shown

__all__ = ["status"]

_BILLION = 10**9
_WIDEST = 10_000
"""Columns: names are shown whole, whatever the terminal makes of long lines."""


@click.command(cls=Command)
@address_argument
@click.option("--processes", is_flag=True, help="Name each process too.")
@format_option
@key_options
@verbose_option
@version_option
def status(
    address: Address,
    processes: bool,
    format: Format,  # noqa: A002
    key_options: KeyOptions,
) -> None:
    """Show the nodes, the programs, and what waits for room.

    HOST:PORT is where the master listens.
    """
    found = query(address, key_options, AskStatus(processes))
    assert isinstance(found, Status)
    if format is Format.JSON:
        click.echo(msgspec.json.encode(as_json(found)).decode())
    else:
        click.echo(text(found))


def as_json(found: Status) -> dict[str, Any]:
    """A status as a JSON object."""
    return {
        "version": found.version,
        "sequence": found.sequence,
        "events": found.events,
        "nodes": [_fields(node) for node in found.nodes],
        "programs": [_fields(program) for program in found.programs],
        "waiting": [_fields(size) for size in found.waiting],
        "processes": [_fields(process) for process in found.running],
    }


def _fields(message: msgspec.Struct) -> dict[str, Any]:
    fields = msgspec.structs.asdict(message)
    for name in ("cpu", "used_cpu"):
        if name in fields:
            fields[name] /= _BILLION
    return fields


def text(found: Status) -> str:
    """A status for people: tables, without those that have nothing in them but for the nodes."""
    tables = [_nodes(found)]
    if found.programs:
        tables.append(_programs(found))
    if found.running:
        tables.append(_running(found))
    if found.waiting:
        tables.append(_waiting(found))
    return "\n\n".join(map(_lines, tables))


def _lines(table: Table) -> str:
    # Brackets are those of IPv6 addresses here.
    console = Console(highlight=False, markup=False, emoji=False, width=_WIDEST)
    with console.capture() as captured:
        console.print(table)
    # Each cell is as wide as its column, the last one too.
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _add_row(table: Table, *cells: str) -> None:
    table.add_row(*map(plain, cells))


def _nodes(found: Status) -> Table:
    table = Table("node", "state", "memory", "cores", "processes", "heard of", box=None)
    for node in found.nodes:
        _add_row(table, *_node_row(node))
    return table


def _programs(found: Status) -> Table:
    table = Table("program", "name", Column("bridge", no_wrap=True), "waiting", box=None)
    for each in found.programs:
        bridge = each.bridge.removeprefix("tcp://")
        _add_row(table, each.program[:7], each.name, bridge, str(each.waiting))
    return table


def _running(found: Status) -> Table:
    table = Table("process", "program", "node", "memory", "cores", box=None)
    for process in found.running:
        names = process.pid[:7], process.program[:7], process.node
        _add_row(table, *names, str(Mem(process.mem)), f"{process.cpu / _BILLION:g}")
    return table


def _waiting(found: Status) -> Table:
    table = Table("waiting", "memory", "cores", "for", "because it", box=None)
    for size in found.waiting:
        need = str(Mem(size.mem)), f"{size.cpu / _BILLION:g}"
        _add_row(table, str(size.count), *need, f"{size.seconds:.0f} s", size.reason)
    return table


def _node_row(node: NodeState) -> list[str]:
    memory = cores = "-"
    if node.state != "absent":
        memory = f"{memory_shown(max(node.used_mem, 0))} of {memory_shown(node.mem)}"
        cores = f"{node.used_cpu / _BILLION:g} of {node.cpu / _BILLION:g}"
    silent = "-" if node.silent is None else f"{node.silent:.1f} s ago"
    return [node.node, node.state, memory, cores, str(node.processes), silent]
