"""The master's scheduler: events in, instructions out, and time is an argument. Pure.

:meth:`Scheduler.handle` takes what happened, :meth:`Scheduler.tick` lets time pass, and
:meth:`Scheduler.deadline` says when it has to be called next. What a request can go through:

=========  =====================================  ==================================================
state      what it means                          inputs
=========  =====================================  ==================================================
(none)     not known                              Requested -> placed, waiting or refused;
                                                  a node's report -> starting, running
waiting    it has no room yet                     room -> placed; a node's report -> starting,
                                                  running; Cancelled, Deadlocked, ProgramEnded ->
                                                  refused; 10 s without Renewed, AskerGone -> (none)
placed     a node's room is its; the node has     Confirmed -> starting; 2 s without -> placed
           not said that it knows                 again, or waiting; and those of starting
starting   the node knows                         Started -> running; Failed, Cancelled,
                                                  ProgramEnded -> refused; Exited -> ended;
                                                  AskerGone -> (none); NodeLost -> placed again,
                                                  or waiting
running    it is a process                        Exited, NodeLost -> ended; Cancelled -> the node
                                                  is told to end it, and till then it has its room
doomed     a node has it that should not, as it   Exited, NodeLost -> (none)
           has reported
ended      its process is over                    none: it is remembered until its asker has said
refused    there is no process                    that it has the answer, or is done or gone, and
                                                  Requested and Renewed are answered as before
=========  =====================================  ==================================================

A request that does not wait (``try_spawn``) is never waiting, but refused.

A repeated message changes nothing and is answered as before. So is one that comes too late: of an
older incarnation of a node, or about a placement that was withdrawn; if a node says that it has
such a one, it is told to end it. What cannot be at all raises
:class:`~constellation_daemons.master.jobs.SchedulerError` and changes nothing: a request repeated
with another content, an answer claimed that was never given, a process with two Pids, a node that
was never there and leaves, time that runs backwards.

**Impossible requests** are refused when they come: those that no node could hold if it were empty,
of those that have joined or are lost. Until the nodes in ``expected`` have joined or 10 s have
passed, or while no node is known, such a request waits, and is judged then: a new master must not
refuse what fits a node that has not reported yet. A request that could be held once is never
refused because its node went away, however long that takes. The node may come back, and whoever
asked can give up at any time, while a refusal cannot be taken back. Status says what it waits for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NoReturn

from constellation_daemons.master import snapshot
from constellation_daemons.master.allocation import Allocation
from constellation_daemons.master.events import (
    AskerBack,
    AskerDone,
    AskerGone,
    Cancelled,
    Confirmed,
    Deadlocked,
    Event,
    Exited,
    Failed,
    NodeJoined,
    NodeLeaving,
    NodeLost,
    ProgramEnded,
    Renewed,
    Requested,
    Started,
    Told,
)
from constellation_daemons.master.instructions import Instruction, Outbox
from constellation_daemons.master.jobs import RUNNING, WAITING, SchedulerError
from constellation_daemons.master.membership import Membership
from constellation_daemons.master.progress import Progress
from constellation_daemons.master.requests import Requests
from constellation_daemons.master.snapshot import ProcessView
from constellation_daemons.master.story import Story
from constellation_daemons.master.values import Amount, RequestId
from constellation_daemons.master.waits import Room

RETURN: Final = 60.0
"""Seconds for which a lost node counts as one that may give room, for deadlocks."""


class Scheduler:
    """Places processes on nodes, and keeps the accounts of their room.

    Args:
        now: The time, in monotonic seconds.
        expected: The names of nodes that will join, as far as is known.
    """

    def __init__(self, now: float, expected: Iterable[str] = ()) -> None:
        self._now = now
        self._out = Outbox()
        self._story = Story()
        self._allocation = Allocation(self._out)
        self._requests = Requests(self._allocation, self._out, frozenset(expected), now)
        self._membership = Membership(self._allocation, self._requests, self._out)
        self._progress = Progress(self._allocation, self._requests, self._membership, self._out)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take in what has happened.

        Args:
            event: What.
            now: When, in monotonic seconds.

        Returns:
            What is to be done, in this order.

        Raises:
            SchedulerError: That cannot have happened. Nothing has changed.
        """
        try:
            if not now >= self._now:
                self._check_time(now)
            self._dispatch(event, now)
        except SchedulerError as error:
            raise SchedulerError(error.what, self.story()) from None
        self._now = now
        self._allocation.settle(now)
        instructions = self._out.take()
        self._story.add((now, event, instructions))
        return instructions

    def tick(self, now: float) -> list[Instruction]:
        """Let time pass. To be called when :meth:`deadline` has come, and whenever else.

        Raises:
            SchedulerError: Time runs backwards. Nothing has changed.
        """
        try:
            self._check_time(now)
        except SchedulerError as error:
            raise SchedulerError(error.what, self.story()) from None
        self._now = now
        self._requests.judge(now)
        for job in self._allocation.late(now):
            self._progress.late(job, now)
        self._requests.expire(now)
        self._allocation.lapse(now)
        self._allocation.settle(now)
        self._allocation.holds.grant(now)
        instructions = self._out.take()
        if instructions:
            self._story.add((now, None, instructions))
        return instructions

    def deadline(self) -> float | None:
        """The moment by which :meth:`tick` is to be called; None while nothing is waited for."""
        moments = (self._allocation.deadline(), self._requests.deadline())
        return min((moment for moment in moments if moment is not None), default=None)

    def snapshot(self) -> snapshot.Snapshot:
        """How the cluster stands. What is published later continues it."""
        allocation = self._allocation
        return snapshot.take(
            self._out.sequence,
            allocation.nodes,
            allocation.line,
            self._requests.programs,
            self._now,
        )

    # -- for the detection of deadlocks

    def room(self, request: RequestId) -> Room | None:
        """What a request waits for, None where it does not wait (any more)."""
        job = self._requests.askers.find(request)
        if job is None or job.state is not WAITING:
            return None
        return Room(request, job.need, job.order)

    def process(self, node: str, request: RequestId) -> tuple[str, Amount] | None:
        """The Pid of the process of a request, and what it was promised; None: none runs there."""
        there = self._allocation.nodes.get(node)
        job = None if there is None or there.lost_at is not None else there.jobs.get(request)
        if job is None or job.state is not RUNNING or job.pid is None:
            return None
        return job.pid, job.need

    @property
    def count(self) -> int:
        """How many processes there are, with those that are being started."""
        return sum(len(node.jobs) for node in self._allocation.nodes)

    def capacities(self, now: float) -> dict[str, Amount]:
        """What the nodes have in all that may give room: those here, and those lost just now.

        One that is lost for more than a minute counts no longer. It may still come back; but if
        that could always be, a cluster with one broken machine would never tell of a deadlock.
        """
        return {
            node.name: node.capacity
            for node in self._allocation.nodes
            if node.present or (node.lost_at is not None and now < node.lost_at + RETURN)
        }

    # -- what has happened

    def processes(self) -> list[ProcessView]:
        """All processes that run."""
        return snapshot.processes(self._allocation.nodes)

    def story(self) -> tuple[str, ...]:
        """What has happened last, a line each."""
        return self._story.lines()

    def events(self) -> list[tuple[float, Event | None]]:
        """The last events and their moments, to be given to another scheduler. None is a tick."""
        return self._story.events()

    def _check_time(self, now: float) -> None:
        if not now >= self._now:
            raise SchedulerError(f"it is {now}, and was {self._now} before; time runs forwards")

    def _dispatch(self, event: Event, now: float) -> None:
        # The frequent ones first: a case costs its share of a placement.
        match event:
            case Requested():
                self._requests.requested(event, now)
            case Confirmed():
                self._progress.confirmed(event)
            case Started():
                self._progress.started(event)
            case Exited():
                self._progress.exited(event, now)
            case Renewed():
                self._requests.renewed(event, now)
            case Cancelled():
                self._requests.cancelled(event, now)
            case Failed():
                self._progress.failed(event, now)
            case NodeJoined():
                self._membership.joined(event, now)
            case NodeLeaving():
                self._membership.leaving(event, now)
            case NodeLost():
                self._membership.lost(event, now)
            case Told():
                self._membership.told(event)
            case Deadlocked():
                self._requests.deadlocked(event, now)
            case AskerGone():
                self._requests.asker_gone(event, now)
                self._membership.unheard(event.asker)
            case AskerDone():
                self._requests.asker_gone(event, now)
            case AskerBack():
                self._membership.unheard(event.asker)
            case ProgramEnded():
                self._requests.program_ended(event, now)
            case _:
                _never(event)

    def validate(self) -> None:
        """Check that all that is known agrees. For tests: it looks at everything.

        Raises:
            AssertionError: It does not.
        """
        self._allocation.validate()
        self._requests.validate()


def _never(event: NoReturn) -> NoReturn:
    raise TypeError(f"{event!r} is no event")
