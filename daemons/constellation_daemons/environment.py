"""Which of the deployer's environment a program has on a node.

What belongs to a machine is the node's own there; all else is the deployer's, so that the same
command gives the same program the same settings wherever it runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from constellation.machine import machine_bound

__all__ = ["environment_here"]


def environment_here(own: Mapping[str, str], sent: Mapping[bytes, bytes]) -> dict[str, str]:
    """The environment of a program on a node.

    Args:
        own: The node's.
        sent: The deployer's, less what belongs to its machine.
    """
    kept = {name: value for name, value in own.items() if machine_bound(name)}
    return kept | {os.fsdecode(name): os.fsdecode(value) for name, value in sent.items()}
