"""The accounts: what each node has, what is promised of it, and which of them can be given more."""

from __future__ import annotations

from collections.abc import Iterator, ValuesView
from typing import TYPE_CHECKING

from constellation_daemons.master.jobs import Job
from constellation_daemons.master.placement import FitIndex
from constellation_daemons.master.values import Amount, RequestId

if TYPE_CHECKING:
    from constellation_daemons.master.waiting import Size


class Node:
    """A machine that has joined, or is lost and may come back."""

    __slots__ = (
        "capacity",
        "cpu",
        "held_for",
        "incarnation",
        "jobs",
        "leaving",
        "lost_at",
        "mem",
        "name",
        "order",
    )

    def __init__(self, name: str, incarnation: int, capacity: Amount, order: int) -> None:
        self.name = name
        self.incarnation = incarnation
        self.capacity = capacity
        self.order = order  # of all nodes, which joined first
        # What is free. Less than nothing where its capacity is now lower than what it runs.
        self.mem, self.cpu = capacity
        # All that takes room here, by :attr:`Job.key`.
        self.jobs: dict[RequestId | tuple[RequestId, int], Job] = {}
        self.leaving = False
        self.lost_at: float | None = None
        self.held_for: Size | None = None

    @property
    def free(self) -> Amount:
        """What nobody was promised."""
        return Amount(self.mem, self.cpu)

    @property
    def present(self) -> bool:
        """Whether it may be given processes, now or later."""
        return self.lost_at is None and not self.leaving

    @property
    def open(self) -> bool:
        """Whether any request may have its room."""
        return self.lost_at is None and not self.leaving and self.held_for is None

    def __repr__(self) -> str:
        return f"Node({self.name}, incarnation {self.incarnation}, {len(self.jobs)} jobs)"


