"""Any events in any order, most of what never was: errors change nothing, all else agrees."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule
from scheduler_model import CheckedMachine

from constellation_daemons.master.events import (
    AskerBack,
    AskerDone,
    AskerGone,
    Cancelled,
    Confirmed,
    Deadlocked,
    Exited,
    Failed,
    NodeJoined,
    NodeLeaving,
    NodeLost,
    ProgramEnded,
    Renewed,
    Report,
    Requested,
    Started,
    Told,
)
from constellation_daemons.master.jobs import SchedulerError
from constellation_daemons.master.values import Amount, RequestId

PROGRAMS = st.sampled_from(["p", "q"])
NODES = st.sampled_from(["n1", "n2", "n3"])
INCARNATIONS = st.sampled_from([1, 1, 1, 2, 2, 3])
REQUESTS = st.builds(RequestId, st.sampled_from(["a", "b"]), st.integers(1, 9))
NEEDS = st.sampled_from([Amount(1, 1), Amount(2, 1), Amount(1, 2), Amount(3, 4), Amount(6, 1)])
CAPACITIES = st.sampled_from([Amount(4, 4), Amount(4, 8), Amount(8, 4)])
PAUSES = st.sampled_from([0.0, 0.0, 0.0, 0.5, 2.0, 3.0, 10.0])
RARELY = st.integers(0, 9).map(lambda number: number == 0)


class AnyEventMachine(CheckedMachine):
    # -- events

    @rule(request=REQUESTS, program=PROGRAMS, need=NEEDS, wait=st.booleans(), pause=PAUSES)
    def ask(self, request: RequestId, program: str, need: Amount, wait: bool, pause: float) -> None:
        self.say(Requested(request, program, need, wait), pause)

    @rule(data=st.data(), answered=st.integers(-1, 12))
    def ask_again(self, data: st.DataObject, answered: int) -> None:
        if self.model.asked:
            event = data.draw(st.sampled_from(sorted(self.model.asked.values(), key=repr)))
            self.say(Requested(event.request, event.program, event.need, event.wait, answered), 0.0)

    @rule(request=REQUESTS, pause=PAUSES)
    def renew(self, request: RequestId, pause: float) -> None:
        self.say(Renewed(request), pause)

    @rule()
    def renew_all(self) -> None:
        for request in sorted(self.model.waiting):
            self.say(Renewed(request), 0.0)

    @rule(request=REQUESTS)
    def cancel(self, request: RequestId) -> None:
        self.say(Cancelled(request), 0.0)

    @rule(request=REQUESTS)
    def deadlock(self, request: RequestId) -> None:
        self.say(Deadlocked(request, "who waits for whom"), 0.0)

    @rule(asker=st.sampled_from(["a", "b"]), rarely=RARELY)
    def lose_asker(self, asker: str, rarely: bool) -> None:
        if rarely:
            self.say(AskerGone(asker), 0.0)
        else:
            self.say(AskerBack(asker), 0.0)

    @rule(asker=st.sampled_from(["a", "b"]), rarely=RARELY)
    def end_asker(self, asker: str, rarely: bool) -> None:
        if rarely:
            self.say(AskerDone(asker), 0.0)

    @rule(program=PROGRAMS, rarely=RARELY)
    def end_program(self, program: str, rarely: bool) -> None:
        if rarely:
            self.say(ProgramEnded(program), 0.0)

    @rule(program=PROGRAMS, node=NODES, incarnation=INCARNATIONS)
    def tell(self, program: str, node: str, incarnation: int) -> None:
        self.say(Told(program, node, incarnation), 0.0)

    @rule(
        node=NODES,
        incarnation=INCARNATIONS,
        capacity=CAPACITIES,
        reports=st.lists(
            st.builds(
                Report,
                REQUESTS,
                st.integers(1, 3),
                PROGRAMS,
                NEEDS,
                st.sampled_from([None, "11", "22"]),
            ),
            max_size=3,
        ),
        empty=st.booleans(),
    )
    def join(
        self,
        node: str,
        incarnation: int,
        capacity: Amount,
        reports: list[Report],
        empty: bool,
    ) -> None:
        self.say(NodeJoined(node, incarnation, capacity, () if empty else tuple(reports)), 0.0)

    @rule(data=st.data(), node=NODES, lossy=st.booleans())
    def join_again(self, data: st.DataObject, node: str, lossy: bool) -> None:
        """A node reports the truth, or what is left of it."""
        view = self.view(node)
        if view is None:
            return
        reports = []
        for (name, request, _), entry in self.model.entries.items():
            if name == node and not (lossy and data.draw(st.booleans())):
                attempt, program = entry.attempt, entry.program
                reports.append(Report(request, attempt, program, entry.need, entry.pid))
        self.say(NodeJoined(node, view.incarnation, view.capacity, tuple(reports)), 0.0)

    @rule(node=NODES, incarnation=INCARNATIONS, leaving=st.booleans())
    def lose(self, node: str, incarnation: int, leaving: bool) -> None:
        self.say((NodeLeaving if leaving else NodeLost)(node, incarnation), 0.0)

    @rule(
        kind=st.sampled_from([Confirmed, Started, Failed, Exited]),
        node=NODES,
        incarnation=INCARNATIONS,
        request=REQUESTS,
        attempt=st.integers(1, 3),
    )
    def anything_of_a_process(
        self, kind: Any, node: str, incarnation: int, request: RequestId, attempt: int
    ) -> None:
        extra = {Confirmed: (), Started: ("33",), Failed: ("broken",), Exited: ()}[kind]
        self.say(kind(node, incarnation, request, attempt, *extra), 0.0)

    @rule(data=st.data(), kind=st.sampled_from([Confirmed, Started, Failed, Exited]), pause=PAUSES)
    def something_of_a_process(self, data: st.DataObject, kind: Any, pause: float) -> None:
        if self.model.entries:
            key = data.draw(st.sampled_from(sorted(self.model.entries)))
            node, request, attempt = key
            extra = {Confirmed: (), Started: ("44",), Failed: ("broken",), Exited: ()}[kind]
            view = self.view(node)
            assert view is not None
            self.say(kind(node, view.incarnation, request, attempt, *extra), pause)

    @rule(pause=PAUSES)
    def let_time_pass(self, pause: float) -> None:
        self.pass_time(pause)

    @rule(pause=st.floats(0.1, 5))
    def turn_time_back(self, pause: float) -> None:
        before = self.state()
        try:
            self.scheduler.tick(self.now - pause)
        except SchedulerError as error:
            assert "time runs forwards" in str(error)
        else:
            raise AssertionError("time ran backwards")
        assert self.state() == before


TestAnyEvent = AnyEventMachine.TestCase
TestAnyEvent.settings = settings(max_examples=50, stateful_step_count=50)
