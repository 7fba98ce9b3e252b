from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from constellation.awaited import AwaitsAll, AwaitsRoom, AwaitsValues
from constellation.bridge.events import Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.bridge.roster import Roster
from constellation.control.messages import (
    Accept,
    Adopt,
    Cancel,
    Crippled,
    Died,
    End,
    Eof,
    Examine,
    Examined,
    Exited,
    Go,
    Gone,
    Made,
    Output,
    Placed,
    Ready,
    Refused,
    Room,
    Said,
    Shut,
    Silent,
    Spawn,
    Spawned,
    Told,
    Unable,
    Unmade,
    Unreached,
    Watch,
)
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.resources import Resources

NEEDS = Resources(mem="10 MiB", cpu=0.5)
MEM, CPU = int(NEEDS.mem), float(NEEDS.cpu)


class FakeHost:
    """Keeps what it is told, until the test has it answer."""

    def __init__(self) -> None:
        self.launches: list[tuple[int, bool]] = []
        self.told: dict[int, list[Any]] = {}
        self.directed: dict[int, list[Any]] = {}
        self.keys: dict[int, bytes] = {}

    def launch(self, number: int, *, initial: bool = False) -> None:
        self.launches.append((number, initial))

    def tell(self, number: int, message: Any) -> None:
        self.told.setdefault(number, []).append(message)

    def direct(self, number: int, message: Any) -> None:
        self.directed.setdefault(number, []).append(message)


class Show:
    """A roster, whose places the test answers for."""

    def __init__(self) -> None:
        self.host = FakeHost()
        self.asked: list[tuple[int, Resources, bool]] = []
        self.dropped: list[int] = []
        self.events: list[Event] = []
        self.grows = True
        self.examined: list[tuple[Any, ...]] = []
        self.roster = Roster(
            self, self.take, lambda: self.grows, lambda *what: self.examined.append(what)
        )

    def ask(self, number: int, resources: Resources, *, wait: bool) -> None:
        self.asked.append((number, resources, wait))

    def drop(self, number: int) -> None:
        self.dropped.append(number)

    def take(self, events: Iterable[Event]) -> None:
        self.events += events

    def hear(self, message: Any) -> None:
        self.roster.hear(message, self.host)

    def made(self, number: int, *, ahead: bool = False) -> None:
        key = self.host.keys[number] = os.urandom(16)
        self.hear(Made(number, key, f"tcp://10.0.0.2:{number}", ahead))

    def begin(self) -> int:
        """An initial process. Gives its number."""
        self.roster.start(NEEDS)
        number = self.asked[-1][0]
        self.roster.placed(number, self.host)
        self.made(number)
        return number

    def spawn(self, spawner: int, request: int, *, wait: bool = True) -> int:
        self.hear(Said(spawner, Spawn(request, MEM, CPU, wait)))
        return self.asked[-1][0]

    def end(self, number: int, status: int = 0) -> None:
        self.hear(Silent(number))
        self.hear(Told(number, Died(status, 1 << 20)))
        for fd in (1, 2):
            self.hear(Told(number, Eof(fd)))
        self.hear(Gone(number, "monitor killed"))


@pytest.fixture
def show() -> Show:
    return Show()


def test_the_user_is_told_who_cannot_connect_to_whom(show: Show) -> None:
    initial = show.begin()
    child, other = show.spawn(initial, 1), show.spawn(initial, 2)
    for number in (child, other):
        show.roster.placed(number, show.host)
        show.made(number)
    keys = show.host.keys

    def unreached(number: int, key: bytes, host: str) -> list[str]:
        endpoint = f"tcp://{host}:{number}"
        show.hear(Said(initial, Unreached(key, endpoint, "there is no answer")))
        return show.roster.take_troubles()

    (told,) = unreached(child, keys[child], "10.0.0.2")
    assert told == (
        f"process {keys[initial].hex()[:7]} on 10.0.0.2 cannot connect to process "
        f"{keys[child].hex()[:7]} at 10.0.0.2:{child}: there is no answer. "
        f"Is a firewall between them?"
    )
    assert unreached(other, keys[other], "10.0.0.2") == [], "once for two hosts"
    assert unreached(7, bytes(16), "10.0.0.3") == [], "nobody has this name"


