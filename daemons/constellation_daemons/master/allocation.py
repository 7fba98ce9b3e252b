"""Who gets which room: the moves between waiting and placed, and what each of them sets off.

Between two events this always holds: no request that waits would fit an open node, and none of a
size would fit the node held for it. So a new request only has to look for a node, and a node of
which room has become free only has to look for requests. Whatever frees room puts the node among
the *vacant* ones, and :meth:`Allocation.settle` fills them at the end of the event.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from constellation.control.messages import Status
from constellation_daemons.master.holds import Holds
from constellation_daemons.master.instructions import (
    Outbox,
    Place,
    Queue,
    Release,
    Topic,
    Withdraw,
)
from constellation_daemons.master.jobs import DOOMED, PLACED, STARTING, Job, State
from constellation_daemons.master.nodes import Node, Nodes
from constellation_daemons.master.waiting import Line, Size

CONFIRM: Final = 2.0
"""Seconds that a node has to confirm a placement."""


class Allocation:
    """The nodes, the requests that wait for them, and the room of those that have some."""

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self.nodes = Nodes()
        self.line = Line()
        self.holds = Holds(self.nodes, self.line)
        self._unconfirmed: OrderedDict[Job, float] = OrderedDict()  # when placed, the first first
        self._vacant: list[Node] = []

    # -- jobs

    def place(self, job: Job, now: float) -> bool:
        """Place a job where it fits most tightly. Gives whether there is such a place."""
        size = self.line.size(job.need)
        if size is not None and size.first.order < job.order:
            return False  # it is not its turn; and who is before it does not fit either
        node = self.nodes.tightest(job.need)
        if node is None:
            return False
        self._place(job, node, now)
        return True

    def wait(self, job: Job, now: float) -> Size:
        """Let a job wait."""
        size = self.line.add(job, now)
        if size.first is job:
            self.holds.began(size, now)
        self.tell_waiting(job)
        return size

    def tell_waiting(self, job: Job) -> None:
        """Tell the asker of a job that it waits."""
        self._out.put(Queue(job.request, not self.nodes.fits_present(job.need)))

    def tell_placed(self, job: Job) -> None:
        """Tell the asker of a job where it is placed."""
        node = job.node
        assert node is not None
        self._out.put(
            Place(job.request, job.attempt, job.program, job.need, node.name, node.incarnation)
        )

    def unwait(self, job: Job, now: float) -> None:
        """A job waits no longer, for whatever reason."""
        size = self.line.remove(job)
        if not size.jobs or size.first.order > job.order:
            node = self.holds.outdated(size, now)
            if node is not None:
                self._vacant.append(node)
            self.holds.began(size, now)

    def confirmed(self, job: Job) -> None:
        """The node of a job has it. It is on its way, or has started."""
        self._unconfirmed.pop(job, None)
        job.state = STARTING

    def adopt(self, job: Job, node: Node, attempt: int, state: State = STARTING) -> None:
        """A node has a job already, as it says."""
        job.state = state
        job.attempt = attempt
        job.attempts = max(job.attempts, attempt)
        self.nodes.take(node, job)

    def free(self, job: Job, now: float) -> None:
        """A job takes no room any more."""
        node = job.node
        assert node is not None
        self._unconfirmed.pop(job, None)
        self.nodes.give_back(node, job)
        if node.leaving:
            self.release_if_empty(node)
            return
        if node.held_for is not None:
            self.holds.ended(node, now)
        self._vacant.append(node)

    def withdraw(self, job: Job) -> None:
        """Tell the node of a job that it is not to have it."""
        node = job.node
        assert node is not None
        self._out.put(Withdraw(node.name, node.incarnation, job.request, job.attempt))

    # -- nodes

    def vacant(self, node: Node) -> None:
        """A node may have room that waiting requests can have."""
        self._vacant.append(node)

    def lose(self, node: Node, now: float) -> list[Job]:
        """A node is lost. Gives what was there, which is nowhere now."""
        if node.held_for is not None:
            self.holds.lost(node, now)
        jobs = self.nodes.lose(node, now)
        for job in jobs:
            self._unconfirmed.pop(job, None)
        return jobs

    def leave(self, node: Node, now: float) -> None:
        """A node takes nothing new, and goes when it has nothing."""
        if node.held_for is not None:
            self.holds.lost(node, now)
        self.nodes.leave(node)
        self._out.publish(Topic.NODE_LEAVING, node.name)
        self.release_if_empty(node)

    def release_if_empty(self, node: Node) -> None:
        """Let a leaving node go that has nothing left."""
        if not node.jobs:
            self.nodes.forget(node)
            self._out.put(Release(node.name, node.incarnation))
            self._out.publish(Topic.NODE_LEFT, node.name)

    # -- time

    def late(self, now: float) -> list[Job]:
        """The jobs whose nodes should have confirmed them by now."""
        late = []
        for job, since in self._unconfirmed.items():
            if since + CONFIRM > now:
                break
            late.append(job)
        return late

    def lapse(self, now: float) -> None:
        """End the holds under which nothing happens."""
        self._vacant += self.holds.lapse(now)

    def settle(self, now: float) -> None:
        """Give what has become free to those who wait."""
        vacant = self._vacant
        while vacant:
            node = vacant.pop()
            if self.line.sizes:
                self._fill(node, now)

    def deadline(self) -> float | None:
        """When time alone will change something."""
        moments = [self.line.deadline(), self.holds.deadline()]
        if self._unconfirmed:
            moments.append(next(iter(self._unconfirmed.values())) + CONFIRM)
        return min((moment for moment in moments if moment is not None), default=None)

    # -- inside

    def _place(self, job: Job, node: Node, now: float) -> None:
        old = node.jobs.get(job.request)
        if old is not None:
            self._supersede(old, job, node)
        job.state = PLACED
        job.attempt = job.attempts = job.attempts + 1
        self.nodes.take(node, job)
        self._unconfirmed[job] = now
        self.tell_placed(job)

    def _supersede(self, old: Job, job: Job, node: Node) -> None:
        """A job comes to where a process of the same name runs, which nobody remembers.

        That can only be if its asker was gone, and asks again; or is known to two nodes.
        """
        status = Status(lost="superseded")
        self._out.publish(Topic.PROCESS_EXITED, node.name, old.program, old.pid, status)
        self.withdraw(old)
        del node.jobs[old.key]
        old.state = DOOMED
        node.jobs[old.key] = old
        job.attempts = max(job.attempts, old.attempt)

    def _fill(self, node: Node, now: float) -> None:
        if node.held_for is not None:
            size = node.held_for
            if not size.need.fits(node.free):
                return
            self.holds.served(node)
            self._place_first(size, node, now)
        while node.open:
            fitting = self.line.largest(node.mem, node.cpu)
            if fitting is None:
                return
            self._place_first(fitting, node, now)

    def _place_first(self, size: Size, node: Node, now: float) -> None:
        job = size.first
        self.unwait(job, now)
        self._place(job, node, now)

    def validate(self) -> None:
        """Check all of it.

        Raises:
            AssertionError: Something does not agree, or a request waits that need not.
        """
        self.nodes.validate()
        self.line.validate()
        self.holds.validate()
        assert not self._vacant
        jobs = [job for node in self.nodes for job in node.jobs.values()]
        assert {job for job in jobs if job.state is PLACED} == set(self._unconfirmed)
        assert list(self._unconfirmed.values()) == sorted(self._unconfirmed.values())
        for size in self.line.sizes:
            assert self.nodes.tightest(size.need) is None
            assert size.held is None or not size.need.fits(size.held.free)
