from __future__ import annotations

from typing import Any

import pytest

from constellation.address import Address
from constellation.awaited import AwaitsRoom
from constellation.resources import Resources
from constellation.session.loop import Loop
from constellation_daemons import messages
from constellation_daemons.bridge import placing
from constellation_daemons.bridge.placing import MasterPlacing
from constellation_daemons.messages import (
    Again,
    AgentLost,
    Ask,
    Believes,
    BridgeHello,
    Drop,
    Examine,
    Examined,
    Finish,
    Granted,
    KillProcess,
    KillProgram,
    Missing,
    Named,
    NodeLost,
    Open,
    Refused,
    Waits,
    encode,
)

P, Q, R = (bytes([each]) * 16 for each in b"pqr")
NEEDS = Resources(mem="10 MiB", cpu=0.5)


class FakeSession:
    """What the bridge says to a master."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.unreceived = 0

    def send(self, data: bytes) -> None:
        self.said.append(messages.to_master.decode(data))


class Show:
    """A placing, with the sessions it opens, and what it tells."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.sessions: list[FakeSession] = []
        self.told: list[tuple[Any, ...]] = []
        self.placing = MasterPlacing(
            self.loop,
            self,  # type: ignore[arg-type]
            Address.parse("10.0.0.1:9999"),
            "tcp://10.0.0.1:8888",
        )
        self.placing.start(self)

    def dial(self, endpoint: str) -> FakeSession:
        assert endpoint == "tcp://10.0.0.1:9999"
        self.sessions.append(FakeSession())
        return self.sessions[-1]

    @property
    def said(self) -> list[Any]:
        return self.sessions[-1].said

    def hear(self, message: Any) -> None:
        self.placing.heard(encode(message))

    def ask(self, number: int, *, wait: bool = True) -> Ask:
        self.placing.ask(P, number, NEEDS, wait=wait)
        asked = self.said[-1]
        assert isinstance(asked, Ask)
        return asked

    # what it tells

    def open(self) -> None:
        self.told.append(("open",))

    def placed(self, *what: Any) -> None:
        self.told.append(("placed", *what))

    def refused(self, *what: Any) -> None:
        self.told.append(("refused", *what))

    def note(self, *what: Any) -> None:
        self.told.append(("note", *what))

    def examine(self, *what: Any) -> None:
        self.told.append(("examine", *what))

    def node_lost(self, *what: Any) -> None:
        self.told.append(("node_lost", *what))

    def agent_lost(self, *what: Any) -> None:
        self.told.append(("agent_lost", *what))

    def kill(self, *what: Any) -> None:
        self.told.append(("kill", *what))

    def kill_process(self, *what: Any) -> None:
        self.told.append(("kill_process", *what))


@pytest.fixture
def show() -> Any:
    made = Show()
    yield made
    made.loop.close()


def test_it_says_who_it_is_first(show: Show) -> None:
    (hello,) = show.said
    assert isinstance(hello, BridgeHello)
    assert hello.endpoint == "tcp://10.0.0.1:8888"
    show.hear(Open())
    assert show.told == [("open",)]


def test_an_answer_is_told_once(show: Show) -> None:
    asked = show.ask(1)
    assert (asked.mem, asked.cpu, asked.wait) == (10 << 20, 500_000_000, True)
    for _ in range(2):
        show.hear(Granted(P, 1, "10.0.0.2:9999", 7))
    show.hear(Refused(P, 1, "NoCapacity", "too late"))
    assert show.told == [("placed", P, 1, "10.0.0.2:9999")]


def test_a_program_that_asks_has_a_name(show: Show) -> None:
    show.placing.begin(P, "fib.py")
    show.placing.begin(Q, "other.py")
    assert len(show.said) == 1, "nothing is asked for yet"
    first, second = show.ask(1), show.ask(2)
    assert show.said[1:] == [Named(P, "fib.py"), first, second]
    show.placing.ended("gone")
    assert show.loop.run(lambda: len(show.sessions) == 2, 10)
    assert show.said[1:3] == [Named(P, "fib.py"), first]
    show.placing.finish(P)
    show.placing.ask(P, 3, NEEDS, wait=True)
    assert Named not in map(type, show.said[3:])