class Nodes:
    """All nodes, found by what they have.

    A node is *present* while it may be given processes, and *open* while it may be given any: not
    while it is held for one size of request.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._order = 0
        self._free: FitIndex[Node] = FitIndex()  # of the open ones, what is free
        self._present: FitIndex[Node] = FitIndex()  # of the present ones, their capacities
        self._lost: FitIndex[Node] = FitIndex()  # of the lost ones, their capacities

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    @property
    def all(self) -> ValuesView[Node]:
        """All of them, lost ones as well."""
        return self._nodes.values()

    @property
    def present(self) -> int:
        """How many are present."""
        return len(self._present)

    @property
    def any_known(self) -> bool:
        """Whether there is any that is present, or lost; those that leave are gone already."""
        return len(self._present) + len(self._lost) > 0

    def get(self, name: str) -> Node | None:
        """The node of this name."""
        return self._nodes.get(name)

    # -- coming and going

    def join(self, name: str, incarnation: int, capacity: Amount) -> Node:
        """A node is there, empty. One of the same name has to be lost before."""
        old = self._nodes.get(name)
        if old is not None:
            assert old.lost_at is not None
            self.forget(old)
        self._order += 1
        node = self._nodes[name] = Node(name, incarnation, capacity, self._order)
        self._present.add(*capacity, node.order, node)
        self._free.add(*capacity, node.order, node)
        return node

    def lose(self, node: Node, now: float) -> list[Job]:
        """A node is lost, with all that is there. Gives that."""
        self._absent(node)
        node.lost_at = now
        node.leaving = False
        self._lost.add(*node.capacity, node.order, node)
        jobs = list(node.jobs.values())
        node.jobs.clear()
        node.mem, node.cpu = node.capacity
        return jobs

    def leave(self, node: Node) -> None:
        """A node is to be given nothing new."""
        self._absent(node)
        node.leaving = True

    def stay(self, node: Node) -> None:
        """A node that was leaving may be given something again."""
        assert node.leaving
        node.leaving = False
        self._present.add(*node.capacity, node.order, node)
        self._free.add(node.mem, node.cpu, node.order, node)

    def forget(self, node: Node) -> None:
        """A node is gone for good, or in this incarnation."""
        self._absent(node)
        if node.lost_at is not None:
            self._lost.remove(*node.capacity, node.order)
        del self._nodes[node.name]

    def _absent(self, node: Node) -> None:
        if node.open:
            self._free.remove(node.mem, node.cpu, node.order)
        if node.present:
            self._present.remove(*node.capacity, node.order)
        node.held_for = None

    # -- the accounts

    def take(self, node: Node, job: Job) -> None:
        """Promise a job its room, which is there, or is used already."""
        key = job.key
        assert key not in node.jobs
        node.jobs[key] = job
        job.node = node
        self._change(node, -job.need.mem, -job.need.cpu)

    def give_back(self, node: Node, job: Job) -> None:
        """A job no longer takes room."""
        del node.jobs[job.key]
        self._change(node, job.need.mem, job.need.cpu)

    def _change(self, node: Node, mem: int, cpu: int) -> None:
        if node.open:
            self._free.remove(node.mem, node.cpu, node.order)
            node.mem += mem
            node.cpu += cpu
            self._free.add(node.mem, node.cpu, node.order, node)
        else:
            node.mem += mem
            node.cpu += cpu

    def hold(self, node: Node, size: Size) -> None:
        """Keep what a node has for one size."""
        assert node.open
        self._free.remove(node.mem, node.cpu, node.order)
        node.held_for = size

    def let_go(self, node: Node) -> None:
        """Let anything have what a node has."""
        assert node.present
        assert node.held_for is not None
        node.held_for = None
        self._free.add(node.mem, node.cpu, node.order, node)

    # -- finding

    def tightest(self, need: Amount) -> Node | None:
        """The open node with the least room that is enough."""
        return self._free.find(need.mem, need.cpu)

    def fits_present(self, need: Amount) -> bool:
        """Whether a node that is present could hold this if it were empty."""
        return self._present.find(need.mem, need.cpu) is not None

    def fits_any(self, need: Amount) -> bool:
        """The same, counting the lost ones, which may come back."""
        return self.fits_present(need) or self._lost.find(need.mem, need.cpu) is not None

    def large_enough(self, need: Amount, after: tuple[int, int, int] | None) -> Iterator[Node]:
        """The present nodes that could hold this if they were empty, after a place in the order."""
        return self._present.after(need.mem, need.cpu, after)

    def nearest(self, need: Amount) -> tuple[Node, str]:
        """The node to name where none could hold this, and what it is; there are nodes."""
        indexes = [index for index in (self._present, self._lost) if index]
        roomiest = max(filter(None, (index.most_mem() for index in indexes)), key=_by_mem)
        fastest = max(filter(None, (index.most_cpu() for index in indexes)), key=_by_cpu)
        if roomiest.capacity.mem < need.mem:
            return roomiest, "the node with the most memory"
        if fastest.capacity.cpu < need.cpu:
            return fastest, "the node with the most cores"
        return roomiest, "none has both, and the node with the most memory"

    def validate(self) -> None:
        """Check the accounts against what is there, and what is found against the accounts.

        Raises:
            AssertionError: They do not agree.
        """
        for index in (self._free, self._present, self._lost):
            index.validate()
        assert set(self._free) == {node for node in self if node.open}
        assert set(self._present) == {node for node in self if node.present}
        assert set(self._lost) == {node for node in self if node.lost_at is not None}
        for name, node in self._nodes.items():
            assert name == node.name
            used = [job.need for job in node.jobs.values()]
            assert node.mem == node.capacity.mem - sum(need.mem for need in used)
            assert node.cpu == node.capacity.cpu - sum(need.cpu for need in used)
            assert all(job.node is node for job in node.jobs.values())
            assert all(job.key == key for key, job in node.jobs.items())
            assert node.lost_at is None or not node.jobs
            assert node.held_for is None or node.present


def _by_mem(node: Node) -> tuple[int, int]:
    return node.capacity.mem, node.capacity.cpu


def _by_cpu(node: Node) -> tuple[int, int]:
    return node.capacity.cpu, node.capacity.mem
