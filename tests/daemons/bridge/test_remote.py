from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.bridge.roster import Roster
from constellation.control.messages import (
    Accept,
    Cancel,
    Crippled,
    Died,
    Eof,
    FromHost,
    FromMonitor,
    FromProcess,
    Gone,
    Made,
    Output,
    Ready,
    Said,
    Silent,
    Spawn,
    Started,
    Told,
    Unmade,
    Watch,
)
from constellation.pid import Pid
from constellation.resources import Resources
from constellation_daemons.agent.messages import Input, Launch, ToAgent
from constellation_daemons.bridge.errors import Nonsense
from constellation_daemons.bridge.remote import RemoteHost

KEY = bytes(range(16))
ENDPOINT = "tcp://10.0.0.1:4000"


def made(number: int) -> Made:
    return Made(number, os.urandom(16), ENDPOINT)


class Alone:
    """A host whose agent a test plays, and what the bridge hears of it."""

    def __init__(self) -> None:
        self.heard: list[FromHost] = []
        self.sent: list[ToAgent] = []
        self.host = RemoteHost("a", lambda message, host: self.heard.append(message))


def test_what_is_said_before_there_is_an_agent_waits_for_it() -> None:
    alone = Alone()
    alone.host.input(b"typed")
    alone.host.launch(1, initial=True)
    alone.host.connect(alone.sent.append)
    alone.host.launch(2)
    assert alone.sent == [Input(b"typed"), Launch(1, True), Launch(2, False)]


def test_a_lost_host_tells_what_its_agent_would_have() -> None:
    alone = Alone()
    for number in (1, 2, 3):
        alone.host.launch(number)
    alone.host.connect(alone.sent.append)
    alone.host.heard(made(1))
    alone.host.heard(made(2))
    alone.host.heard(Silent(2))
    alone.heard.clear()
    alone.host.lose("unplugged")
    assert alone.heard == [
        Crippled("unplugged"),
        Unmade(3, "unplugged"),
        Silent(1),
        Gone(1, "unplugged"),
        Gone(2, "unplugged"),
    ]
    alone.host.lose("again")
    assert len(alone.heard) == 5


def test_why_no_process_is_made_is_a_sentence() -> None:
    alone = Alone()
    alone.host.launch(1)
    alone.host.lose("node a")
    alone.host.launch(2)
    told = Unmade(1, "node a is lost"), Unmade(2, "node a is lost")
    assert alone.heard == [Crippled("node a"), *told]


def test_why_an_agent_ends_is_kept() -> None:
    alone = Alone()
    alone.host.launch(1)
    alone.host.connect(alone.sent.append)
    assert alone.host.crippled is None
    alone.host.heard(Crippled("node a was killed"))
    assert alone.host.crippled == "node a was killed"
    alone.host.lose("node a")
    assert alone.heard[-1] == Unmade(1, "node a was killed")


def test_a_lost_host_makes_nothing_and_says_nothing() -> None:
    alone = Alone()
    alone.host.connect(alone.sent.append)
    alone.host.lose("unplugged")
    alone.host.launch(1)
    alone.host.input(b"")
    assert alone.heard == [Unmade(1, "unplugged")]
    assert alone.sent == []
    assert not alone.host.used


@pytest.mark.parametrize(
    "message",
    [
        made(2),
        Unmade(2, "why"),
        Said(1, Ready()),
        Told(1, Started(7)),
        Silent(1),
        Gone(1, "why"),
        Made(1, b"short", ENDPOINT),
        Made(1, KEY, "nowhere"),
        Made(3, KEY, ENDPOINT),
        Gone(3, "why"),
        Said(4, Ready()),
        Silent(4),
    ],
)
def test_what_an_agent_may_not_tell_changes_nothing(message: FromHost) -> None:
    alone = Alone()
    alone.host.launch(1)
    for number in (3, 4):
        alone.host.launch(number)
        alone.host.heard(made(number))
    alone.host.heard(Silent(4))
    alone.heard.clear()
    with pytest.raises(Nonsense):
        alone.host.heard(message)
    assert alone.heard == []
    alone.host.heard(made(1))
    alone.host.heard(Silent(3))
    alone.host.heard(Gone(4, "why"))


