"""Nodes that come, come back and go. See the table in ``scheduler.py``.

=========  ================================  =======================================================
a node is  what it means                     inputs
=========  ================================  =======================================================
(unknown)  it has never joined, or left      NodeJoined -> joined
joined     it may be given processes         NodeJoined in the same incarnation: its report is
                                             compared with the accounts; in a later one: it is lost
                                             first; NodeLeaving -> leaving; NodeLost -> lost
leaving    it ends what it has               its last job's end -> unknown; NodeJoined -> joined;
                                             NodeLost -> lost
lost       what it had counts as ended       NodeJoined -> joined, or it is fenced and stays lost
=========  ================================  =======================================================

Messages of an incarnation older than the one that is known are dropped.

**Fencing.** When a node is lost, the programs that had processes there are told, and believe it
from then on. If the node was only cut off and comes back, those processes still run. They must not
be taken for living again, so the node is not admitted before it has ended them. What was told to a
program may have been told by another master than this one; the program's bridge says so (``Told``).
It says so too if it was lost itself and comes back, so nothing is fenced for one that is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from constellation.control.messages import Status
from constellation_daemons.master.allocation import Allocation
from constellation_daemons.master.events import NodeJoined, NodeLeaving, NodeLost, Report, Told
from constellation_daemons.master.instructions import (
    Admit,
    Fence,
    Lost,
    Outbox,
    Topic,
    Withdraw,
)
from constellation_daemons.master.jobs import (
    DOOMED,
    PLACED,
    RUNNING,
    WAITING,
    Job,
    SchedulerError,
)
from constellation_daemons.master.nodes import Node
from constellation_daemons.master.requests import Requests
from constellation_daemons.master.values import RequestId

_MOST_REPORTED: Final = 2**62  # billionths of a core; the index takes less than 2**63


@dataclass(slots=True)
class _Wall:
    """The programs that were told that an incarnation of a node is lost, and whom it was told."""

    incarnation: int
    programs: dict[str, str] = field(default_factory=dict)


class Membership:
    """Which nodes there are."""

    def __init__(self, allocation: Allocation, requests: Requests, out: Outbox) -> None:
        self._allocation = allocation
        self._nodes = allocation.nodes
        self._requests = requests
        self._out = out
        self._walls: dict[str, _Wall] = {}  # of nodes that have not joined since

    # -- joining

    def joined(self, event: NodeJoined, now: float) -> None:
        """A node offers its room, and says what it has."""
        node = self._nodes.get(event.node)
        if node is not None and event.incarnation < node.incarnation:
            return
        self._check(event, node)
        if self._fenced(event):
            return
        if node is not None and node.lost_at is None:
            if event.incarnation == node.incarnation:
                self._joined_again(node, event, now)
                return
            self._lose(node, now)
        node = self._nodes.join(event.node, event.incarnation, event.capacity)
        self._walls.pop(event.node, None)
        self._out.put(Admit(event.node, event.incarnation))
        self._out.publish(Topic.NODE_JOINED, event.node)
        self._take_in(node, event, now)

    def _joined_again(self, node: Node, event: NodeJoined, now: float) -> None:
        """A node repeats that it has joined: it knows best what it has, but for what is new."""
        self._out.put(Admit(node.name, node.incarnation))
        reported = {report.request for report in event.reports}
        attempts = {(report.request, report.attempt) for report in event.reports}
        gone = [
            job
            for job in node.jobs.values()
            if job.state is not PLACED
            and job.key not in (attempts if job.state is DOOMED else reported)
        ]
        if node.leaving:
            self._nodes.stay(node)
            self._out.publish(Topic.NODE_JOINED, node.name)
        for job in gone:
            self.ended(job, Status(), now)
        self._take_in(node, event, now)

    def _take_in(self, node: Node, event: NodeJoined, now: float) -> None:
        for report in event.reports:
            self._adopt(node, report, now)
        self._requests.node_joined(node.name, now)
        self._allocation.vacant(node)

    def _adopt(self, node: Node, report: Report, now: float) -> None:
        """A node says that it has a process."""
        job = node.jobs.get((report.request, report.attempt)) or node.jobs.get(report.request)
        if job is None:
            job = self._known(node, report, now)
        elif report.attempt < job.attempt:
            self._out.put(Withdraw(node.name, node.incarnation, report.request, report.attempt))
            return
        elif job.state is PLACED:
            self._allocation.confirmed(job)
        if job.state is DOOMED:
            self._allocation.withdraw(job)
            return
        job.attempt = report.attempt
        job.attempts = max(job.attempts, report.attempt)
        if job.state is not RUNNING and report.pid is not None:
            self._requests.running(job, report.pid)

    def _known(self, node: Node, report: Report, now: float) -> Job:
        """Take what a node has into the accounts."""
        request = report.request
        job = self._requests.askers.find(request)
        if job is None:
            job = self._requests.new(request, report.program, report.need, True, now)
            self._allocation.adopt(job, node, report.attempt)
        elif job.state is WAITING:
            self._allocation.unwait(job, now)
            self._allocation.adopt(job, node, report.attempt)
            self._allocation.tell_placed(job)
        else:
            # It is placed elsewhere, or over. It takes room all the same until it is ended.
            job.attempts = max(job.attempts, report.attempt)
            job = Job(request, report.program, report.need, True, 0, now)
            self._allocation.adopt(job, node, report.attempt, DOOMED)
        return job

    def _check(self, event: NodeJoined, node: Node | None) -> None:
        who = f"node {event.node}"
        if not event.capacity.possible:
            raise SchedulerError(f"{who} offers {event.capacity}, which no machine has")
        if (
            node is not None
            and node.lost_at is None
            and node.incarnation == event.incarnation
            and node.capacity != event.capacity
        ):
            raise SchedulerError(
                f"{who} offers {event.capacity}, and has offered {node.capacity} before; to change "
                "that it has to join in a new incarnation"
            )
        total = sum(report.need.cpu for report in event.reports)
        if total > _MOST_REPORTED:
            raise SchedulerError(f"{who} reports {total / 10**9:g} cores, which no machine has")
        seen: set[RequestId] = set()
        for report in event.reports:
            if report.request in seen:
                raise SchedulerError(f"{who} reports {report.request} twice")
            seen.add(report.request)
            if not report.need.possible or report.attempt < 1:
                raise SchedulerError(
                    f"{who} reports {report.request} with a need of {report.need}, which has to be "
                    f"possible, and attempt {report.attempt}, which counts from 1"
                )
            job = self._requests.askers.find(report.request)
            if job is None and node is not None and node.incarnation == event.incarnation:
                job = node.jobs.get(report.request)
            known = job is not None and job.program and (job.program, job.need)
            if job is not None and known and known != (report.program, report.need):
                raise SchedulerError(
                    f"{who} reports {report.request} with {report.need} of program "
                    f"{report.program}; it was placed with {job.need} of {job.program}"
                )

    # -- fences

    def _fenced(self, event: NodeJoined) -> bool:
        """Whether a node has to end something before it may join."""
        wall = self._walls.get(event.node)
        if wall is None or wall.incarnation != event.incarnation:
            return False
        programs = {report.program for report in event.reports} & wall.programs.keys()
        if programs:
            self._out.put(Fence(event.node, event.incarnation, tuple(sorted(programs))))
        return bool(programs)

    def told(self, event: Told) -> None:
        """A program believes that a node is lost."""
        node = self._nodes.get(event.node)
        if node is not None and node.incarnation > event.incarnation:
            return  # what it ran then was ended when it started anew
        if node is None or node.lost_at is not None or node.incarnation < event.incarnation:
            self._build(event.node, event.incarnation, event.program, "")
        elif any(job.program == event.program for job in node.jobs.values()):
            self._out.put(Fence(node.name, node.incarnation, (event.program,)))

    def unheard(self, name: str) -> None:
        """An asker is gone, or was, and may not have heard what it was told last.

        If it comes back, it says what it believes. Until then its programs are not ended: it may be
        this master that was cut off, and not a node.
        """
        for wall in self._walls.values():
            for program in [each for each, asker in wall.programs.items() if asker == name]:
                del wall.programs[program]

    def _build(self, node: str, incarnation: int, program: str, asker: str) -> None:
        wall = self._walls.get(node)
        if wall is None or wall.incarnation < incarnation:
            wall = self._walls[node] = _Wall(incarnation)
        if wall.incarnation == incarnation:
            wall.programs[program] = asker

    # -- going

    def leaving(self, event: NodeLeaving, now: float) -> None:
        """A node is to be given nothing new."""
        node = self._find(event.node, event.incarnation)
        if node is None or node.leaving:
            return
        if node.lost_at is not None:
            # It is not coming back, and nothing is left there that anybody counts on.
            self._nodes.forget(node)
            self._out.publish(Topic.NODE_LEFT, node.name)
        else:
            self._allocation.leave(node, now)

    def lost(self, event: NodeLost, now: float) -> None:
        """A node has not been heard of for too long."""
        node = self._find(event.node, event.incarnation)
        if node is not None and node.lost_at is None:
            self._lose(node, now)

    def _find(self, name: str, incarnation: int) -> Node | None:
        """The node, None if what is said is of an older incarnation of it."""
        node = self._nodes.get(name)
        if node is None or node.incarnation < incarnation:
            known = "is not known" if node is None else f"is known in {node.incarnation}"
            raise SchedulerError(
                f"node {name} {known}, so it cannot go in its incarnation {incarnation}"
            )
        return node if node.incarnation == incarnation else None

    def _lose(self, node: Node, now: float) -> None:
        self._out.publish(Topic.NODE_LOST, node.name)
        jobs = self._allocation.lose(node, now)
        numbers: dict[str, list[int]] = {}
        status = Status(lost=f"node {node.name}")
        for job in jobs:
            if job.state is RUNNING:
                numbers.setdefault(job.request.asker, []).append(job.request.number)
                if job.request.asker in self._requests.askers:
                    self._build(node.name, node.incarnation, job.program, job.request.asker)
                self._requests.ended(job, status)
        for asker, of_asker in numbers.items():
            self._out.put(Lost(asker, node.name, node.incarnation, tuple(of_asker)))
        for job in sorted(jobs, key=lambda job: job.order):
            if job.unstarted:
                self._requests.again(job, now)

    def ended(self, job: Job, status: Status, now: float) -> None:
        """What a node had of a job is gone."""
        if job.state is not DOOMED:
            self._requests.ended(job, status)
        self._allocation.free(job, now)
