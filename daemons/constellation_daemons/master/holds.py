"""Nodes held for requests that others keep passing by.

A large request may wait for ever where small ones take up each piece of room as it comes. So when
the first of a size has waited for 10 s, a node that is large enough is *held* for that size: what
becomes free there nobody else gets, until it is enough. If nothing there ends for 10 s, the hold
lapses: others may have that room, and the hold moves to another node. It must not stay, since what
runs there may itself be waiting for a small process that the held room would be enough for.

- A size has one hold at a time, which is for the first of its line. The next ones are behind it
  anyway.
- At most a quarter of the present nodes are held (but one may always be): a node that fills up for
  one request is lost to all others meanwhile.
- Who is due for longest comes first. Who had a hold that lapsed comes after those that are due.
- Every other time the hold goes to the node that lacks least, which will most likely be the first
  to have enough; of those in between, to the next in the order of capacities, so that each node
  that is large enough has its turn, and none has two in a row. Where there is no other node to move
  to, the size waits for 10 s, in which the room is anybody's.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import Final

from constellation_daemons.master.nodes import Node, Nodes
from constellation_daemons.master.values import Amount
from constellation_daemons.master.waiting import Line, Size

AGE: Final = 10.0
"""Seconds that the first of a size waits before a node is held for it."""
LAPSE: Final = 10.0
"""Seconds without an end on a held node after which the hold moves on."""
_SHARE: Final = 4  # one node of so many may be held
_LOOK: Final = 64  # nodes that are compared for a hold, so that choosing costs no more with more


class Holds:
    """Which nodes are held for which sizes."""

    def __init__(self, nodes: Nodes, line: Line) -> None:
        self._nodes = nodes
        self._line = line
        # When each held node was held, or last had something end; the longest ago first.
        self._quiet: OrderedDict[Node, float] = OrderedDict()
        # When a node is to be held for a size: due, order, size. An entry whose due is not that of
        # its size, or whose size has a hold or nobody waiting, is of the past.
        self._ages: list[tuple[float, int, Size]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._quiet)

    # -- what happens to sizes

    def began(self, size: Size, now: float) -> None:
        """The first of a size has changed, and it may have no hold of the old one's."""
        if not size.jobs:
            return
        if size.held is None:
            self._expect(size, max(size.first.arrived + AGE, now))

    def outdated(self, size: Size, now: float) -> Node | None:
        """The first of a size was placed elsewhere, or gave up. Gives a node that is free of it."""
        node = size.held
        if node is None or (size.jobs and size.first.arrived + AGE <= now):
            return None
        self._let_go(node)
        return node

    # -- what happens to nodes

    def ended(self, node: Node, now: float) -> None:
        """Something has ended on a held node."""
        self._quiet[node] = now
        self._quiet.move_to_end(node)

    def lost(self, node: Node, now: float) -> None:
        """A held node may be given nothing more: its hold moves. To be said before it is so."""
        size = node.held_for
        assert size is not None
        self._let_go(node)
        self._expect(size, now)

    def served(self, node: Node) -> None:
        """A held node has what it was held for."""
        self._let_go(node)

    # -- time

    def lapse(self, now: float) -> list[Node]:
        """End the holds under which nothing has happened. Gives the nodes, which all may have."""
        lapsed = []
        while self._quiet:
            node, since = next(iter(self._quiet.items()))
            if since + LAPSE > now:
                break
            size = node.held_for
            assert size is not None
            self._let_go(node)
            size.last = node
            self._expect(size, now)
            lapsed.append(node)
        return lapsed

    def grant(self, now: float) -> None:
        """Hold nodes for those that are due, as far as there may be holds."""
        while self._ages and self._room():
            due, _, size = self._ages[0]
            if self._current(due, size):
                if due > now:
                    return
                heapq.heappop(self._ages)
                self._grant(size, now)
            else:
                heapq.heappop(self._ages)

    def deadline(self) -> float | None:
        """When time alone will change something."""
        moments = []
        if self._quiet:
            moments.append(next(iter(self._quiet.values())) + LAPSE)
        while self._ages and not self._current(*self._ages[0][::2]):
            heapq.heappop(self._ages)
        if self._ages and self._room():
            moments.append(self._ages[0][0])
        return min(moments, default=None)

    # -- inside

    def _room(self) -> bool:
        return len(self._quiet) < max(1, self._nodes.present // _SHARE)

    @staticmethod
    def _current(due: float, size: Size) -> bool:
        return bool(size.jobs) and size.held is None and size.due == due

    def _expect(self, size: Size, due: float) -> None:
        size.due = due
        self._count += 1
        heapq.heappush(self._ages, (due, self._count, size))
        # Entries of the past are dropped where they come to the top, which some never do.
        if len(self._ages) > 2 * len(self._line.sizes) + 64:
            self._ages = [entry for entry in self._ages if self._current(entry[0], entry[2])]
            heapq.heapify(self._ages)

    def _grant(self, size: Size, now: float) -> None:
        node = self._choose(size)
        size.last = None
        if node is None:
            self._expect(size, now + AGE)
            return
        size.turns += 1
        size.held = node
        self._nodes.hold(node, size)
        self._quiet[node] = now

    def _choose(self, size: Size) -> Node | None:
        need = size.need
        candidates = list(islice(self._candidates(size), _LOOK))
        if not candidates:
            return None
        if size.turns % 2 == 0:
            return min(candidates, key=lambda node: _lack(node, need))
        size.rotation = (*candidates[0].capacity, candidates[0].order)
        return candidates[0]

    def _candidates(self, size: Size) -> Iterator[Node]:
        """The nodes that may be held for a size, from where the last rotation ended."""
        for node in self._nodes.large_enough(size.need, size.rotation):
            if node.open and node is not size.last:
                yield node
        if size.rotation is None:
            return
        for node in self._nodes.large_enough(size.need, None):
            if (*node.capacity, node.order) > size.rotation:
                return
            if node.open and node is not size.last:
                yield node

    def _let_go(self, node: Node) -> None:
        size = node.held_for
        assert size is not None
        size.held = None
        del self._quiet[node]
        self._nodes.let_go(node)

    def validate(self) -> None:
        """Check that holds, nodes and sizes agree.

        Raises:
            AssertionError: They do not.
        """
        held = {node for node in self._nodes if node.held_for is not None}
        assert set(self._quiet) == held
        assert list(self._quiet.values()) == sorted(self._quiet.values())
        for node in held:
            size = node.held_for
            assert size is not None
            assert size.held is node
            assert size.jobs
            assert self._line.size(size.need) is size
        sizes = self._line.sizes
        assert {size.held for size in sizes if size.held} == held
        expected = {entry[2] for entry in self._ages if self._current(entry[0], entry[2])}
        assert expected == {size for size in sizes if size.held is None}


def _lack(node: Node, need: Amount) -> tuple[float, float]:
    """How much a node lacks of what is needed, as the share of it in the amount it lacks most."""
    mem = (need.mem - node.mem) / need.mem if need.mem else 0.0
    cpu = (need.cpu - node.cpu) / need.cpu if need.cpu else 0.0
    return max(mem, cpu), min(mem, cpu)
