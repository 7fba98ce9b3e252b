"""The largest set of processes that only members of it could free. See ``deadlock.py``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from constellation_daemons.master.placement import FitIndex
from constellation_daemons.master.values import NOTHING, Amount
from constellation_daemons.master.waits import AllOf, AnyOf, Blocked, Room, Values, Wait, Window


def find_stuck(reports: Iterable[Blocked], capacities: Mapping[str, Amount]) -> dict[str, Blocked]:
    """Those of the processes that are stuck, if what they report holds at one moment.

    Args:
        reports: One for each process that does nothing but wait.
        capacities: What each node that may give room has in all.
    """
    search = _Search(reports, capacities)
    search.run()
    return search.stuck


def leaves(wait: Wait) -> Iterator[Room | Values | Window]:
    """What a wait is made of."""
    if isinstance(wait, AnyOf | AllOf):
        for part in wait.waits:
            yield from leaves(part)
    else:
        yield wait


def rooms(report: Blocked) -> Iterator[Room]:
    """The spawns among what a process waits for."""
    for thread in report.threads:
        for leaf in leaves(thread):
            if isinstance(leaf, Room):
                yield leaf


class _Search:
    """Begins with all, and drops those that something from outside could free."""

    def __init__(self, reports: Iterable[Blocked], capacities: Mapping[str, Amount]) -> None:
        # What was sent and not received may free anybody.
        self.stuck = {report.pid: report for report in reports if report.received}
        self._waiters: dict[str, list[str]] = {}  # of each process, who waits for it
        self._askers: dict[Amount, list[str]] = {}  # of each need, who waits for room for it
        self._unmet: FitIndex[Amount] = FitIndex()  # the needs that no node could meet, negated
        # What each node would have if everything had ended there that is not stuck.
        self._free = dict(capacities)
        self._left = list(self.stuck)  # those to look at
        for report in self.stuck.values():
            self._enter(report)
        for number, need in enumerate(self._askers):
            self._unmet.add(-need.mem, -need.cpu, number, need)
        self._numbers = {need: number for number, need in enumerate(self._askers)}
        for node in self._free:
            self._meet(node)

    def run(self) -> None:
        """Drop until there is none to drop."""
        while self._left:
            report = self.stuck.get(self._left.pop())
            if report is not None and any(self._possible(wait) for wait in report.threads):
                self._drop(report)

    def _enter(self, report: Blocked) -> None:
        self._change(report.node, NOTHING.minus(report.room))
        for thread in report.threads:
            for leaf in leaves(thread):
                if isinstance(leaf, Room):
                    self._askers.setdefault(leaf.need, []).append(report.pid)
                else:
                    self._waiters.setdefault(leaf.pid, []).append(report.pid)

    def _drop(self, report: Blocked) -> None:
        del self.stuck[report.pid]
        self._left += self._waiters.get(report.pid, ())
        self._change(report.node, report.room)
        self._meet(report.node)

    def _change(self, node: str, room: Amount) -> None:
        if node in self._free:
            self._free[node] = self._free[node].plus(room)

    def _meet(self, node: str) -> None:
        """A node may now have enough for some: whoever waits for that is to be looked at."""
        free = self._free.get(node)
        while free is not None and (need := self._unmet.find(-free.mem, -free.cpu)) is not None:
            self._unmet.remove(-need.mem, -need.cpu, self._numbers.pop(need))
            self._left += self._askers[need]

    def _possible(self, wait: Wait) -> bool:
        """Whether something that is not stuck could complete this."""
        match wait:
            case Values(pid=pid) | Window(pid=pid):
                return pid not in self.stuck
            case Room(need=need):
                return need not in self._numbers
            case AnyOf(waits=waits):
                return any(self._possible(part) for part in waits)
            case AllOf(waits=waits):
                return all(self._possible(part) for part in waits)
