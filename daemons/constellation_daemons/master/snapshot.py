"""How the cluster stands, for who asks for its status."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from constellation_daemons.master.jobs import RUNNING
from constellation_daemons.master.nodes import Node, Nodes
from constellation_daemons.master.values import Amount, RequestId
from constellation_daemons.master.waiting import Line


class NodeView(msgspec.Struct, frozen=True):
    """A node.

    Attributes:
        state: ``"joined"``, ``"leaving"`` or ``"lost"``.
        free: What may still be promised of it; negative where it has less than it runs.
        processes: How many it has, with those that are being started.
        held_for: What a process needs that it is held for, None where anything may go there.
    """

    node: str
    incarnation: int
    state: str
    capacity: Amount
    free: Amount
    processes: int
    held_for: Amount | None


class WaitingView(msgspec.Struct, frozen=True):
    """Requests of one size that wait.

    Attributes:
        need: What each of them needs.
        count: How many they are.
        first: The one whose turn it is.
        seconds: For how long that has waited.
        reason: What they wait for, for people.
    """

    need: Amount
    count: int
    first: RequestId
    seconds: float
    reason: str


class ProcessView(msgspec.Struct, frozen=True):
    """A process.

    Attributes:
        pid: Its key, in hexadecimal digits.
        request: What it was placed for.
        program: Its program.
        node: Where it is.
        need: What it was promised.
    """

    pid: str
    request: RequestId
    program: str
    node: str
    need: Amount


class Snapshot(msgspec.Struct, frozen=True):
    """Everything at one moment.

    Attributes:
        sequence: The number of the last event that was published before it.
        nodes: The nodes, by name.
        waiting: What waits, the one that waits for longest first.
        programs: The programs that are known, by name.
    """

    sequence: int
    nodes: tuple[NodeView, ...]
    waiting: tuple[WaitingView, ...]
    programs: tuple[str, ...]


def take(sequence: int, nodes: Nodes, line: Line, programs: Iterable[str], now: float) -> Snapshot:
    """Look at everything. Costs time for each node and each size that waits."""
    sizes = sorted(line.sizes, key=lambda size: size.first.order)
    return Snapshot(
        sequence,
        tuple(_node_view(node) for node in sorted(nodes, key=lambda node: node.name)),
        tuple(
            WaitingView(
                size.need,
                len(size.jobs),
                size.first.request,
                now - size.first.arrived,
                _reason(nodes, size.need, size.held),
            )
            for size in sizes
        ),
        tuple(sorted(programs)),
    )


def processes(nodes: Nodes) -> list[ProcessView]:
    """All processes that run. Costs time for each of them."""
    return [
        ProcessView(job.pid, job.request, job.program, node.name, job.need)
        for node in nodes
        for job in node.jobs.values()
        if job.pid is not None and job.state is RUNNING
    ]


def _node_view(node: Node) -> NodeView:
    return NodeView(
        node.name,
        node.incarnation,
        "lost" if node.lost_at is not None else "leaving" if node.leaving else "joined",
        node.capacity,
        node.free,
        len(node.jobs),
        None if node.held_for is None else node.held_for.need,
    )


def _reason(nodes: Nodes, need: Amount, held: Node | None) -> str:
    if held is not None:
        return f"waits for room; {held.name} is held for it"
    if nodes.fits_present(need):
        return "waits for room"
    if nodes.fits_any(need):
        return "waits for a lost node to come back: no other is large enough"
    return "waits for a node that is large enough"