def test_the_whole_of_a_program(show: Show) -> None:
    assert not show.roster.finished
    initial = show.begin()
    assert show.host.launches == [(initial, True)]
    assert show.host.told[initial] == [Adopt(None, "", MEM, CPU)]
    child = show.spawn(initial, 7)
    assert show.asked[-1] == (child, NEEDS, True)
    show.roster.placed(child, show.host)
    assert show.host.launches[-1] == (child, False)
    show.made(child)
    key = show.host.keys[child]
    assert show.host.told[initial][-1] == Placed(7, key, f"tcp://10.0.0.2:{child}")
    adopt = show.host.told[child][0]
    assert adopt.parent_key == show.host.keys[initial]
    show.hear(Said(child, Ready()))
    assert show.host.told[initial][-1] == Spawned(7)
    show.hear(Said(initial, Accept(7)))
    assert show.host.told[child][-1] == Go()
    show.hear(Told(child, Output(1, b"hello")))
    show.end(child, 3 << 8)
    assert not show.roster.finished
    show.end(initial)
    assert show.roster.finished
    assert show.dropped == [child, initial]
    kinds = [type(event) for event in show.events]
    assert kinds[:3] == [SpawnEvent, SpawnEvent, OutputEvent]
    exits = [event.status.code for event in show.events if isinstance(event, ExitEvent)]
    assert exits == [3, 0]


def test_what_is_cancelled_while_it_waits_for_room_is_dropped(show: Show) -> None:
    initial = show.begin()
    child = show.spawn(initial, 1)
    show.hear(Said(initial, Cancel(1)))
    assert show.dropped == [child]
    show.roster.placed(child, show.host)  # it was under way
    assert show.host.launches == [(initial, True)]


def test_what_is_cancelled_while_it_is_made_ends_when_it_is(show: Show) -> None:
    initial = show.begin()
    child = show.spawn(initial, 1)
    show.roster.placed(child, show.host)
    show.hear(Said(initial, Cancel(1)))
    assert show.dropped == []
    told = len(show.host.told[initial])
    show.made(child)
    assert show.host.directed[child] == [End()]
    assert child not in show.host.told
    show.hear(Told(child, Output(1, b"never shown")))
    show.end(child, 9)
    assert show.dropped == [child]
    assert len(show.host.told[initial]) == told
    assert len(show.events) == 1


def test_a_spawner_that_dies_takes_what_is_not_accepted_along(show: Show) -> None:
    initial = show.begin()
    numbers = [show.spawn(initial, request) for request in range(3)]
    for number in numbers[1:]:
        show.roster.placed(number, show.host)
    show.made(numbers[2])
    show.end(initial, 9)
    assert show.dropped == [numbers[0], initial]
    show.made(numbers[1])
    assert show.host.directed[numbers[1]] == show.host.directed[numbers[2]] == [End()]
    assert show.roster.finished
    show.end(numbers[1], 9)
    show.end(numbers[2], 9)
    assert sorted(show.dropped) == [initial, *numbers]


def test_no_room_is_told(show: Show) -> None:
    initial = show.begin()
    child = show.spawn(initial, 1, wait=False)
    show.roster.refused(child, "NoCapacity", "no node has 10 MiB free")
    refused = Refused(1, "NoCapacity", "no node has 10 MiB free")
    assert show.host.told[initial][-1] == refused
    assert show.dropped == []  # whoever refuses has nothing to take back


def test_what_cannot_be_made_is_told_and_its_room_returns(show: Show) -> None:
    initial = show.begin()
    child = show.spawn(initial, 1)
    show.roster.placed(child, show.host)
    show.hear(Unmade(child, "no descriptors"))
    assert show.host.told[initial][-1] == Refused(1, "SpawnError", "no descriptors")
    assert show.dropped == [child]


def test_an_initial_process_that_cannot_be_is_the_end(show: Show) -> None:
    show.roster.start(NEEDS)
    show.roster.refused(show.asked[0][0], "NoCapacity", "no node has so much")
    assert show.roster.finished
    assert show.roster.failure == "no node has so much"
    assert show.events == []