def test_a_refusal_is_told(show: Show) -> None:
    show.ask(1, wait=False)
    show.hear(Refused(P, 1, "NoCapacity", "no room now"))
    assert show.told == [("refused", P, 1, "NoCapacity", "no room now")]


def test_what_was_answered_is_said(show: Show) -> None:
    assert show.ask(1).answered == 1
    assert show.ask(2).answered == 1
    show.hear(Granted(P, 1, "10.0.0.2:9999", 7))
    assert show.ask(3).answered == 2


def test_what_is_dropped_is_not_told(show: Show) -> None:
    show.ask(1)
    show.placing.drop(P, 1)
    assert show.said[-1] == Drop(P, 1)
    show.hear(Granted(P, 1, "10.0.0.2:9999", 7))
    assert show.told == []


def test_what_is_granted_to_a_program_that_has_ended_goes_back(show: Show) -> None:
    show.ask(1)
    show.placing.finish(P)
    assert show.said[-1] == Finish(P)
    show.hear(Granted(P, 1, "10.0.0.2:9999", 7))
    assert show.said[-1] == Finish(P)
    assert show.told == []


def test_a_new_master_is_told_everything(show: Show) -> None:
    for number in (1, 2, 3):
        show.ask(number)
    show.hear(Granted(P, 1, "10.0.0.2:9999", 7))
    show.hear(NodeLost(P, "10.0.0.3:9999", 5))
    show.placing.drop(P, 3)
    show.placing.ended("it was killed")
    show.placing.drop(P, 9)  # nobody hears it, and it is said again
    assert show.loop.run(lambda: len(show.sessions) == 2, 10)
    hello, *rest = show.said
    assert isinstance(hello, BridgeHello)
    assert hello.programs == (P,)
    assert rest[0] == Believes(P, "10.0.0.3:9999", 5)
    assert [(each.number, type(each)) for each in rest[1:]] == [(2, Ask), (9, Drop)]
    assert show.told[-1] == ("node_lost", P, "10.0.0.3:9999")


def test_a_node_that_is_used_again_is_not_believed_lost(show: Show) -> None:
    show.hear(Open())
    for number in (1, 2):
        show.ask(number)
    for node in ("10.0.0.2:9999", "10.0.0.3:9999"):
        show.hear(NodeLost(P, node, 5))
    show.hear(Granted(P, 1, "10.0.0.2:9999", 5))
    show.hear(Granted(P, 2, "10.0.0.3:9999", 6))
    show.hear(NodeLost(P, "10.0.0.3:9999", 6))
    show.placing.ended("gone")
    assert show.loop.run(lambda: len(show.sessions) == 2, 10.0)
    believed = [each for each in show.said if isinstance(each, Believes)]
    assert {(each.node, each.incarnation) for each in believed} == {
        ("10.0.0.3:9999", 5),
        ("10.0.0.3:9999", 6),
    }


def test_a_program_that_has_ended_believes_nothing(show: Show) -> None:
    """The master may lose a node just before it hears of the end of what ran there."""
    show.ask(1)
    show.hear(Granted(P, 1, "10.0.0.2:9999", 5))
    show.placing.finish(P)
    show.hear(NodeLost(P, "10.0.0.2:9999", 5))
    show.sessions[-1].unreceived = 1
    for count in (2, 3):
        show.placing.ended("gone")
        assert show.loop.run(lambda n=count: len(show.sessions) == n, 10.0)  # type: ignore[misc]
        (hello,) = show.said
        assert (hello.programs, hello.ended) == ((), (P,))
        show.sessions[-1].unreceived = 1


def test_a_master_is_told_what_is_not_wanted_until_one_has_heard_it(show: Show) -> None:
    show.hear(Open())
    for number in (1, 2, 3):
        show.ask(number)
    show.placing.drop(P, 1)
    show.sessions[-1].unreceived = 1
    show.placing.drop(P, 2)
    show.placing.ended("gone")
    assert show.loop.run(lambda: len(show.sessions) == 2, 10.0)
    assert show.said[-2:] == [Drop(P, 1), Drop(P, 2)]
    show.placing.finish(P)
    show.placing.ended("gone")
    assert show.loop.run(lambda: len(show.sessions) == 3, 10.0)
    assert not any(isinstance(each, Drop) for each in show.said)


