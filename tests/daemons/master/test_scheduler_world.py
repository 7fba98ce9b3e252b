"""A cluster whose nodes and askers keep to the rules, on a network that loses and delays.

Nodes are cut off and come back with what they run, start anew, and leave; the master starts anew
and learns from their reports what there is. The model checks each step, see `scheduler_model`.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from scheduler_model import CheckedMachine, Model

from constellation_daemons.master.events import (
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
    Report,
    Requested,
    Started,
    Told,
)
from constellation_daemons.master.instructions import (
    Admit,
    AskAgain,
    Fence,
    Instruction,
    JoinFirst,
    Lost,
    Place,
    Queue,
    Refuse,
    Release,
    Withdraw,
)
from constellation_daemons.master.jobs import State
from constellation_daemons.master.scheduler import Scheduler
from constellation_daemons.master.values import Amount, RequestId

NAMES = ["n1", "n2", "n3", "n4", "n5"]
SMALL = [Amount(1, 1), Amount(2, 1), Amount(1, 2)]
LARGE = [Amount(6, 1), Amount(2, 6), Amount(8, 8), Amount(12, 3)]
SEEDS = st.integers(0, 9999)


@dataclass
class Machine:
    """A node as it is."""

    capacity: Amount
    incarnation: int = 1
    joined: bool = False
    leaving: bool = False
    has: dict[RequestId, Report] = field(default_factory=dict)


class WorldMachine(CheckedMachine):
    def __init__(self) -> None:
        super().__init__()
        self.machines: dict[str, Machine] = {}
        self.underway: list[Place] = []
        self.numbers = {"a": 0, "b": 0}
        self.pids = 0
        self.wanted: dict[RequestId, Requested] = {}
        self.placed: dict[RequestId, Place] = {}  # what askers believe
        self.told: set[tuple[str, str, int]] = set()  # programs, of which node in which incarnation

    @initialize(
        capacities=st.lists(
            st.sampled_from([Amount(8, 8), Amount(6, 8), Amount(12, 4)]), min_size=1, max_size=5
        )
    )
    def begin(self, capacities: list[Amount]) -> None:
        for name, capacity in zip(NAMES, capacities, strict=False):
            self.machines[name] = Machine(capacity)
            self.join(name)

    # -- messages

    def send(self, event: Event, pause: float = 0.0) -> list[Instruction]:
        """Say what is the case, which is never wrong; and carry out what is to be done."""
        instructions = self.say(event, pause)
        assert instructions is not None, event
        self.carry_out(instructions)
        return instructions

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        instructions = self.scheduler.tick(self.now)
        self.check(None, instructions, self.views())
        self.carry_out(instructions)
        deadline = self.scheduler.deadline()
        assert deadline is None or deadline > self.now

    def carry_out(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Place(request=request):
                    self.underway.append(instruction)
                    self.placed[request] = instruction
                case Refuse(request=request):
                    self.wanted.pop(request, None)
                    self.placed.pop(request, None)
                case Queue(request=request):
                    self.placed.pop(request, None)
                case AskAgain(request=request):
                    if request in self.wanted:
                        self.request(request)
                case Withdraw(node=node, request=request, attempt=attempt):
                    self.underway = [
                        each
                        for each in self.underway
                        if (each.node, each.request, each.attempt) != (node, request, attempt)
                    ]
                    self.kill(node, lambda r: (r.request, r.attempt) == (request, attempt))
                case Fence(node=node, programs=programs):
                    self.kill(node, lambda report: report.program in programs)
                case Lost(asker=asker, node=node, incarnation=incarnation, numbers=numbers):
                    for number in numbers:
                        requested = self.wanted.pop(RequestId(asker, number), None)
                        if requested is not None:
                            self.told.add((requested.program, node, incarnation))
                case Release(node=node):
                    machine = self.machines[node]
                    assert machine.leaving
                    machine.joined = machine.leaving = False
                    machine.incarnation += 1
                    machine.has.clear()

    def kill(self, name: str, which) -> None:  # type: ignore[no-untyped-def]
        """A node ends some of what it has, and reports so if it has joined."""
        machine = self.machines[name]
        for report in [report for report in machine.has.values() if which(report)]:
            del machine.has[report.request]
            self.of(name, Exited, report)

    def of(self, name: str, kind, report: Report, *more: str) -> None:  # type: ignore[no-untyped-def]
        machine = self.machines[name]
        if machine.joined:
            told = self.send(kind(name, machine.incarnation, report.request, report.attempt, *more))
            # One that leaves may have been released while it still ended what was withdrawn.
            assert machine.leaving or not any(isinstance(each, JoinFirst) for each in told)

    def join(self, name: str) -> None:
        machine = self.machines[name]
        event = NodeJoined(name, machine.incarnation, machine.capacity, tuple(machine.has.values()))
        machine.joined, machine.leaving = False, False
        instructions = self.send(event)
        fences = [each for each in instructions if isinstance(each, Fence)]
        if fences:
            assert not any(isinstance(each, Admit) for each in instructions)
            assert self.told & {
                (program, name, machine.incarnation) for program in fences[0].programs
            }
            self.join(name)
            return
        assert any(isinstance(each, Admit) for each in instructions)
        machine.joined = True
        # No process that was told to be lost is living again.
        for report in machine.has.values():
            assert (report.program, name, machine.incarnation) not in self.told
        for each in instructions:
            if isinstance(each, Withdraw):
                self.kill(name, lambda r, w=each: (r.request, r.attempt) == (w.request, w.attempt))

    # -- askers

    @rule(
        asker=st.sampled_from("ab"),
        program=st.sampled_from("pq"),
        needs=st.lists(st.sampled_from(SMALL), min_size=1, max_size=8),
        pause=st.sampled_from([0.0, 1.0]),
    )
    def ask_for_small(self, asker: str, program: str, needs: list[Amount], pause: float) -> None:
        for need in needs:
            self.ask(asker, program, need, True, pause)

    @rule(
        asker=st.sampled_from("ab"),
        program=st.sampled_from("pq"),
        need=st.sampled_from(LARGE),
        wait=st.sampled_from([True, True, False]),
    )
    def ask_for_large(self, asker: str, program: str, need: Amount, wait: bool) -> None:
        self.ask(asker, program, need, wait, 0.0)

    def ask(self, asker: str, program: str, need: Amount, wait: bool, pause: float) -> None:
        self.numbers[asker] += 1
        request = RequestId(asker, self.numbers[asker])
        self.wanted[request] = Requested(request, program, need, wait)
        self.request(request, pause)

    def request(self, request: RequestId, pause: float = 0.0) -> None:
        """Send a request, for the first time or again."""
        unanswered = [
            other.number
            for other in self.wanted
            if other.asker == request.asker and other not in self.placed
        ]
        answered = min([*unanswered, request.number])
        self.send(msgspec.structs.replace(self.wanted[request], answered=answered), pause)

    @rule(seed=SEEDS)
    def repeat_one(self, seed: int) -> None:
        if self.wanted:
            request = random.Random(seed).choice(sorted(self.wanted))
            self.request(request)

    @rule(seed=SEEDS)
    def cancel_one(self, seed: int) -> None:
        if self.wanted:
            request = random.Random(seed).choice(sorted(self.wanted))
            self.send(Cancelled(request))
            self.wanted.pop(request, None)
            self.placed.pop(request, None)

    @rule(seed=SEEDS)
    def break_a_deadlock(self, seed: int) -> None:
        if self.model.waiting:
            request = random.Random(seed).choice(sorted(self.model.waiting))
            told = self.send(Deadlocked(request, "so"))
            assert request in [each.request for each in told if isinstance(each, Refuse)]

    @rule(asker=st.sampled_from("ab"), rarely=st.integers(0, 9))
    def lose_an_asker(self, asker: str, rarely: int) -> None:
        if rarely < 2:
            self.send(AskerGone(asker) if rarely else AskerDone(asker))
            for request in [each for each in self.wanted if each.asker == asker]:
                del self.wanted[request]
                self.placed.pop(request, None)

    @rule(program=st.sampled_from("pq"), rarely=st.integers(0, 9))
    def end_a_program(self, program: str, rarely: int) -> None:
        if rarely == 0:
            self.send(ProgramEnded(program))
            for request, event in list(self.wanted.items()):
                if event.program == program:
                    del self.wanted[request]
                    self.placed.pop(request, None)

    # -- nodes

    @rule(share=st.sampled_from([0.5, 1.0, 1.0]), lose=st.booleans(), seed=SEEDS)
    def deliver(self, share: float, lose: bool, seed: int) -> None:
        """Nodes receive placements, and confirm them, which may be lost."""
        rng = random.Random(seed)
        underway, self.underway = self.underway, []
        for place in underway:
            machine = self.machines[place.node]
            here = machine.joined and machine.incarnation == place.incarnation
            known = machine.has.get(place.request)
            if not here or rng.random() > share:
                continue  # lost on its way
            if known is None or known.attempt < place.attempt:
                if place.request not in self.wanted:
                    continue  # the asker does not start what it no longer wants
                if known is not None:
                    self.of(place.node, Exited, known)
                known = machine.has[place.request] = Report(
                    place.request, place.attempt, place.program, place.need
                )
            if known.attempt == place.attempt and not (lose and rng.random() < 0.5):
                self.of(place.node, Confirmed, known)

    @rule(share=st.sampled_from([0.5, 1.0, 1.0]), seed=SEEDS)
    def start(self, share: float, seed: int) -> None:
        for name, report in self.some(share, seed):
            if report.pid is None and self.machines[name].joined:
                self.pids += 1
                pid = f"{self.pids:x}"
                self.machines[name].has[report.request] = Report(
                    report.request, report.attempt, report.program, report.need, pid
                )
                self.of(name, Started, report, pid)

    @rule(share=st.sampled_from([0.1, 0.3, 1.0]), seed=SEEDS)
    def end(self, share: float, seed: int) -> None:
        for name, report in self.some(share, seed):
            if report.pid is not None and self.machines[name].has.pop(report.request, None):
                self.wanted.pop(report.request, None)
                self.placed.pop(report.request, None)
                self.of(name, Exited, report)

    @rule(share=st.sampled_from([0.0, 0.3]), seed=SEEDS)
    def fail(self, share: float, seed: int) -> None:
        for name, report in self.some(share, seed):
            machine = self.machines[name]
            if report.pid is None and machine.joined and machine.has.pop(report.request, None):
                self.of(name, Failed, report, "broken")

    def some(self, share: float, seed: int) -> list[tuple[str, Report]]:
        rng = random.Random(seed)
        return [
            (name, report)
            for name, machine in self.machines.items()
            for report in list(machine.has.values())
            if rng.random() < share
        ]

    @rule(seed=SEEDS, rarely=st.integers(0, 2))
    def cut_off(self, seed: int, rarely: int) -> None:
        name, machine = self.any_machine(seed)
        if rarely == 0 and machine.joined:
            machine.joined, machine.leaving = False, False
            self.send(NodeLost(name, machine.incarnation))

    @rule(seed=SEEDS, anew=st.booleans())
    def come_back(self, seed: int, anew: bool) -> None:
        name, machine = self.any_machine(seed)
        if anew and not machine.joined:
            machine.incarnation += 1
            machine.has.clear()
        self.join(name)

    @rule(seed=SEEDS, rarely=st.integers(0, 2))
    def leave(self, seed: int, rarely: int) -> None:
        name, machine = self.any_machine(seed)
        if rarely == 0 and machine.joined:
            machine.leaving = True
            self.send(NodeLeaving(name, machine.incarnation))

    def any_machine(self, seed: int) -> tuple[str, Machine]:
        name = random.Random(seed).choice(sorted(self.machines))
        return name, self.machines[name]

    # -- the master, and time

    @precondition(lambda self: self.machines)
    @rule(rarely=st.integers(0, 9))
    def start_the_master_anew(self, rarely: int) -> None:
        if rarely == 0:
            self.scheduler = Scheduler(self.now)
            self.model = Model()
            self.counter = self.sequence = 0
            for machine in self.machines.values():
                machine.joined = machine.leaving = False
            # Bridges say what their programs were told.
            for program, node, incarnation in sorted(self.told):
                self.send(Told(program, node, incarnation))

    @rule(seconds=st.sampled_from([0.5, 2.0, 5.0, 9.0]), renew=st.sampled_from([True, True, False]))
    def wait(self, seconds: float, renew: bool) -> None:
        """Time passes; the deadlines are kept, or all come late."""
        if renew:
            for request in sorted(set(self.wanted) - set(self.placed)):
                self.send(Renewed(request))
        self.pass_time(seconds)

    @rule(seconds=st.integers(10, 25))
    def wait_long(self, seconds: int) -> None:
        for _ in range(seconds):
            self.pass_time(1.0)
            for request in sorted(set(self.wanted) - set(self.placed)):
                self.send(Renewed(request))

    # -- what must hold

    @invariant()
    def no_request_has_two_places(self) -> None:
        counts = Counter(
            request
            for (_, request, _), entry in self.model.entries.items()
            if entry.state is not State.DOOMED
        )
        assert not counts or max(counts.values()) == 1

    @invariant()
    def nothing_is_over_capacity(self) -> None:
        assert not self.model.overfull


TestWorld = WorldMachine.TestCase
TestWorld.settings = settings(max_examples=25, stateful_step_count=40)
