"""A scheduler that is checked at each step against a model of what it may do.

The model keeps the accounts by what it reads in events and instructions, without any of the
scheduler's means. It knows when a reservation may be returned, who may be next, and what was
answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from constellation_daemons.master.events import (
    AskerDone,
    AskerGone,
    Cancelled,
    Confirmed,
    Event,
    Exited,
    Failed,
    NodeJoined,
    NodeLost,
    ProgramEnded,
    Renewed,
    Requested,
    Started,
)
from constellation_daemons.master.instructions import (
    Admit,
    AskAgain,
    Instruction,
    Place,
    Publish,
    Queue,
    Refuse,
    Release,
    Why,
    Withdraw,
)
from constellation_daemons.master.jobs import SchedulerError, State
from constellation_daemons.master.scheduler import Scheduler
from constellation_daemons.master.snapshot import NodeView
from constellation_daemons.master.values import NOTHING, Amount, RequestId


@dataclass
class Entry:
    """What takes room on a node."""

    attempt: int
    need: Amount
    program: str
    state: State
    since: float
    pid: str | None = None


@dataclass
class Model:
    """What is known without looking into the scheduler."""

    entries: dict[tuple[str, RequestId, int], Entry] = field(default_factory=dict)
    asked: dict[RequestId, Requested] = field(default_factory=dict)
    order: dict[RequestId, int] = field(default_factory=dict)
    answers: dict[RequestId, Instruction] = field(default_factory=dict)
    waiting: dict[RequestId, float] = field(default_factory=dict)  # when last renewed
    overfull: set[str] = field(default_factory=set)  # by their own reports

    def used(self, node: str) -> Amount:
        total = NOTHING
        for (name, *_), entry in self.entries.items():
            if name == node:
                total = total.plus(entry.need)
        return total

    def live(self, node: str, request: RequestId) -> Entry | None:
        """What a node has of a request and may have."""
        for (name, other, _), entry in self.entries.items():
            if (name, other) == (node, request) and entry.state is not State.DOOMED:
                return entry
        return None

    def drop_node(self, node: str) -> None:
        for key in [key for key in self.entries if key[0] == node]:
            del self.entries[key]


class CheckedMachine(RuleBasedStateMachine):
    """The base of machines that let things happen to a scheduler."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.scheduler = Scheduler(self.now)
        self.model = Model()
        self.counter = 0
        self.sequence = 0

    # -- the step

    def say(self, event: Event, pause: float = 0.0) -> list[Instruction] | None:
        """Something happens. Gives what is to be done, None where it cannot have happened."""
        before = self.state()
        views = self.views()
        try:
            instructions = self.scheduler.handle(event, self.now + pause)
        except SchedulerError as error:
            assert error.story == self.scheduler.story()
            assert self.state() == before, "an error that changed something"
            return None
        self.now += pause
        self.check(event, instructions, views)
        return instructions

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.check(None, self.scheduler.tick(self.now), self.views())

    def check(
        self, event: Event | None, instructions: list[Instruction], views: dict[str, NodeView]
    ) -> None:
        model = self.model
        if isinstance(event, Requested) and event.request not in model.asked:
            self.counter += 1
            model.order[event.request] = self.counter
            model.asked[event.request] = event
        self.before(event, instructions, views)
        for instruction in instructions:
            self.one(event, instruction, views)
        self.after(event, instructions)
        self.scheduler.validate()
        self.compare()

    def before(
        self, event: Event | None, instructions: list[Instruction], views: dict[str, NodeView]
    ) -> None:
        """What an event says of itself, before anything that follows from it."""
        model = self.model
        now = self.now
        match event:
            case None:
                self.drop_late()
            case Renewed(request=request) | Requested(request=request):
                if request in model.waiting:
                    model.waiting[request] = now
            case AskerGone(asker=asker) | AskerDone(asker=asker):
                for request in [each for each in model.answers if each.asker == asker]:
                    model.waiting.pop(request, None)
                    model.answers.pop(request)
                    model.asked.pop(request, None)
            case Confirmed() | Started() | Failed() | Exited():
                self.progress(event, views)
            case NodeLost(node=name, incarnation=incarnation):
                if views[name].incarnation == incarnation:
                    model.drop_node(name)
            case NodeJoined() if any(isinstance(each, Admit) for each in instructions):
                self.joined(event, instructions, views)

    def drop_late(self) -> None:
        """What was not renewed is forgotten."""
        model = self.model
        for request, since in list(model.waiting.items()):
            if since + 10 <= self.now:
                del model.waiting[request]
                del model.answers[request]
                del model.asked[request]
                del model.order[request]

    def progress(
        self, event: Confirmed | Started | Failed | Exited, views: dict[str, NodeView]
    ) -> None:
        key = (event.node, event.request, event.attempt)
        entry = self.model.entries.get(key)
        view = views.get(event.node)
        if entry is None or view is None or view.incarnation != event.incarnation:
            return
        if isinstance(event, Failed | Exited):
            del self.model.entries[key]
        elif entry.state is not State.DOOMED:
            if isinstance(event, Started):
                entry.state, entry.pid = State.RUNNING, event.pid
            elif entry.state is State.PLACED:
                entry.state = State.STARTING

    def joined(
        self, event: NodeJoined, instructions: list[Instruction], views: dict[str, NodeView]
    ) -> None:
        model = self.model
        view = views.get(event.node)
        if view is None or view.state == "lost" or view.incarnation < event.incarnation:
            model.drop_node(event.node)
        reported = {report.request for report in event.reports}
        attempts = {(report.request, report.attempt) for report in event.reports}
        for (node, request, attempt), entry in list(model.entries.items()):
            if entry.state is State.DOOMED:
                gone = (request, attempt) not in attempts
            else:
                gone = entry.state is not State.PLACED and request not in reported
            if node == event.node and gone:
                del model.entries[node, request, attempt]
        for report in event.reports:
            key = (event.node, report.request, report.attempt)
            if key in model.entries and model.entries[key].state is State.DOOMED:
                continue
            known = model.live(event.node, report.request)
            if known is not None and report.attempt < known.attempt:
                continue
            if known is not None:
                del model.entries[event.node, report.request, known.attempt]
            state = State.STARTING if report.pid is None else State.RUNNING
            doomed = Withdraw(event.node, event.incarnation, report.request, report.attempt)
            if doomed in instructions:
                state = State.DOOMED
            elif known is not None and known.state is State.RUNNING:
                state = State.RUNNING
            model.entries[key] = Entry(
                report.attempt, report.need, report.program, state, self.now, report.pid
            )
            if state is not State.DOOMED and known is None:
                if report.request not in model.waiting:
                    self.counter += 1
                    model.order[report.request] = self.counter
                request, need = report.request, report.need
                model.asked[request] = Requested(request, report.program, need)
                model.waiting.pop(request, None)
                model.answers[request] = Place(
                    request, report.attempt, report.program, need, event.node, event.incarnation
                )
        used = model.used(event.node)
        if not used.fits(event.capacity):
            model.overfull.add(event.node)

    def one(
        self, event: Event | None, instruction: Instruction, views: dict[str, NodeView]
    ) -> None:
        """What an instruction means."""
        model = self.model
        match instruction:
            case Place():
                self.place(event, instruction, views)
                model.waiting.pop(instruction.request, None)
                model.answers[instruction.request] = instruction
            case Queue(request=request):
                model.waiting.setdefault(request, self.now)
                model.answers[request] = instruction
            case Refuse(request=request, why=why):
                known = model.answers.get(request)
                if isinstance(known, Refuse):
                    assert known == instruction
                else:
                    self.refuse(request, why)
                model.waiting.pop(request, None)
                model.answers[request] = instruction
            case Withdraw():
                self.withdraw(event, instruction)
            case Release(node=node):
                assert not [key for key in model.entries if key[0] == node]
            case Publish(sequence=sequence):
                self.sequence += 1
                assert sequence == self.sequence
            case AskAgain(request=request):
                assert isinstance(event, Renewed)
                assert request not in model.answers

    def place(self, event: Event | None, place: Place, views: dict[str, NodeView]) -> None:
        model = self.model
        key = (place.node, place.request, place.attempt)
        known = model.live(place.node, place.request)
        answer = model.answers.get(place.request)
        if known is not None and known.attempt == place.attempt:
            return  # it is answered again, or the node has reported it
        if isinstance(answer, Place) and answer == place:
            assert isinstance(event, Requested | Renewed)
            return  # its process is over
        if known is not None:  # it takes the place of one of the same name
            assert known.state is State.RUNNING
            assert known.attempt < place.attempt
            known.state = State.DOOMED
        # It is placed: in turn, where there is room, and where that is least.
        older = [
            request
            for request in model.waiting
            if model.asked[request].need == place.need
            and model.order[request] < model.order[place.request]
        ]
        assert not older
        model.entries[key] = Entry(place.attempt, place.need, place.program, State.PLACED, self.now)
        view = self.view(place.node)
        assert view is not None
        assert view.state == "joined"
        assert model.used(place.node).fits(view.capacity), "over capacity"
        if isinstance(event, Requested) and event.request == place.request:
            rooms = [
                view.free
                for view in views.values()
                if view.state == "joined" and view.held_for is None and place.need.fits(view.free)
            ]
            assert views[place.node].free == min(rooms)

    def withdraw(self, event: Event | None, withdraw: Withdraw) -> None:
        key = (withdraw.node, withdraw.request, withdraw.attempt)
        entry = self.model.entries.get(key)
        if entry is None:
            return  # it has no room that could be returned
        if entry.state is State.PLACED or entry.state is State.STARTING:
            if event is None:
                assert entry.state is State.PLACED
                assert self.now >= entry.since + 2
            else:
                assert isinstance(event, Cancelled | AskerGone | AskerDone | ProgramEnded)
            del self.model.entries[key]

    def refuse(self, request: RequestId, why: Why) -> None:
        asked = self.model.asked.get(request)
        if why is Why.NOT_NOW:
            assert asked is not None
            assert not asked.wait
        if why is Why.NEVER:
            assert asked is not None
            staying = [view for view in self.views().values() if view.state != "leaving"]
            assert staying
            assert not any(asked.need.fits(view.capacity) for view in staying)

    def after(self, event: Event | None, instructions: list[Instruction]) -> None:
        model = self.model
        if event is None:
            for entry in model.entries.values():
                assert entry.state is not State.PLACED or entry.since + 2 > self.now
        if isinstance(event, Requested) and event.request in model.answers:
            self.forget(event)
        for node in list(model.overfull):
            view = self.view(node)
            if view is None or view.state == "lost" or model.used(node).fits(view.capacity):
                model.overfull.discard(node)

    def forget(self, event: Requested) -> None:
        """What the asker has the answer of is no longer remembered."""
        asker = event.request.asker
        for request in list(self.model.answers):
            if request.asker == asker and request.number < event.answered:
                unstarted = any(
                    key[1] == request and entry.state in {State.PLACED, State.STARTING}
                    for key, entry in self.model.entries.items()
                )
                if not unstarted and request not in self.model.waiting:
                    del self.model.answers[request]

    # -- looking

    def view(self, node: str) -> NodeView | None:
        return self.views().get(node)

    def views(self) -> dict[str, NodeView]:
        return {view.node: view for view in self.scheduler.snapshot().nodes}

    def compare(self) -> None:
        """The accounts are the model's, and so is the line."""
        model = self.model
        views = self.views()
        for name, view in views.items():
            assert view.capacity.minus(view.free) == model.used(name)
            assert view.processes == len([key for key in model.entries if key[0] == name])
            if name not in model.overfull:
                assert view.free.mem >= 0
                assert view.free.cpu >= 0
        assert {name for name, *_ in model.entries} <= set(views)
        waiting = self.scheduler.snapshot().waiting
        assert sum(size.count for size in waiting) == len(model.waiting)
        for size in waiting:
            same = [each for each in model.waiting if model.asked[each].need == size.need]
            assert len(same) == size.count
            assert min(same, key=model.order.__getitem__) == size.first
        deadline = self.scheduler.deadline()
        for entry in model.entries.values():
            if entry.state is State.PLACED:
                assert deadline is not None
                assert deadline <= entry.since + 2

    def state(self) -> tuple[Any, ...]:
        """All that could have changed."""
        jobs = [
            (name, asker.answered, number, job.state, job.attempt, job.node and job.node.name)
            for name, asker in self.scheduler._requests.askers
            for number, job in asker.jobs.items()
        ]
        events = self.scheduler.events()
        return self.scheduler.snapshot(), self.scheduler.deadline(), jobs, events

    # -- the end: a fair clock

    def teardown(self) -> None:
        """Everything ends in time, every asker renews, every node answers: all are placed."""
        for _ in range(120 + 2 * len(self.model.waiting)):
            for request in sorted(self.model.waiting):
                self.say(Renewed(request), 0.0)
            for (node, request, _), entry in sorted(self.model.entries.items(), key=_key):
                view = self.view(node)
                assert view is not None
                kind: Any = Exited if entry.state in {State.RUNNING, State.DOOMED} else Started
                extra = ("44",) if kind is Started else ()
                self.say(kind(node, view.incarnation, request, entry.attempt, *extra), 0.0)
            self.pass_time(1.0)
            if not self.model.waiting and not self.model.entries:
                break
        present = [view.capacity for view in self.views().values() if view.state == "joined"]
        for request in self.model.waiting:
            need = self.model.asked[request].need
            assert not any(need.fits(capacity) for capacity in present), f"{request} starves"
        assert not self.model.entries


def _key(item: tuple[tuple[str, RequestId, int], Entry]) -> tuple[str, RequestId, int]:
    return item[0]
