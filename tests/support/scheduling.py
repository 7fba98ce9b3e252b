"""A scheduler with a clock, and shorter ways to say what happens to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from constellation.control.messages import Status
from constellation_daemons.master.events import (
    Cancelled,
    Confirmed,
    Event,
    Exited,
    Failed,
    NodeJoined,
    NodeLeaving,
    NodeLost,
    Renewed,
    Report,
    Requested,
    Started,
)
from constellation_daemons.master.instructions import (
    Instruction,
    Place,
    Publish,
    Queue,
    Refuse,
    Topic,
    Why,
)
from constellation_daemons.master.scheduler import Scheduler
from constellation_daemons.master.snapshot import NodeView
from constellation_daemons.master.values import Amount, RequestId

CORE = 10**9
T = TypeVar("T")


def amount(mem: int, cores: float = 0) -> Amount:
    """An amount of bytes and cores."""
    return Amount(mem, int(cores * CORE))


def of(kind: type[T], instructions: Iterable[Instruction]) -> list[T]:
    """Those of one kind."""
    return [instruction for instruction in instructions if isinstance(instruction, kind)]


class Cluster:
    """A scheduler, and the time.

    The requests of the default asker count up by themselves. Every answer is kept, so that tests
    can ask for the last one about a request.
    """

    def __init__(self, expected: Iterable[str] = ()) -> None:
        self.now = 1024.0  # what tests add to it stays exact
        self.scheduler = Scheduler(self.now, expected)
        self.number = 0
        self.answers: dict[RequestId, Place | Queue | Refuse] = {}
        self.running: dict[RequestId, Started] = {}

    # -- time and events

    def say(self, event: Event) -> list[Instruction]:
        """Something happens."""
        return self._told(self.scheduler.handle(event, self.now))

    def wait(self, seconds: float) -> list[Instruction]:
        """Let time pass, with a tick at each deadline and one at the end."""
        end = self.now + seconds
        told = []
        while (deadline := self.scheduler.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            told += self._told(self.scheduler.tick(self.now))
            later = self.scheduler.deadline()
            assert later is None or later > self.now, "a tick that leaves something to do"
        self.now = end
        return told + self._told(self.scheduler.tick(end))

    def wait_renewing(self, seconds: float) -> list[Instruction]:
        """Let whole seconds pass in which every asker renews what waits."""
        told = []
        for _ in range(int(seconds)):
            told += self.wait(1)
            for request in self.waiting():
                self.say(Renewed(request))
        return told

    def _told(self, instructions: list[Instruction]) -> list[Instruction]:
        self.scheduler.validate()
        for instruction in instructions:
            if isinstance(instruction, Place | Queue | Refuse):
                self.answers[instruction.request] = instruction
        return instructions

    # -- nodes

    def join(
        self,
        name: str,
        mem: int,
        cores: float = 100,
        *,
        incarnation: int = 1,
        reports: Iterable[Report] = (),
    ) -> list[Instruction]:
        """A node joins."""
        return self.say(NodeJoined(name, incarnation, amount(mem, cores), tuple(reports)))

    def lose(self, name: str, incarnation: int = 1) -> list[Instruction]:
        """A node is lost."""
        return self.say(NodeLost(name, incarnation))

    def leave(self, name: str, incarnation: int = 1) -> list[Instruction]:
        """A node begins to leave."""
        return self.say(NodeLeaving(name, incarnation))

    def node(self, name: str) -> NodeView:
        """How a node stands."""
        (node,) = [node for node in self.scheduler.snapshot().nodes if node.node == name]
        return node

    # -- requests

    def next(self, asker: str = "a") -> RequestId:
        """A new request's name."""
        self.number += 1
        return RequestId(asker, self.number)

    def ask(
        self,
        mem: int,
        cores: float = 0,
        *,
        wait: bool = True,
        asker: str = "a",
        program: str = "p",
        answered: int = 0,
    ) -> RequestId:
        """Ask for a process."""
        request = self.next(asker)
        self.say(Requested(request, program, amount(mem, cores), wait, answered))
        return request

    def where(self, request: RequestId) -> str | None:
        """The node that a request was last placed on, None where it has no place."""
        answer = self.answers.get(request)
        return answer.node if isinstance(answer, Place) else None

    def why(self, request: RequestId) -> Why | None:
        """Why a request was refused, None where it was not."""
        answer = self.answers.get(request)
        return answer.why if isinstance(answer, Refuse) else None

    def waits(self, request: RequestId) -> bool:
        """Whether a request was last told to wait."""
        return isinstance(self.answers.get(request), Queue)

    def waiting(self) -> list[RequestId]:
        """All that wait, as far as they were told."""
        return [request for request in self.answers if self.waits(request)]

    def cancel(self, request: RequestId) -> list[Instruction]:
        """A request is no longer wanted."""
        return self.say(Cancelled(request))

    # -- processes

    def placed(self, request: RequestId) -> Place:
        """Where a request was last placed."""
        answer = self.answers[request]
        assert isinstance(answer, Place), answer
        return answer

    def confirm(self, request: RequestId) -> list[Instruction]:
        """The node has received the placement."""
        place = self.placed(request)
        return self.say(Confirmed(place.node, place.incarnation, request, place.attempt))

    def start(self, request: RequestId) -> list[Instruction]:
        """The process has started."""
        place = self.placed(request)
        started = Started(
            place.node, place.incarnation, request, place.attempt, f"{request.number:032x}"
        )
        self.running[request] = started
        return self.say(started)

    def fail(self, request: RequestId, text: str = "broken") -> list[Instruction]:
        """The process could not be started."""
        place = self.placed(request)
        return self.say(Failed(place.node, place.incarnation, request, place.attempt, text))

    def end(self, request: RequestId) -> list[Instruction]:
        """The process has ended."""
        place = self.placed(request)
        self.running.pop(request, None)
        status = Status(code=0)
        return self.say(Exited(place.node, place.incarnation, request, place.attempt, status))

    def run(self, mem: int, cores: float = 0, **options: str) -> RequestId:
        """Ask for a process, which gets its place and starts."""
        request = self.ask(mem, cores, **options)  # type: ignore[arg-type]
        self.confirm(request)
        self.start(request)
        return request


def topics(instructions: Iterable[Instruction]) -> list[Topic]:
    """What was published."""
    return [publish.topic for publish in of(Publish, instructions)]