class RosterOverRemotes(RuleBasedStateMachine):
    """A program on two nodes, whose agents tell what hosts do, until they are lost."""

    numbers: Bundle[int] = Bundle("numbers")

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.asked: list[int] = []
        self.ends: Counter[int] = Counter()
        self.pids: dict[int, Pid] = {}
        self.where: dict[int, RemoteHost] = {}
        self.silent: set[int] = set()
        self.dead: set[int] = set()
        self.at_end: set[tuple[int, int]] = set()
        self.requests = 0
        self.roster = Roster(self, self.show, lambda: True)
        self.hosts = [self.make(name) for name in ("a", "b")]

    def make(self, name: str) -> RemoteHost:
        return RemoteHost(name, self.hear)

    # what the deployment does

    def ask(self, number: int, resources: Resources, *, wait: bool) -> None:
        self.asked.append(number)

    def drop(self, number: int) -> None:
        if number in self.asked:
            self.asked.remove(number)

    def show(self, events: Iterable[Event]) -> None:
        self.events += events

    def hear(self, message: FromHost, host: RemoteHost) -> None:
        if isinstance(message, (Gone, Unmade)):
            self.ends[message.number] += 1
        if isinstance(message, Silent):
            self.silent.add(message.number)
        self.roster.hear(message, host)

    def host_of(self, number: int) -> RemoteHost | None:
        host = self.where.get(number)
        return host if host is not None and host.lost is None else None

    def said(self, number: int, message: FromProcess) -> None:
        host = self.host_of(number)
        if host is not None and number in self.pids and number not in self.silent:
            host.heard(Said(number, message))

    def told(self, number: int, message: FromMonitor) -> None:
        host = self.host_of(number)
        if host is not None and number in self.pids and not self.ends[number]:
            host.heard(Told(number, message))

    # what happens

    @initialize()
    def start(self) -> None:
        self.roster.start(Resources())

    @precondition(lambda self: self.asked)
    @rule(target=numbers, which=st.integers(0, 1))
    def place(self, which: int) -> int:
        number = self.asked.pop(0)
        self.where[number] = self.hosts[which]
        self.roster.placed(number, self.hosts[which])
        return number

    @precondition(lambda self: self.asked)
    @rule()
    def refuse(self) -> None:
        self.roster.refused(self.asked.pop(0), "NoCapacity", "no room")

    @rule(number=numbers, fails=st.booleans())
    def make_it(self, number: int, fails: bool) -> None:
        host = self.host_of(number)
        if host is None or number in self.pids or self.ends[number]:
            return
        if fails:
            host.heard(Unmade(number, "no descriptors"))
        else:
            told = made(number)
            self.pids[number] = Pid(told.key, told.endpoint)
            host.heard(told)

    @rule(number=numbers)
    def spawn(self, number: int) -> None:
        self.requests += 1
        self.said(number, Spawn(self.requests, 1, 0.1, True))

    @rule(number=numbers)
    def ready(self, number: int) -> None:
        self.said(number, Ready())

    @rule(target=numbers, number=numbers, which=st.integers(0, 1))
    def spawn_until_ready(self, number: int, which: int) -> MultipleResults[int]:
        """What the rules above come to only now and then."""
        before = len(self.asked)
        self.make_it(number, False)
        self.spawn(number)
        if len(self.asked) == before:
            return multiple()
        child = self.asked.pop()
        self.where[child] = self.hosts[which]
        self.roster.placed(child, self.hosts[which])
        self.make_it(child, False)
        self.said(child, Ready())
        return multiple(child)

    @rule(number=numbers, data=st.data(), kind=st.sampled_from([Accept, Cancel]))
    def decide(self, number: int, data: st.DataObject, kind: type[Accept | Cancel]) -> None:
        if self.requests:
            self.said(number, kind(data.draw(st.integers(1, self.requests))))

    @rule(watcher=numbers, watched=numbers)
    def watch(self, watcher: int, watched: int) -> None:
        if watched in self.pids:
            self.said(watcher, Watch(self.pids[watched].key))

    @rule(number=numbers, fd=st.sampled_from([1, 2]))
    def write(self, number: int, fd: int) -> None:
        if (number, fd) not in self.at_end:
            self.told(number, Output(fd, b"x"))

    @rule(number=numbers, fd=st.sampled_from([1, 2]))
    def end_stream(self, number: int, fd: int) -> None:
        if (number, fd) not in self.at_end and number in self.pids:
            self.told(number, Eof(fd))
            self.at_end.add((number, fd))

    @rule(number=numbers)
    def die(self, number: int) -> None:
        host = self.host_of(number)
        if host is None or number not in self.pids or number in self.dead or self.ends[number]:
            return
        if number not in self.silent:
            host.heard(Silent(number))
        self.dead.add(number)
        host.heard(Told(number, Died(0, 1)))

    @rule(number=consumes(numbers))
    def go(self, number: int) -> None:
        host = self.host_of(number)
        if host is None or number not in self.pids or self.ends[number]:
            return
        if number not in self.silent:
            host.heard(Silent(number))
        host.heard(Gone(number, "monitor killed"))

    @rule(which=st.integers(0, 1))
    def lose(self, which: int) -> None:
        host = self.hosts[which]
        host.lose(f"node {host.node}")
        assert not host.used
        for number, where in self.where.items():
            if where is host:
                assert self.ends[number] == 1
        self.hosts[which] = self.make(host.node)

    @rule()
    def kill(self) -> None:
        self.roster.kill("killed")

    @invariant()
    def each_ends_at_most_once(self) -> None:
        assert all(count == 1 for count in self.ends.values())

    def teardown(self) -> None:
        self.roster.kill("the end")
        for number in list(self.asked):
            self.asked.remove(number)
            self.roster.refused(number, "NoCapacity", "no room")
        for host in self.hosts:
            host.lose("the end")
        assert set(self.ends) >= set(self.where)
        assert self.roster.finished
        self.check_events()

    def check_events(self) -> None:
        spawns, exits = Counter[Pid](), Counter[Pid]()
        ends = Counter[tuple[Pid, int]]()
        for event in self.events:
            match event:
                case SpawnEvent(pid):
                    spawns[pid] += 1
                case OutputEvent(pid, fd):
                    assert spawns[pid]
                    assert not ends[pid, fd]
                case EofEvent(pid, fd):
                    ends[pid, fd] += 1
                case ExitEvent(pid):
                    exits[pid] += 1
        assert set(spawns.values()) <= {1}
        assert spawns == exits
        assert ends == Counter({(pid, fd): 1 for pid in spawns for fd in (1, 2)})


TestRosterOverRemotes = RosterOverRemotes.TestCase
TestRosterOverRemotes.settings = settings(max_examples=100, stateful_step_count=50)
