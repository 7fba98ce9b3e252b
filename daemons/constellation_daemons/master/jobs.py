"""Requests, and who asks for what.

A request becomes a :class:`Job` and is that until its process has ended. It is known in two places:
with its asker, by its number, as long as the asker might repeat it, so that it is answered and not
done again; and with its node, as long as it takes room there.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from constellation_daemons.master.instructions import Refuse
from constellation_daemons.master.values import Amount, RequestId

if TYPE_CHECKING:
    from constellation_daemons.master.nodes import Node


class SchedulerError(Exception):
    """An input that cannot be: an error in whoever sent it. It has changed nothing.

    Attributes:
        what: What is wrong with it, and what would be right.
        story: What came before it, the latest last, a line each.
    """

    def __init__(self, what: str, story: tuple[str, ...] = ()) -> None:
        super().__init__(what, story)
        self.what = what
        self.story = story

    def __str__(self) -> str:
        return self.what


class State(enum.Enum):
    """Where a job is in its life. The table at the top of ``scheduler.py`` has the steps."""

    WAITING = "waiting"
    PLACED = "placed"
    STARTING = "starting"
    RUNNING = "running"
    DOOMED = "doomed"
    ENDED = "ended"
    REFUSED = "refused"


# As constants of the module: reading a member of an enum through its class takes longer.
WAITING = State.WAITING
PLACED = State.PLACED
STARTING = State.STARTING
RUNNING = State.RUNNING
DOOMED = State.DOOMED
ENDED = State.ENDED
REFUSED = State.REFUSED


class Job:
    """A request and what has become of it."""

    __slots__ = (
        "arrived",
        "attempt",
        "attempts",
        "need",
        "node",
        "order",
        "pid",
        "program",
        "refusal",
        "request",
        "state",
        "wait",
    )

    def __init__(
        self,
        request: RequestId,
        program: str,
        need: Amount,
        wait: bool,
        order: int,
        arrived: float,
    ) -> None:
        self.request = request
        self.program = program
        self.need = need
        self.wait = wait
        self.order = order  # of all jobs, which came first
        self.arrived = arrived
        self.state = WAITING
        self.attempt = 0
        self.attempts = 0  # the largest that is known of
        self.node: Node | None = None  # where it takes room, or took it last
        self.pid: str | None = None
        self.refusal: Refuse | None = None

    @property
    def key(self) -> RequestId | tuple[RequestId, int]:
        """By what its node knows it: a doomed one must not be in the way of a later attempt."""
        return (self.request, self.attempt) if self.state is DOOMED else self.request

    @property
    def unstarted(self) -> bool:
        """Whether it has room, and no process yet."""
        return self.state is PLACED or self.state is STARTING

    def __repr__(self) -> str:
        return f"Job({self.request}, {self.state.value}, attempt {self.attempt})"


@dataclass(slots=True, eq=False)
class Asker:
    """Who asks.

    Attributes:
        answered: Requests with a number below this are forgotten.
        jobs: Those that are not, by number; and unstarted ones, whatever their number.
    """

    answered: int = 0
    jobs: dict[int, Job] = field(default_factory=dict)


class Askers:
    """All who ask, and what is remembered for them."""

    def __init__(self) -> None:
        self._askers: dict[str, Asker] = {}

    def __len__(self) -> int:
        return len(self._askers)

    def __iter__(self) -> Iterator[tuple[str, Asker]]:
        return iter(self._askers.items())

    def find(self, request: RequestId) -> Job | None:
        """The job of a request, where it is remembered."""
        asker = self._askers.get(request.asker)
        return None if asker is None else asker.jobs.get(request.number)

    def forgotten(self, request: RequestId) -> bool:
        """Whether the asker has said that it will never ask for this again."""
        asker = self._askers.get(request.asker)
        return asker is not None and request.number < asker.answered

    def add(self, job: Job) -> None:
        """Remember a job."""
        asker = self._askers.get(job.request.asker)
        if asker is None:
            asker = self._askers[job.request.asker] = Asker()
        asker.jobs[job.request.number] = job

    def drop(self, job: Job) -> None:
        """Forget a job, as if it had never been asked for."""
        asker = self._askers[job.request.asker]
        del asker.jobs[job.request.number]

    def settled(self, job: Job) -> None:
        """A job has started or is over: forget it, if its asker will not ask for it again."""
        asker = self._askers.get(job.request.asker)
        number = job.request.number
        # Another node may since have reported another job under the same name.
        if asker is not None and number < asker.answered and asker.jobs.get(number) is job:
            del asker.jobs[number]

    def gone(self, name: str) -> list[Job]:
        """Forget an asker. Gives what was remembered for it."""
        asker = self._askers.pop(name, None)
        return [] if asker is None else list(asker.jobs.values())

    def check_answered(self, name: str, answered: int) -> list[Job]:
        """Check what an asker says that it has the answers of. Gives what there is to forget.

        Raises:
            SchedulerError: One of them waits, and so has no answer.
        """
        asker = self._askers.get(name)
        if asker is None or answered <= asker.answered:
            return []
        jobs = _below(asker, answered)
        for job in jobs:
            if job.state is WAITING:
                raise SchedulerError(
                    f"{name} says that it has the answers of all requests below {answered}, but "
                    f"{job.request} waits; to give one up, cancel it"
                )
        return jobs

    def set_answered(self, name: str, answered: int, jobs: list[Job]) -> None:
        """Forget what an asker has the answers of, but for what may be placed anew.

        Args:
            name: The asker.
            answered: What it says.
            jobs: What :meth:`check_answered` gave of that.
        """
        asker = self._askers.get(name)
        if asker is None:
            asker = self._askers[name] = Asker()
        if answered > asker.answered:
            asker.answered = answered
            for job in jobs:
                if not job.unstarted:
                    del asker.jobs[job.request.number]


def _below(asker: Asker, answered: int) -> list[Job]:
    """What is remembered with a number below the new mark, and not below the old one."""
    jobs = asker.jobs
    if answered - asker.answered <= len(jobs):
        numbers = range(asker.answered, answered)
        return [jobs[number] for number in numbers if number in jobs]
    # A client may jump as far as it likes; that costs no more than there is.
    return [job for number, job in jobs.items() if asker.answered <= number < answered]