def test_a_kill_reaches_those_that_wait_and_those_that_are_made(show: Show) -> None:
    initial = show.begin()
    waiting, making = show.spawn(initial, 1), show.spawn(initial, 2)
    show.roster.placed(making, show.host)
    told = list(show.host.told[initial])
    assert show.roster.kill("killed by the user")
    assert show.dropped == [waiting]
    assert show.host.directed[initial] == [End()]
    show.made(making)
    assert show.host.directed[making] == [End()]
    show.hear(Said(initial, Spawn(3, MEM, CPU, True)))
    assert len(show.asked) == 3, "nothing is spawned any more"
    assert show.host.told[initial] == told, "it might end of that by itself"
    show.end(initial, 9)
    (exited,) = [event for event in show.events if isinstance(event, ExitEvent)]
    assert exited.status.cause == "killed by the user"
    assert show.roster.finished
    assert not show.roster.kill("killed by the user")


def test_what_is_being_killed_does_not_hear_of_the_deaths_of_others(show: Show) -> None:
    initial = show.begin()
    child = show.spawn(initial, 1)
    show.roster.placed(child, show.host)
    show.made(child)
    show.hear(Said(child, Ready()))
    show.hear(Said(initial, Accept(1)))
    show.hear(Said(initial, Watch(show.host.keys[child])))
    told = list(show.host.told[initial])
    show.roster.kill("killed by the user")
    show.end(child, 9)
    assert show.host.told[initial] == told
    show.end(initial, 9)
    assert show.roster.finished


def test_a_crippled_host_says_why_its_processes_died(show: Show) -> None:
    initial = show.begin()
    other = FakeHost()
    child = show.spawn(initial, 1)
    show.roster.placed(child, other)
    key = os.urandom(16)
    show.roster.hear(Made(child, key, "tcp://10.0.0.3:1"), other)
    show.roster.hear(Said(child, Ready()), other)
    show.hear(Said(initial, Accept(1)))
    show.hear(Said(initial, Watch(key)))
    show.roster.hear(Crippled("zygote killed"), other)
    show.roster.hear(Silent(child), other)
    show.roster.hear(Told(child, Died(9, 0)), other)
    show.roster.hear(Gone(child, "zygote killed"), other)
    assert isinstance(show.host.told[initial][-1], Exited)
    assert show.events[-1].status.cause == "zygote killed"  # type: ignore[union-attr]
    show.end(initial, 0)
    assert show.events[-1].status == ExitStatus(code=0)  # type: ignore[union-attr]


def test_why_its_host_has_killed_it_is_told_to_watchers_and_shown(show: Show) -> None:
    initial = show.begin()
    child = show.spawn(initial, 1)
    show.roster.placed(child, show.host)
    show.made(child)
    show.hear(Said(child, Ready()))
    show.hear(Said(initial, Accept(1)))
    show.hear(Said(initial, Watch(show.host.keys[child])))
    show.roster.kill_one(child, "ended by SIGINT")  # which comes too late for it
    show.hear(Told(child, Died(9, 1 << 30, "memory limit")))
    last = show.host.told[initial][-1]
    assert isinstance(last, Exited)
    assert last.status is not None
    assert last.status.cause == "memory limit"
    pid = Pid(show.host.keys[child], f"tcp://10.0.0.2:{child}")
    assert not show.roster.was_killed(pid)
    show.roster.kill("ended by SIGINT")
    show.hear(Told(initial, Died(9, 1 << 30)))
    show.hear(Told(initial, Eof(1)))
    show.hear(Told(initial, Eof(2)))
    assert show.events[-1].status.cause == "ended by SIGINT"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("killed_by", "cause", "told"),
    [(None, None, "SIGKILL"), (None, "a limit", "SIGKILL: a limit"), ("b", None, "SIGKILL: b")],
)
def test_why_a_process_died_before_it_could_run_is_told_to_its_spawner(
    show: Show, killed_by: str | None, cause: str | None, told: str
) -> None:
    initial = show.begin()
    child = show.spawn(initial, 1)
    show.roster.placed(child, show.host)
    show.made(child)
    if killed_by is not None:
        show.roster.blame(child, killed_by)
    show.hear(Told(child, Died(9, 0, cause)))
    text = f"the new process ended before it could run: {told}"
    assert show.host.told[initial][-1] == Refused(1, "SpawnError", text)


