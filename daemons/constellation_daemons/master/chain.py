"""The text of a deadlock: who waits for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from constellation_daemons.master.stuck import leaves
from constellation_daemons.master.values import Amount
from constellation_daemons.master.waits import AllOf, AnyOf, Blocked, Room, Values, Wait, Window

_PROCESSES: Final = 8  # that are described
_NAMES: Final = 4  # in a list


def explain(
    room: Room, pid: str, stuck: Mapping[str, Blocked], capacities: Mapping[str, Amount]
) -> str:
    """Say why a spawn can never have its room.

    Args:
        room: The spawn.
        pid: The process that waits for it, which is stuck.
        stuck: All processes that are stuck.
        capacities: What each node has.
    """
    holders: dict[str, list[str]] = {}
    for report in stuck.values():
        holders.setdefault(report.node, []).append(report.pid)
    lines = [f"process {_short(pid)} can never have room for {room.need.shown}, as things are:"]
    told: list[str] = []
    left = [pid]
    nodes: set[str] = set()
    while left and len(told) < _PROCESSES:
        current = left.pop(0)
        if current in told:
            continue
        told.append(current)
        report = stuck[current]
        waits = " and ".join(_text(thread) for thread in report.threads)
        lines.append(f"{_short(current)} on {report.node} waits for {waits}")
        for leaf in (leaf for thread in report.threads for leaf in leaves(thread)):
            if not isinstance(leaf, Room):
                left.append(leaf.pid)
                continue
            for node in _large_enough(leaf.need, capacities):
                if node not in nodes and len(nodes) < _NAMES:
                    nodes.add(node)
                    held = holders.get(node, [])
                    lines.append(f"{node} ({capacities[node].shown}) is held by {_list(held)}")
                    left += held
        left = [each for each in left if each in stuck]
    more = len(set(left) - set(told))
    if more:
        lines.append(f"and {more} more wait in the same way")
    return "\n    ".join(lines)


def _large_enough(need: Amount, capacities: Mapping[str, Amount]) -> Iterator[str]:
    return (node for node, capacity in sorted(capacities.items()) if need.fits(capacity))


def _text(wait: Wait) -> str:
    match wait:
        case Room(need=need):
            return f"room for {need.shown}"
        case Values(pid=pid):
            return f"a value of {_short(pid)}"
        case Window(pid=pid):
            return f"{_short(pid)} to receive"
        case AnyOf(waits=waits):
            return f"one of ({', '.join(_text(part) for part in waits)})"
        case AllOf(waits=waits):
            return f"all of ({', '.join(_text(part) for part in waits)})"


def _list(pids: list[str]) -> str:
    shown = ", ".join(_short(pid) for pid in sorted(pids)[:_NAMES])
    return shown if len(pids) <= _NAMES else f"{shown} and {len(pids) - _NAMES} more"


def _short(pid: str) -> str:
    """A Pid as people see it."""
    return pid[:7]
