"""The requests that wait: found by what fits, each size in the order in which they came.

Requests that need the same wait in one line, its *size*, and only the first of a line can be next.
So what has to be searched when room comes is the sizes, and they are in an index of their own: the
cost is O(log sizes), however many requests wait.

**Which size is next.** The largest that fits the room: the one with the most memory, of those with
the most the one with the most cores. That is best fit seen from the other side: small requests find
room in many places, large ones in few. The oldest that fits would be the obvious choice, but it
cannot be found without looking at every size that fits, and would let small ones break up each
large hole that comes. What is passed over for long is helped by a hold (see ``holds.py``).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, ValuesView
from typing import TYPE_CHECKING, Final

from constellation_daemons.master.jobs import WAITING, Job
from constellation_daemons.master.placement import FitIndex
from constellation_daemons.master.values import Amount

if TYPE_CHECKING:
    from constellation_daemons.master.nodes import Node

PATIENCE: Final = 10.0
"""Seconds without a renewal after which a request is dropped."""


class Size:
    """A line of requests that need the same."""

    __slots__ = ("due", "held", "jobs", "last", "need", "order", "possible", "rotation", "turns")

    def __init__(self, need: Amount, order: int) -> None:
        self.need = need
        self.order = order
        # By their order, the first first. An OrderedDict and no dict: to find the first of a dict
        # takes time for each that was removed before it.
        self.jobs: OrderedDict[int, Job] = OrderedDict()
        self.possible = False  # some node could hold it, when that was asked last
        # Of holds, see there.
        self.held: Node | None = None
        self.due = 0.0
        self.last: Node | None = None
        self.rotation: tuple[int, int, int] | None = None
        self.turns = 0

    @property
    def first(self) -> Job:
        """Whose turn it is."""
        return next(iter(self.jobs.values()))

    def __repr__(self) -> str:
        return f"Size({self.need}, {len(self.jobs)} waiting)"


class Line:
    """All requests that wait."""

    def __init__(self) -> None:
        self._sizes: dict[Amount, Size] = {}
        # By what they need, negated: "the least memory that is at least -m" is the most memory that
        # is at most m.
        self._index: FitIndex[Size] = FitIndex()
        self._renewed: OrderedDict[Job, float] = (
            OrderedDict()
        )  # when each was, the longest ago first
        self._order = 0

    def __len__(self) -> int:
        return len(self._renewed)

    def __iter__(self) -> Iterator[Job]:
        """Each of them, the one not renewed for longest first."""
        return iter(self._renewed)

    @property
    def sizes(self) -> ValuesView[Size]:
        """The lines, in no order."""
        return self._sizes.values()

    def size(self, need: Amount) -> Size | None:
        """The line of those that need this, where any wait."""
        return self._sizes.get(need)

    def add(self, job: Job, now: float) -> Size:
        """A job waits from now on. One that has been placed before goes to its old place."""
        size = self._sizes.get(job.need)
        if size is None:
            self._order += 1
            size = self._sizes[job.need] = Size(job.need, self._order)
            self._index.add(-job.need.mem, -job.need.cpu, size.order, size)
        _insert(size.jobs, job)
        job.state = WAITING
        self._renewed[job] = now
        return size

    def remove(self, job: Job) -> Size:
        """A job no longer waits. Gives the line that it was in, which may be empty now."""
        del self._renewed[job]
        size = self._sizes[job.need]
        del size.jobs[job.order]
        if not size.jobs:
            del self._sizes[job.need]
            self._index.remove(-job.need.mem, -job.need.cpu, size.order)
        return size

    def renew(self, job: Job, now: float) -> None:
        """The asker of a job still wants it."""
        self._renewed[job] = now
        self._renewed.move_to_end(job)

    def largest(self, mem: int, cpu: int) -> Size | None:
        """The largest size that fits so much room."""
        return self._index.find(-mem, -cpu)

    def expired(self, now: float) -> list[Job]:
        """Those whose askers have not renewed them."""
        late = []
        for job, renewed in self._renewed.items():
            if renewed + PATIENCE > now:
                break
            late.append(job)
        return late

    def deadline(self) -> float | None:
        """When the next one will be expired."""
        return next(iter(self._renewed.values())) + PATIENCE if self._renewed else None

    def validate(self) -> None:
        """Check that all views of the line agree.

        Raises:
            AssertionError: They do not.
        """
        self._index.validate()
        assert {size.need: size for size in self._index} == self._sizes
        assert len(self._index) == len(self._sizes)
        jobs = [job for size in self._sizes.values() for job in size.jobs.values()]
        assert len(jobs) == len(self._renewed)
        assert set(jobs) == set(self._renewed)
        assert list(self._renewed.values()) == sorted(self._renewed.values())
        for size in self._sizes.values():
            assert size.jobs
            assert list(size.jobs) == sorted(size.jobs)
            for order, job in size.jobs.items():
                assert (order, size.need, WAITING) == (job.order, job.need, job.state)


def _insert(jobs: OrderedDict[int, Job], job: Job) -> None:
    """Put a job where its order says: at the end, or near the beginning if it was placed before."""
    order = job.order
    if not jobs or order > next(reversed(jobs)):
        jobs[order] = job
        return
    before = []
    for other in jobs:
        if other > order:
            break
        before.append(other)
    jobs[order] = job
    jobs.move_to_end(order, last=False)
    for other in reversed(before):
        jobs.move_to_end(other, last=False)