def test_what_aborts_before_it_could_run_had_no_thread_most_likely(show: Show) -> None:
    initial = show.begin()
    child = show.spawn(initial, 1)
    show.roster.placed(child, show.host)
    show.made(child)
    show.hear(Told(child, Died(6, 0)))
    refused = show.host.told[initial][-1]
    assert isinstance(refused, Refused)
    assert refused.message == (
        "the new process ended before it could run: SIGABRT, as libzmq ends a process where it can "
        "have no thread"
    )


@pytest.mark.parametrize("ahead", [False, True])
def test_a_process_that_cannot_run_says_why(show: Show, ahead: bool) -> None:
    initial = show.begin()
    child = show.spawn(initial, 1)
    show.roster.placed(child, show.host)
    show.made(child, ahead=ahead)
    show.hear(Said(child, Unable("no more threads")))
    text = "cannot start a process: no more threads"
    assert show.host.told[initial][-1] == Refused(1, "SpawnError", text)
    asked = len(show.asked)
    show.end(child, 1 << 8)
    assert len(show.asked) == asked, "another one could not run either"
    assert not any(isinstance(event, ExitEvent) for event in show.events), "it never was"
    show.end(initial)
    assert show.roster.finished


def spawned_ahead(show: Show) -> tuple[int, int]:
    """An initial process, and a child that its host had ready."""
    initial = show.begin()
    child = show.spawn(initial, 7, wait=False)
    show.roster.placed(child, show.host)
    show.made(child, ahead=True)
    return initial, child


def perish(show: Show, number: int, how: str) -> None:
    show.hear(Silent(number))
    if how == "died":
        show.hear(Told(number, Died(9, 0)))
    show.hear(Gone(number, "monitor killed"))


@pytest.mark.parametrize("how", ["died", "lost"])
def test_what_was_made_ahead_and_is_dead_is_replaced(show: Show, how: str) -> None:
    initial, child = spawned_ahead(show)
    perish(show, child, how)
    assert show.dropped == [child]
    second, needs, wait = show.asked[-1]
    assert (needs, wait) == (NEEDS, False)
    show.roster.placed(second, show.host)
    show.made(second)
    placed = Placed(7, show.host.keys[second], f"tcp://10.0.0.2:{second}")
    assert show.host.told[initial][-1] == placed
    show.hear(Said(second, Ready()))
    show.hear(Said(initial, Accept(7)))
    assert show.host.told[second][-1] == Go()
    show.end(second)
    show.end(initial)
    assert show.roster.finished
    assert len([event for event in show.events if isinstance(event, SpawnEvent)]) == 2


@pytest.mark.parametrize("how", ["died", "lost"])
def test_the_second_was_not_there_before_and_its_death_is_told(show: Show, how: str) -> None:
    initial, child = spawned_ahead(show)
    perish(show, child, how)
    second = show.asked[-1][0]
    show.roster.placed(second, show.host)
    show.made(second)
    perish(show, second, how)
    assert show.asked[-1][0] == second
    assert isinstance(show.host.told[initial][-1], Refused)


def test_who_watches_one_that_was_replaced_hears_that_it_never_was(show: Show) -> None:
    initial, child = spawned_ahead(show)
    show.hear(Said(initial, Watch(show.host.keys[child])))
    perish(show, child, "died")
    assert show.host.told[initial][-1] == Exited(show.host.keys[child], None)


def test_what_was_promised_is_not_replaced(show: Show) -> None:
    initial, child = spawned_ahead(show)
    show.hear(Said(child, Ready()))
    perish(show, child, "died")
    assert show.asked[-1][0] == child
    show.hear(Said(initial, Accept(7)))
    assert show.events[-1].status.signal == "SIGKILL"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "why", ["program killed", "process killed", "limit", "cancelled", "spawner dead", "host lost"]
)
def test_what_was_killed_on_purpose_is_not_replaced(show: Show, why: str) -> None:
    initial, child = spawned_ahead(show)
    cause = None
    if why == "program killed":
        show.roster.kill("ended by SIGINT")
    elif why == "process killed":
        show.roster.kill_one(child, "killed by the user")
    elif why == "limit":
        cause = "used too much"
    elif why == "cancelled":
        show.hear(Said(initial, Cancel(7)))
    elif why == "spawner dead":
        perish(show, initial, "died")
    else:
        show.hear(Crippled("node 10.0.0.2:9999"))
    show.hear(Silent(child))
    show.hear(Told(child, Died(9, 0, cause)))
    show.hear(Gone(child, "monitor killed"))
    assert show.asked[-1][0] == child
    if why in ("process killed", "limit"):  # otherwise nobody is left to be told
        assert isinstance(show.host.told[initial][-1], Refused)


