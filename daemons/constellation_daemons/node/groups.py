"""The control groups (version 2) that a node divides among processes.

A node does so where it was given its control group for that: a service of systemd with
``Delegate=yes``, or a group whose directory belongs to the node's user. It must be alone in there:
a group whose members are to have shares of its processors may have no process besides those in
groups below it, so the node moves to one itself, and nobody but itself. A master does the same
before it starts its own node, which begins where the master is and finds the group ready.
"""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from constellation_daemons.node.capacity import own_groups

__all__ = ["prepare", "sweep_all"]

logger = logging.getLogger(__name__)

_NODE = "cst-node"
_NODE_WEIGHT = 10_000  # it uses little, and everybody waits for it
_MARKS = ("trusted.delegate", "user.delegate")


def prepare() -> Path | None:
    """Make ready to divide the node's control group. None: there is none to divide."""
    groups = own_groups()
    if len(groups) < 2:  # the outermost one is nobody's to divide
        return None
    own, outer = groups[:2]
    # Where systemd or the master has put this process there already, the one around it is divided.
    inside = own.name == _NODE and len(groups) > 2 and _is_ours(outer, [])
    if not inside and not _is_ours(own, [str(os.getpid())]):
        return None
    divided = outer if inside else own
    try:
        _divide(divided, moving=not inside)
    except OSError as error:
        logger.warning("the control group %s cannot be divided: %s", divided, error)
        return None
    return divided


def sweep_all(groups: Path) -> None:
    """Remove what agents have left that were killed, as far as nobody is in there."""
    for group in groups.glob("cst-*-*"):
        with contextlib.suppress(OSError):
            group.rmdir()


def _is_ours(group: Path, members: list[str]) -> bool:
    """Whether a group was given to this process, and has just these processes in it."""
    try:
        if "cpu" not in (group / "cgroup.controllers").read_text().split():
            return False
        found = (group / "cgroup.procs").read_text().split()
        owner = group.stat().st_uid
    except OSError:
        return False
    if found != members:
        return False
    return _marked(group) or (owner == os.getuid() != 0)


def _marked(group: Path) -> bool:
    """Whether systemd says that it keeps its hands off."""
    for mark in _MARKS:
        with contextlib.suppress(OSError, AttributeError):  # macOS has no such function
            if os.getxattr(group, mark) == b"1":
                return True
    return False


def _divide(own: Path, *, moving: bool) -> None:
    node = own / _NODE
    node.mkdir(exist_ok=True)
    sweep_all(own)
    if moving:
        (node / "cgroup.procs").write_text(str(os.getpid()))
    try:
        (own / "cgroup.subtree_control").write_text("+cpu")
        (node / "cpu.weight").write_text(str(_NODE_WEIGHT))
    except OSError:
        if moving:
            (own / "cgroup.procs").write_text(str(os.getpid()))
            node.rmdir()
        raise
    with contextlib.suppress(OSError):
        # So that the kernel says in which of them it has killed; limits are not set.
        (own / "cgroup.subtree_control").write_text("+memory")