def test_a_master_is_told_what_has_ended_until_one_has_heard_it(show: Show) -> None:
    for program in (P, Q, R):
        show.placing.ask(program, 1, NEEDS, wait=True)
    show.placing.finish(P)  # this is received
    show.sessions[-1].unreceived = 0
    show.placing.finish(Q)  # and this is not
    show.sessions[-1].unreceived = 1
    show.placing.ended("it was cut off")
    show.placing.finish(R)
    assert show.loop.run(lambda: len(show.sessions) == 2, 10)
    assert (show.said[0].programs, show.said[0].ended) == ((), (Q, R))
    show.sessions[-1].unreceived = 1
    show.placing.ended("it was cut off again")
    assert show.loop.run(lambda: len(show.sessions) == 3, 10)
    assert show.said[0].ended == (Q, R)
    show.placing.ended("it was killed")
    assert show.loop.run(lambda: len(show.sessions) == 4, 10)
    assert show.said[0].ended == ()


def test_a_master_that_does_not_know_a_request_is_asked_again(show: Show) -> None:
    asked = show.ask(1)
    show.hear(Again(P, 1))
    assert show.said[-1] == asked
    before = len(show.said)
    show.hear(Again(P, 2))
    assert len(show.said) == before


def test_the_user_is_told_of_what_waits_for_long(show: Show) -> None:
    show.ask(1)
    show.ask(2)
    show.hear(Waits(P, 1, False))
    show.hear(Waits(P, 2, True))
    show.hear(Granted(P, 1, "10.0.0.2:9999", 7))
    assert show.loop.run(lambda: len(show.told) > 1, 10)
    show.loop.run(lambda: False, 0.1)
    assert show.told[1:] == [("note", P, "a process waits for a node that is large enough")]


def test_the_user_is_told_once_of_all_that_waits(show: Show) -> None:
    for number in (1, 2, 3):
        show.ask(number)
        show.hear(Waits(P, number, False))
    assert show.loop.run(lambda: bool(show.told), 10)
    show.loop.run(lambda: False, 0.2)
    told = [("note", P, "a process waits for room")]
    assert show.told == told
    for number in (1, 2, 3):
        show.hear(Granted(P, number, "10.0.0.2:9999", 7))
    show.ask(4)
    show.hear(Waits(P, 4, False))
    assert show.loop.run(lambda: len(show.told) == 5, 10)
    assert show.told[-1:] == told


def test_the_loss_of_an_agent_is_passed_on(show: Show) -> None:
    show.hear(AgentLost(P, "10.0.0.2:9999", "it was killed"))
    assert show.told == [("agent_lost", P, "10.0.0.2:9999", "it was killed")]


def test_kills_are_passed_on(show: Show) -> None:
    show.hear(KillProgram(P, "by a user"))
    show.hear(KillProcess(P, 4, "by a user"))
    assert show.told == [("kill", P, "by a user"), ("kill_process", P, 4, "by a user")]


def test_what_processes_wait_for(show: Show) -> None:
    show.hear(Examine(7))
    assert show.told == [("examine", 7)]
    show.placing.examined(P, 3, "10.0.0.2:9999", 7, (AwaitsRoom(4),), 2)
    assert show.said[-1] == Examined(P, 3, "10.0.0.2:9999", 7, (AwaitsRoom(4),), 2)


def test_what_is_lacking_is_told(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "_ABSENT_AFTER", 0.0)
    assert show.placing.lacking == "the master, 10.0.0.1:9999, which is not there"
    show.ask(1)
    show.ask(2)
    show.loop.run(lambda: bool(show.told), 5)
    absent = "a process waits for the master, 10.0.0.1:9999, which is not there"
    assert show.told == [("note", P, absent)]
    show.hear(Missing(("10.0.0.2:9999", "10.0.0.3:9999")))
    assert show.placing.lacking == "nodes that have not joined: 10.0.0.2:9999, 10.0.0.3:9999"
    show.hear(Open())
    show.ask(3)
    # Once for each time that all that was asked was answered.
    for number in (1, 2, 3):
        show.hear(Granted(P, number, "10.0.0.2:9999", 1))
    show.told.clear()
    show.ask(4)
    show.placing.ended("it has ended")
    show.loop.run(lambda: bool(show.told), 5)
    assert show.told == [("note", P, absent)]
