"""How long a node takes to end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.session.loop import Loop

if TYPE_CHECKING:
    from constellation_daemons.node.service import Node

__all__ = ["KILL_LIMIT", "STOP_LIMIT", "end"]

STOP_LIMIT = 15.0
"""Seconds that what runs has to end, when the service is to."""
KILL_LIMIT = 5.0
"""Seconds that it has after it was killed."""


def end(loop: Loop, node: Node) -> None:
    """End what a node runs, and serve until that is done."""
    node.stop()
    if not loop.run(lambda: node.idle, STOP_LIMIT):
        node.kill()
        loop.run(lambda: node.idle, KILL_LIMIT)
