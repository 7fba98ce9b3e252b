"""Asking what processes wait for, while requests wait for room, to find deadlocks. Pure.

A *round* is a question, which all processes are asked, and a check of what they have answered
until then. Only those answer that do nothing but wait. Who does not, or answers late, is not found
stuck in that round, and what was known of it is forgotten after the next one.

Between a check and the next question is the second after which the detector wants all of it to
be said again: so one round raises the suspicion, and the next one confirms it. An answer counts as
of the question since which it is so, however late it comes.

Where there are many processes the rounds are further apart, so that the services have
no more than :data:`RATE` questions and answers a second to pass on.
"""

from __future__ import annotations

from typing import Final

from constellation.awaited import (
    Awaited,
    AwaitsAll,
    AwaitsAny,
    AwaitsRoom,
    AwaitsValues,
    AwaitsWindow,
)
from constellation_daemons.master.deadlock import CONFIRM, Detector
from constellation_daemons.master.events import Deadlocked
from constellation_daemons.master.scheduler import Scheduler
from constellation_daemons.master.values import RequestId
from constellation_daemons.master.waits import AllOf, AnyOf, Blocked, Values, Wait, Window

FIRST: Final = 0.5
"""Seconds that requests wait until the first question."""
ANSWER: Final = 0.25
"""Seconds from a question to the check."""
RATE: Final = 500
"""Processes that are asked in a second, at most."""
_REMEMBERED: Final = 8  # questions


class Watch:
    """Looks for deadlocks among what a scheduler has placed.

    Args:
        scheduler: Knows which requests wait, and what processes hold.
        question: The number of the first question: other ones than a former master has asked.
    """

    def __init__(self, scheduler: Scheduler, question: int) -> None:
        self._scheduler = scheduler
        self._question = question
        self._detector = Detector()
        self._asked: dict[int, float] = {}  # the last questions, and when
        self._heard: dict[str, _Source] = {}  # whoever is known to wait

    def ask(self, now: float) -> int:
        """Begin a round. Gives the number of its question."""
        self._question += 1
        self._asked[self._question] = now
        if len(self._asked) > _REMEMBERED:
            del self._asked[next(iter(self._asked))]
        return self._question

    def heard(
        self,
        node: str,
        request: RequestId,
        question: int,
        threads: tuple[Awaited, ...],
        progress: int,
    ) -> None:
        """A process does nothing but wait.

        Args:
            node: Where it is.
            request: What it was placed for.
            question: Since whose asking at the latest.
            threads: What each thread waits for; spawns have the numbers of their requests.
            progress: Another number than before whenever anything has happened in between.
        """
        since = self._asked.get(question)
        held = self._scheduler.process(node, request)
        if since is None or held is None or not threads:
            return
        pid, room = held
        waits = [self._wait(request.asker, thread) for thread in threads]
        certain = tuple(wait for wait in waits if wait is not None)
        if len(certain) == len(waits):
            self._detector.blocked(Blocked(pid, node, room, certain, True, progress), since)
            self._heard[pid] = node, request, self._question

    def check(self, now: float) -> Deadlocked | None:
        """End a round. Gives the spawn that has to give way, if any does."""
        for pid, (node, request, question) in list(self._heard.items()):
            held = self._scheduler.process(node, request)
            if question < self._question - 1 or held is None or held[0] != pid:
                del self._heard[pid]
                self._detector.busy(pid)
        victim = self._detector.check(self._scheduler.capacities(now), now)
        return None if victim is None else Deadlocked(victim.request, victim.text)

    def pause(self) -> float:
        """Seconds from a check to the next question."""
        return max(CONFIRM, self._scheduler.count / RATE)

    def reset(self) -> None:
        """Nothing waits for room: forget all that was said."""
        self._detector = Detector()
        self._asked.clear()
        self._heard.clear()

    def _wait(self, asker: str, awaited: Awaited) -> Wait | None:
        """As the detector wants it; None where nothing of it is certain."""
        match awaited:
            case AwaitsRoom(number):
                return self._scheduler.room(RequestId(asker, number))
            case AwaitsValues(key):
                return Values(key.hex())
            case AwaitsWindow(key):
                return Window(key.hex())
            case AwaitsAny(parts):
                all_certain = tuple(self._certain(asker, parts))
                return AnyOf(all_certain) if len(all_certain) == len(parts) > 0 else None
            case AwaitsAll(parts):
                certain = tuple(self._certain(asker, parts))
                return AllOf(certain) if certain else None

    def _certain(self, asker: str, parts: tuple[Awaited, ...]) -> list[Wait]:
        waits = [self._wait(asker, part) for part in parts]
        return [wait for wait in waits if wait is not None]


_Source = tuple[str, RequestId, int]
"""The node of a process, what it was placed for, and the question that it has answered last."""
