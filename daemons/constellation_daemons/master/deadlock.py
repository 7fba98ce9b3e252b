"""Finding out that processes wait for room that only they themselves could make. Pure.

**What is stuck.** A process is stuck if every thread of it that is no daemon is in an operation
without a timeout that only stuck processes could complete, and nothing that it sent is still on its
way. An operation is completed

- by room, if some node would have enough when everything there had ended that is not stuck;
- by a process (a value of it, its taking one, or its end), if that process is not stuck.

What is meant is the largest set of which this is true. It is found by taking all processes that say
that they are blocked for stuck, and dropping those of which it is not true until none is left to
drop. Each process is dropped once and looked at once for each of its waits, so the cost is that of
reading the reports.

**Why one may believe it.** Reports are of different moments, and what is stuck in a picture put
together from them need never have been so at one moment. Therefore it has to hold twice. Say that
of a set of processes, each was found stuck at a moment T or before, and has reported again 1 s
after T or later with the same count of progress. Then each was blocked without a break from before
T until after it, so all of them were at T. If nobody outside the set could free any of them, nobody
can from then on: what is stuck stays so. And since all that they had sent was received by then,
nothing was on its way to any of them; the second is for what was received and not yet taken.

Everything less certain is no deadlock: a process that does not report, or not again; a wait with a
timeout; a node that might come back (the caller says which nodes count).

**Who gives way.** Of the spawns that wait for room in stuck processes, the youngest. It raises, and
its process goes on: what it does then may make room, and it has done the least of all since. If
not, the next is found a second later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from constellation_daemons.master.chain import explain
from constellation_daemons.master.stuck import find_stuck, rooms
from constellation_daemons.master.values import Amount, RequestId
from constellation_daemons.master.waits import Blocked

CONFIRM: Final = 1.0
"""Seconds after which each process has to say again that it is blocked as before."""
_MOMENTS: Final = 5  # that are tried; who has reported at all does so each second


@dataclass(frozen=True, slots=True)
class Victim:
    """A spawn that has to give way.

    Attributes:
        request: The request that waits in the scheduler.
        pid: The process that has asked for it.
        text: Who waits for whom, for the error.
    """

    request: RequestId
    pid: str
    text: str


@dataclass(slots=True)
class _Seen:
    """What is known of a blocked process."""

    report: Blocked
    reported: float  # when it came last
    suspected: float | None = None  # since when it is stuck with this count of progress


class Detector:
    """The processes that say that they are blocked."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._moments: deque[float] = deque(maxlen=_MOMENTS)  # of the last checks

    def __len__(self) -> int:
        return len(self._seen)

    def blocked(self, report: Blocked, now: float) -> None:
        """A process does nothing but wait.

        Raises:
            ValueError: It has no thread that waits.
        """
        if not report.threads:
            raise ValueError(f"{report.pid} says that it is blocked, and names no thread that is")
        seen = self._seen.get(report.pid)
        if seen is not None and seen.report == report:
            seen.reported = now
        else:
            self._seen[report.pid] = _Seen(report, now)

    def busy(self, pid: str) -> None:
        """A process is not blocked any more, or is gone."""
        self._seen.pop(pid, None)

    def check(self, capacities: Mapping[str, Amount], now: float) -> Victim | None:
        """Look for a deadlock. To be called about once a second while processes are blocked.

        Args:
            capacities: What each node that may give room has in all.
            now: The time, in monotonic seconds.

        Returns:
            The spawn that has to give way, None where nothing is certain.
        """
        stuck = find_stuck((seen.report for seen in self._seen.values()), capacities)
        for pid, seen in self._seen.items():
            if pid not in stuck:
                seen.suspected = None
            elif seen.suspected is None:
                seen.suspected = now
        moments = list(self._moments)
        self._moments.append(now)
        if not any(True for report in stuck.values() for _ in rooms(report)):
            return None
        for moment in reversed(moments):
            victim = self._victim(moment, capacities)
            if victim is not None:
                # It goes on now. If it does not, it will say so.
                del self._seen[victim.pid]
                return victim
        return None

    def _victim(self, moment: float, capacities: Mapping[str, Amount]) -> Victim | None:
        """The youngest spawn among those that were certainly stuck at a moment."""
        certain = [
            seen.report
            for seen in self._seen.values()
            if seen.suspected is not None
            and seen.suspected <= moment
            and seen.reported >= moment + CONFIRM
        ]
        stuck = find_stuck(certain, capacities)
        waiting = [(room, report.pid) for report in stuck.values() for room in rooms(report)]
        if not waiting:
            return None
        room, pid = max(waiting, key=lambda each: each[0].order)
        return Victim(room.request, pid, explain(room, pid, stuck, capacities))