def test_output_is_given_room_as_it_is_taken(show: Show) -> None:
    initial = show.begin()
    show.hear(Told(initial, Output(1, b"x" * 40_000)))
    assert show.host.directed[initial] == [Room(40_000)]
    show.grows = False
    show.hear(Told(initial, Output(1, b"x" * 40_000)))
    assert len(show.host.directed[initial]) == 1
    show.grows = True
    show.roster.give_room()
    assert show.host.directed[initial][1:] == [Room(40_000)]


def test_who_comes_later_is_told_too_that_nobody_reads(show: Show) -> None:
    initial = show.begin()
    show.roster.shut(1)
    child = show.spawn(initial, 1)
    show.roster.placed(child, show.host)
    show.made(child)
    assert show.host.directed == {initial: [Shut(1)], child: [Shut(1)]}


class RosterMachine(RuleBasedStateMachine):
    """Whatever comes in whatever order: room returns once, and spawners are answered once."""

    def __init__(self) -> None:
        super().__init__()
        self.show = Show()
        self.show.roster.start(NEEDS)
        self.requests = 0
        self.asked: set[int] = {self.show.asked[0][0]}
        self.launched: set[int] = set()
        self.made: dict[int, bool] = {}  # whether its control stream is open
        self.alive: set[int] = set()
        self.over: set[int] = set()
        self.spawned_by: dict[int, list[int]] = {}

    def pick(self, data: st.DataObject, those: Iterable[int]) -> int | None:
        choice = sorted(those)
        return data.draw(st.sampled_from(choice)) if choice else None

    @rule(data=st.data(), room=st.booleans())
    def answer(self, data: st.DataObject, room: bool) -> None:
        number = self.pick(data, self.asked - set(self.show.dropped))
        if number is None:
            return
        self.asked.discard(number)
        if room:
            self.show.roster.placed(number, self.show.host)
            self.launched.add(number)
        else:
            self.show.roster.refused(number, "NoCapacity", "none")
            self.over.add(number)

    @rule(data=st.data(), can=st.booleans(), ahead=st.booleans())
    def make(self, data: st.DataObject, can: bool, ahead: bool) -> None:
        number = self.pick(data, self.launched)
        if number is None:
            return
        self.launched.discard(number)
        if can:
            self.show.made(number, ahead=ahead)
            self.made[number] = True
            self.alive.add(number)
        else:
            self.show.hear(Unmade(number, "cannot"))

    @rule(data=st.data())
    def spawn(self, data: st.DataObject) -> None:
        spawner = self.pick(data, (number for number, speaks in self.made.items() if speaks))
        if spawner is None:
            return
        self.requests += 1
        before = len(self.show.asked)
        self.show.hear(Said(spawner, Spawn(self.requests, MEM, CPU, True)))
        self.spawned_by.setdefault(spawner, []).append(self.requests)
        for number, _, _ in self.show.asked[before:]:
            self.asked.add(number)

    @rule(data=st.data(), what=st.sampled_from([Accept, Cancel]))
    def decide(self, data: st.DataObject, what: Any) -> None:
        spawner = self.pick(data, (number for number, speaks in self.made.items() if speaks))
        if spawner is None or not self.spawned_by.get(spawner):
            return
        request = data.draw(st.sampled_from(self.spawned_by[spawner]))
        self.show.hear(Said(spawner, what(request)))

    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        number = self.pick(data, (number for number, speaks in self.made.items() if speaks))
        if number is not None:
            self.show.hear(Said(number, Ready()))

    @rule(data=st.data(), died=st.booleans())
    def end(self, data: st.DataObject, died: bool) -> None:
        number = self.pick(data, self.alive)
        if number is None:
            return
        self.alive.discard(number)
        before = len(self.show.asked)
        if self.made.pop(number):
            self.show.hear(Silent(number))
        if died:
            self.show.hear(Told(number, Died(9, 0)))
        self.show.hear(Gone(number, "monitor killed"))
        for again, _, _ in self.show.asked[before:]:
            self.asked.add(again)

    @rule()
    def kill(self) -> None:
        self.show.roster.kill("killed")

    @invariant()
    def room_returns_once(self) -> None:
        dropped = self.show.dropped
        assert len(dropped) == len(set(dropped))
        assert not self.over & set(dropped)
        held = self.alive | self.launched
        assert not held & set(dropped)
        given = {number for number, _, _ in self.show.asked}
        waiting = self.asked - set(dropped)
        assert given - set(dropped) - self.over == held | waiting

    @invariant()
    def spawners_are_refused_once(self) -> None:
        for told in self.show.host.told.values():
            refused = [each.request for each in told if isinstance(each, Refused)]
            assert len(refused) == len(set(refused))


