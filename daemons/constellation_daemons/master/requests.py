"""What askers say: requests, and the end of them. See the table in ``scheduler.py``."""

from __future__ import annotations

from typing import Final

from constellation.control.messages import Status
from constellation_daemons.master.allocation import Allocation
from constellation_daemons.master.events import (
    AskerDone,
    AskerGone,
    Cancelled,
    Deadlocked,
    ProgramEnded,
    Renewed,
    Requested,
)
from constellation_daemons.master.instructions import AskAgain, Outbox, Refuse, Topic, Why
from constellation_daemons.master.jobs import (
    ENDED,
    REFUSED,
    RUNNING,
    WAITING,
    Askers,
    Job,
    SchedulerError,
)
from constellation_daemons.master.values import NOTHING, Amount, RequestId

SETTLE: Final = 10.0
"""Seconds that a new master waits for the nodes that it expects, before it refuses for ever."""


class Requests:
    """The requests of all askers, and the programs that they are for."""

    def __init__(
        self, allocation: Allocation, out: Outbox, expected: frozenset[str], now: float
    ) -> None:
        self._allocation = allocation
        self._out = out
        self._expected = set(expected)  # nodes that have not joined yet
        self._settle_at: float | None = now + SETTLE if expected else None
        self._unjudged = False  # something waits that may be impossible
        self._orders = 0
        self.askers = Askers()
        # What each program has that waits or was not started yet.
        self.programs: dict[str, dict[Job, None]] = {}

    # -- what askers say

    def requested(self, event: Requested, now: float) -> None:
        """A request, new or repeated."""
        request = event.request
        job = self._checked(event)
        answered = self.askers.check_answered(request.asker, event.answered)
        if self._settle_at is not None:
            self.judge(now)
        if job is not None:
            self.askers.set_answered(request.asker, event.answered, answered)
            self._repeat(job, now)
        elif not self.askers.forgotten(request):
            self.askers.set_answered(request.asker, event.answered, answered)
            self._begin(self.new(request, event.program, event.need, event.wait, now), now)

    def renewed(self, event: Renewed, now: float) -> None:
        """A request still waits, says its asker."""
        job = self.askers.find(event.request)
        if job is not None:
            self._repeat(job, now)
        elif not self.askers.forgotten(event.request):
            self._out.put(AskAgain(event.request))

    def cancelled(self, event: Cancelled, now: float) -> None:
        """A request is no longer wanted."""
        request = event.request
        _check_number(request)
        job = self.askers.find(request)
        if job is None:
            if not self.askers.forgotten(request):
                # A copy of the request may still be on its way: it must not be done.
                job = Job(request, "", NOTHING, False, self._next(), now)
                self.askers.add(job)
                self._refuse(job, Why.CANCELLED)
        elif job.state is RUNNING:
            self._allocation.withdraw(job)
        elif job.state is not ENDED and job.state is not REFUSED:
            self._stop(job, now)
            self._refuse(job, Why.CANCELLED)
        elif job.state is REFUSED:
            self._repeat(job, now)
        # The answer to one that is over would have its node start it again.

    def deadlocked(self, event: Deadlocked, now: float) -> None:
        """A request that waits has to give way. It may just have been placed: then all is well."""
        job = self.askers.find(event.request)
        if job is not None and job.state is WAITING:
            self._stop(job, now)
            self._refuse(job, Why.DEADLOCK, event.text)

    def asker_gone(self, event: AskerGone | AskerDone, now: float) -> None:
        """Nobody is left to have what was asked for. What runs is ended by others, and exits."""
        for job in self.askers.gone(event.asker):
            if job.state is WAITING or job.unstarted:
                self._stop(job, now)
                self._undo(job)

    def program_ended(self, event: ProgramEnded, now: float) -> None:
        """Nothing more is to be started for a program."""
        jobs = self.programs.get(event.program)
        if jobs is None and not event.unheard:
            return
        for job in list(jobs or ()):
            self._stop(job, now)
            self._refuse(job, Why.ENDED)
        self.programs.pop(event.program, None)
        self._out.publish(Topic.PROGRAM_ENDED, program=event.program)

    # -- what becomes of jobs

    def new(self, request: RequestId, program: str, need: Amount, wait: bool, now: float) -> Job:
        """Make and remember a job."""
        jobs = self.programs.get(program)
        if jobs is None:
            jobs = self.programs[program] = {}
            self._out.publish(Topic.PROGRAM_STARTED, program=program)
        job = Job(request, program, need, wait, self._next(), now)
        jobs[job] = None
        self.askers.add(job)
        return job

    def running(self, job: Job, pid: str) -> None:
        """A job has become a process."""
        job.state = RUNNING
        job.pid = pid
        self._undo(job)
        self.askers.settled(job)
        self._tell_all(Topic.PROCESS_SPAWNED, job)

    def ended(self, job: Job, status: Status) -> None:
        """The process of a job is over, and takes no room any more."""
        if job.state is RUNNING:
            self._tell_all(Topic.PROCESS_EXITED, job, status)
        self._undo(job)
        job.state = ENDED
        self.askers.settled(job)

    def failed(self, job: Job, text: str) -> None:
        """A job could not be started, and takes no room any more."""
        self._refuse(job, Why.FAILED, text)

    def again(self, job: Job, now: float) -> None:
        """A job has lost its place before it was started."""
        if self._allocation.place(job, now):
            return
        if job.wait:
            self._allocation.wait(job, now).possible = True
        else:
            self._refuse(job, Why.NOT_NOW)

    # -- time, and nodes

    def expire(self, now: float) -> None:
        """Drop what was not renewed."""
        for job in self._allocation.line.expired(now):
            self._stop(job, now)
            self._undo(job)
            self.askers.drop(job)

    def node_joined(self, name: str, now: float) -> None:
        """A node has joined, after which requests may be impossible that were not known to be."""
        self._expected.discard(name)
        self.judge(now)

    def judge(self, now: float) -> None:
        """Refuse what waits and can never be placed, once that is known."""
        if not self._knows(now) or not self._unjudged:
            return
        self._unjudged = False
        nodes = self._allocation.nodes
        for size in list(self._allocation.line.sizes):
            if size.possible:
                continue
            size.possible = nodes.fits_any(size.need)
            if not size.possible:
                for job in list(size.jobs.values()):
                    self._stop(job, now)
                    self._refuse(job, Why.NEVER)

    def deadline(self) -> float | None:
        """When the waiting for expected nodes is over."""
        return self._settle_at

    def validate(self) -> None:
        """Check that askers, programs, nodes and the line know the same jobs.

        Raises:
            AssertionError: They do not.
        """
        line = set(self._allocation.line)
        on_nodes = {job for node in self._allocation.nodes for job in node.jobs.values()}
        unstarted = {job for job in on_nodes if job.unstarted}
        remembered = set()
        for name, asker in self.askers:
            for number, job in asker.jobs.items():
                assert (name, number) == job.request
                assert number >= asker.answered or job.state is WAITING or job.unstarted
                remembered.add(job)
        assert {job for job in remembered if job.state is WAITING} == line
        assert {job for job in remembered if job.unstarted} == unstarted
        assert {job for jobs in self.programs.values() for job in jobs} == line | unstarted
        for job in remembered - on_nodes - line:
            assert job.state is ENDED or job.refusal is not None

    # -- inside

    def _next(self) -> int:
        self._orders += 1
        return self._orders

    def _checked(self, event: Requested) -> Job | None:
        """Check a request. Gives the job that it repeats."""
        request, need = event.request, event.need
        _check_number(request)
        if not event.program:
            raise SchedulerError(f"{request} is for a program without a name")
        if not need.possible:
            raise SchedulerError(f"{request} needs {need}, which no process can")
        if event.answered > request.number:
            raise SchedulerError(
                f"{request} says that all requests below {event.answered} are answered, itself "
                f"among them; that may be at most {request.number}"
            )
        job = self.askers.find(request)
        # One that was cancelled before it came has no content yet.
        if job is not None and job.program:
            told = (job.program, job.need, job.wait)
            if told != (event.program, need, event.wait):
                raise SchedulerError(
                    f"{request} is repeated with another content: it was for {job.need} of program "
                    f"{job.program}, and now is for {need} of {event.program}; another request "
                    "needs another number"
                )
        return job

    def _begin(self, job: Job, now: float) -> None:
        if self._allocation.place(job, now):
            return
        nodes = self._allocation.nodes
        known = self._knows(now)
        if known and not nodes.fits_any(job.need):
            self._refuse(job, Why.NEVER)
        elif job.wait:
            size = self._allocation.wait(job, now)
            size.possible = size.possible or known
            self._unjudged = self._unjudged or not size.possible
        else:
            self._refuse(job, Why.NOT_NOW)

    def _knows(self, now: float) -> bool:
        """Whether it is known which nodes there are, and there are some."""
        if self._settle_at is not None and (now >= self._settle_at or not self._expected):
            self._settle_at = None
        return self._settle_at is None and self._allocation.nodes.any_known

    def _repeat(self, job: Job, now: float) -> None:
        """Answer what was answered before."""
        if job.state is WAITING:
            self._allocation.line.renew(job, now)
            self._allocation.tell_waiting(job)
        elif job.refusal is not None:
            self._out.put(job.refusal)
        else:
            self._allocation.tell_placed(job)

    def _stop(self, job: Job, now: float) -> None:
        """Take a job out of the line, or from its node, which is told so."""
        if job.state is WAITING:
            self._allocation.unwait(job, now)
        else:
            self._allocation.withdraw(job)
            self._allocation.free(job, now)

    def _undo(self, job: Job) -> None:
        """A job is none of those any more that its program waits for."""
        jobs = self.programs.get(job.program)
        if jobs is not None:
            jobs.pop(job, None)

    def _tell_all(self, topic: Topic, job: Job, status: Status | None = None) -> None:
        assert job.node is not None
        self._out.publish(topic, job.node.name, job.program, job.pid, status)

    def _refuse(self, job: Job, why: Why, text: str = "") -> None:
        self._undo(job)
        job.state = REFUSED
        job.refusal = refusal = self._refusal(job, why, text)
        self._out.put(refusal)
        self.askers.settled(job)

    def _refusal(self, job: Job, why: Why, text: str) -> Refuse:
        if why is not Why.NEVER:
            return Refuse(job.request, why, text or _TEXTS[why].format(job.need.shown))
        node, most = self._allocation.nodes.nearest(job.need)
        need, capacity = job.need.shown, node.capacity.shown
        if need == capacity:  # as rounded as that
            need, capacity = str(job.need), str(node.capacity)
        text = (
            f"no node could ever hold a process that needs {need}: {most} is {node.name}, "
            f"which has {capacity} in all"
        )
        return Refuse(job.request, why, text, node.name, node.capacity)


def _check_number(request: RequestId) -> None:
    if request.number < 1:
        raise SchedulerError(f"{request}: the number of a request is 1 or larger")


_TEXTS: Final = {
    Why.NOT_NOW: "no node has room now for a process that needs {}",
    Why.DEADLOCK: "everything that could make room for {} waits for room itself",
    Why.FAILED: "the process could not be started",
    Why.CANCELLED: "the request was cancelled",
    Why.ENDED: "the program has ended",
}
