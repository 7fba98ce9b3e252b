"""What nodes say of what was placed on them. See the table in ``scheduler.py``."""

from __future__ import annotations

from constellation_daemons.master.allocation import Allocation
from constellation_daemons.master.events import Confirmed, Exited, Failed, OfProcess, Started
from constellation_daemons.master.instructions import JoinFirst, Outbox, Withdraw
from constellation_daemons.master.jobs import DOOMED, PLACED, RUNNING, Job, SchedulerError
from constellation_daemons.master.membership import Membership
from constellation_daemons.master.requests import Requests


class Progress:
    """What becomes of placed jobs, as their nodes tell it."""

    def __init__(
        self, allocation: Allocation, requests: Requests, membership: Membership, out: Outbox
    ) -> None:
        self._allocation = allocation
        self._nodes = allocation.nodes
        self._requests = requests
        self._membership = membership
        self._out = out

    def confirmed(self, event: Confirmed) -> None:
        """A node has received a placement."""
        job = self._wanted(event)
        if job is not None and job.state is PLACED:
            self._allocation.confirmed(job)

    def started(self, event: Started) -> None:
        """A process has come into being."""
        job = self._wanted(event)
        if job is None:
            return
        if job.state is not RUNNING:
            self._allocation.confirmed(job)
            self._requests.running(job, event.pid)
        elif job.pid != event.pid:
            raise SchedulerError(
                f"node {event.node} says that {event.request} started as {event.pid}, and has said "
                f"that it is {job.pid}; a request becomes one process"
            )

    def failed(self, event: Failed, now: float) -> None:
        """A process could not be started."""
        job = self._current(event)
        if job is None:
            return
        if job.state is RUNNING:
            raise SchedulerError(
                f"node {event.node} says that {event.request} could not be started, and has said "
                f"that it is {job.pid}; what has started exits"
            )
        self._allocation.free(job, now)
        if job.state is not DOOMED:
            self._requests.failed(job, event.text)

    def exited(self, event: Exited, now: float) -> None:
        """A process has ended, or what was withdrawn is gone."""
        job = self._current(event)
        if job is not None:
            self._membership.ended(job, event.status, now)

    def late(self, job: Job, now: float) -> None:
        """A node has not confirmed a placement in time: it is to be forgotten there."""
        self._allocation.withdraw(job)
        self._allocation.free(job, now)
        self._requests.again(job, now)

    def _current(self, event: OfProcess) -> Job | None:
        """The job that a node speaks of, None where it is in the accounts no more."""
        node = self._nodes.get(event.node)
        if node is None or node.lost_at is not None or node.incarnation < event.incarnation:
            self._out.put(JoinFirst(event.node, event.incarnation))
            return None
        if node.incarnation > event.incarnation:
            return None
        job = node.jobs.get(event.request)
        if job is not None and job.attempt == event.attempt:
            return job
        return node.jobs.get((event.request, event.attempt))  # a doomed one

    def _wanted(self, event: Confirmed | Started) -> Job | None:
        """The same. What a node has and should not have, it is told to end."""
        job = self._current(event)
        if job is not None and job.state is not DOOMED:
            return job
        node = self._nodes.get(event.node)
        if node is not None and node.lost_at is None and node.incarnation == event.incarnation:
            self._out.put(Withdraw(event.node, event.incarnation, event.request, event.attempt))
        return None