TestRosterMachine = RosterMachine.TestCase


def ready_and_gone(show: Show) -> tuple[int, int]:
    """A child that was promised to its spawner, and is gone before that decides."""
    initial = show.begin()
    child = show.spawn(initial, 1)
    show.roster.placed(child, show.host)
    show.made(child)
    show.hear(Said(child, Ready()))
    show.end(child, 3 << 8)
    assert len(show.events) == 1
    return initial, child


def test_what_was_promised_and_is_gone_has_happened_if_it_is_accepted(show: Show) -> None:
    initial, child = ready_and_gone(show)
    told = len(show.host.told[child])
    show.hear(Said(initial, Accept(1)))
    kinds = [type(event).__name__ for event in show.events[1:]]
    assert kinds == ["SpawnEvent", "EofEvent", "EofEvent", "ExitEvent"]
    assert len(show.host.told[child]) == told
    show.end(initial)
    assert show.roster.finished


@pytest.mark.parametrize("word", [Said(1, Cancel(1)), Silent(1)])
def test_what_was_promised_and_is_gone_never_was_if_it_is_not_wanted(
    show: Show, word: Said | Silent
) -> None:
    initial, _ = ready_and_gone(show)
    assert initial == 1
    show.hear(word)
    assert len(show.events) == 1
    show.hear(Told(initial, Died(0, 1)))
    show.hear(Gone(initial, ""))
    assert show.roster.finished


# -- what processes wait for


def test_processes_are_asked_what_they_wait_for(show: Show) -> None:
    initial = show.begin()
    show.roster.examine(1)
    assert Examine(1) not in show.host.told[initial], "it may not even be adopted"
    child = show.spawn(initial, 7)
    show.roster.placed(child, show.host)
    show.made(child)
    show.roster.examine(2)
    assert show.host.told[initial][-1] == Examine(2)
    assert Examine(2) not in show.host.told[child]
    show.hear(Said(child, Ready()))
    show.hear(Said(initial, Accept(7)))
    show.roster.examine(3)
    assert show.host.told[child][-1] == Examine(3)
    show.end(child)
    show.roster.examine(4)
    assert Examine(4) not in show.host.told[child]


def test_spawns_that_wait_are_told_by_what_they_are_to_make(show: Show) -> None:
    initial = show.begin()
    waiting, placed = show.spawn(initial, 7), show.spawn(initial, 8)
    show.roster.placed(placed, show.host)
    values = AwaitsValues(b"k" * 16)
    all_of = AwaitsAll((AwaitsRoom(7), AwaitsRoom(8), values))
    show.hear(Said(initial, Examined(3, (AwaitsRoom(7), all_of), 5)))
    told = Examined(3, (AwaitsRoom(waiting), AwaitsAll((AwaitsRoom(waiting), values))), 5)
    assert show.examined == [(initial, show.host, told)]


@pytest.mark.parametrize("request_", [8, 9])
def test_a_process_whose_spawn_does_not_wait_any_more_is_not_told_of(
    show: Show, request_: int
) -> None:
    """One was placed, and one was never heard of."""
    initial = show.begin()
    show.spawn(initial, 7)
    show.roster.placed(show.spawn(initial, 8), show.host)
    show.hear(Said(initial, Examined(3, (AwaitsRoom(7), AwaitsRoom(request_)), 5)))
    show.hear(Said(initial, Examined(3, (), 5)))
    assert show.examined == []
