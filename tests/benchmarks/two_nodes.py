"""A cluster of two nodes on loopback, and sides that are deployed there.

The first process of a side fills the first node, so all that it starts are on the second.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from harness import Side, start

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import cluster as clusters
from cluster import Cluster, Size

SIZES = (Size("512 MiB", 1), Size("64 GiB", 64))
SOME_KILLED = 101
"""The exit code of a program whose processes have not all ended alike."""
NEEDS = ("--mem", SIZES[0].mem, "--cpu", str(SIZES[0].cpu))


@contextmanager
def two_nodes(timeout: float = 5.0) -> Iterator[Cluster]:
    """Start a cluster.

    Args:
        timeout: Seconds of silence after which a node is lost.
    """
    with (
        tempfile.TemporaryDirectory(prefix="b-") as directory,
        clusters.cluster(Path(directory), sizes=SIZES, timeout=timeout) as cluster,
    ):
        yield cluster


def deployed(
    cluster: Cluster, script: str, *arguments: str, code: int = 0
) -> AbstractContextManager[Side]:
    """Deploy a side, which ends with the block, and with this exit code."""
    return start(script, *arguments, command=cluster.command(*NEEDS), code=code)
