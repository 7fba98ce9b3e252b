"""The master's side of sessions, whose other ends are the test's."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from constellation.address import Address
from constellation.control import cluster
from constellation.control.messages import Status
from constellation.session.loop import Loop
from constellation_daemons import messages
from constellation_daemons.master.instructions import Publish
from constellation_daemons.master.service import Master
from constellation_daemons.messages import (
    AgentEnded,
    AgentLost,
    Ask,
    Attach,
    Believes,
    BridgeHello,
    Confirmed,
    Drop,
    Exited,
    Fence,
    Finish,
    Granted,
    Held,
    Offer,
    Place,
    Withdraw,
)
from constellation_daemons.node_config import Enforce
from constellation_daemons.node_config import Node as NodeConfig

PYTHON = platform.python_version()
P, Q = b"p" * 16, b"q" * 16
NODE = "10.0.0.2:9999"
BRIDGE = "tcp://10.0.0.2:8888"
GIB = 1 << 30


class FakeSession:
    """What the master says to a peer."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Any]) -> None:
        self._decoder = decoder
        self.name = "peer"
        self.given_up = False
        self.replaced = False
        self.said: list[Any] = []
        self.closed = False

    def send(self, data: bytes) -> None:
        self.said.append(self._decoder.decode(data))

    def close(self) -> None:
        self.closed = True

    def silent(self, now: float) -> float:
        return 0.0


class World:
    """A master, and whoever it talks to."""

    port = 5555

    def __init__(self, timeout: float = 5.0) -> None:
        self.loop = Loop()
        self.published: list[tuple[str, str | None]] = []
        self.node = FakeSession(messages.to_node)
        config = NodeConfig(Address.parse(NODE))
        here = Address.parse("10.0.0.1:9999")
        self.master = Master(
            self.loop,
            here,
            [config],
            self,  # type: ignore[arg-type]
            lambda name, ready, failed: ready(self.node),  # type: ignore[arg-type]
            timeout=timeout,
            wait=10.0,
        )
        assert self.loop.run(lambda: bool(self.node.said), 10)

    def publish(self, event: Publish) -> None:
        self.published.append((event.topic.value, event.program))

    def ended(self, program: bytes) -> int:
        return self.published.count(("program.ended", program.hex()))

    def hear(self, session: FakeSession, message: Any) -> None:
        self.master.heard(session, messages.encode(message))  # type: ignore[arg-type]

    def offer(self, *held: Held) -> None:
        self.hear(self.node, Offer(1, PYTHON, GIB, 10**9, held))

    def bridge(self, *, programs: tuple[bytes, ...] = (), ended: tuple[bytes, ...] = ()) -> Any:
        session = FakeSession(messages.to_bridge)
        self.hear(session, BridgeHello(BRIDGE, PYTHON, programs, ended))
        return session

    def gone(self, session: FakeSession) -> None:
        self.master.ended(session, "cut off")  # type: ignore[arg-type]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.loop.close()


def held(program: bytes) -> Held:
    return Held(program, 1, 1, 1 << 20, 10**7, b"k" * 16, BRIDGE)


def ask(program: bytes) -> Ask:
    return Ask(program, 1, 1 << 20, 10**7, True, 0)


def test_the_end_of_a_program_is_published(world: World) -> None:
    world.offer()
    bridge = world.bridge()
    world.hear(bridge, ask(P))
    world.hear(bridge, Finish(P))
    assert world.ended(P) == 1


def test_a_bridge_that_comes_back_without_a_program_has_ended_it(world: World) -> None:
    world.offer()
    bridge = world.bridge()
    for program in (P, Q):
        world.hear(bridge, ask(program))
    world.gone(bridge)
    assert (world.ended(P), world.ended(Q)) == (0, 0)
    world.bridge(programs=(Q,), ended=(P,))
    assert (world.ended(P), world.ended(Q)) == (1, 0)


def test_a_new_master_publishes_the_end_that_the_old_one_did_not_hear_of(world: World) -> None:
    bridge = world.bridge(ended=(P,))
    assert world.ended(P) == 1
    world.gone(bridge)
    world.bridge(ended=(P,))
    assert world.ended(P) == 1, "it has heard of that"


@pytest.mark.parametrize("node_first", [True, False])
def test_what_only_a_node_still_knows_of_has_ended(world: World, node_first: bool) -> None:
    if node_first:
        world.offer(held(P), held(Q))
    world.bridge(programs=(Q,))
    if not node_first:
        world.offer(held(P), held(Q))
    assert (world.ended(P), world.ended(Q)) == (1, 0)


def test_a_program_whose_bridge_stays_away_has_ended_when_nothing_of_it_runs() -> None:
    world = World(timeout=0.5)
    world.offer(held(P), held(Q))
    bridge = world.bridge(programs=(P, Q))
    world.gone(bridge)
    world.hear(world.node, Exited(P, 1, 1, Status(signal="SIGKILL")))
    assert world.loop.run(lambda: world.ended(P) == 1, 10)
    assert world.ended(Q) == 0, "it runs, so its bridge may be only cut off"
    world.bridge(ended=(P,), programs=(Q,))
    assert (world.ended(P), world.ended(Q)) == (1, 0)
    world.loop.close()


def test_a_new_master_ends_what_has_no_bridge_any_more() -> None:
    world = World(timeout=0.5)
    world.offer(held(P))
    world.hear(world.node, Exited(P, 1, 1))
    assert world.loop.run(lambda: world.ended(P) == 1, 10)
    world.loop.close()


def names(world: World) -> dict[str, str]:
    request = cluster.encode(cluster.AskStatus(False))
    status = cluster.reply_decoder.decode(world.master.answer(request))
    assert isinstance(status, cluster.Status)
    return {each.program: each.name for each in status.programs}


def test_programs_have_names_for_as_long_as_they_run(world: World) -> None:
    world.offer()
    bridge = world.bridge()
    world.hear(bridge, messages.Named(P, "fib.py"))
    world.hear(bridge, ask(P))
    world.hear(bridge, ask(Q))
    assert names(world) == {P.hex(): "fib.py", Q.hex(): ""}
    world.gone(bridge)
    assert names(world) == {}
    bridge = world.bridge(programs=(P,))
    world.hear(bridge, messages.Named(P, "fib.py"))
    assert names(world) == {P.hex(): "fib.py"}
    world.hear(bridge, Finish(P))
    assert names(world) == {}
    world.hear(bridge, ask(P))
    assert names(world) == {P.hex(): ""}


def test_what_a_program_believes_that_has_ended_does_not_have_it_run(world: World) -> None:
    bridge = world.bridge(programs=(P,), ended=(Q,))
    for program in (P, Q):
        world.hear(bridge, Believes(program, NODE, 1))
    assert names(world) == {P.hex(): ""}
    world.offer(held(P))
    assert world.node.said[-1] == Fence((P,)), "of what is lost to it the node has to be rid"


def test_nothing_is_kept_for_a_program_that_has_ended(world: World) -> None:
    world.offer()
    bridge = world.bridge()
    world.hear(bridge, messages.Named(P, "fib.py"))
    world.hear(bridge, ask(P))
    world.hear(world.node, Confirmed(P, 1, 1))
    world.hear(world.node, messages.Started(P, 1, 1, b"k" * 16))
    world.hear(world.node, Exited(P, 1, 1))
    askers = world.master._scheduler._requests.askers
    assert P.hex() in askers
    world.hear(bridge, Finish(P))
    world.hear(bridge, Drop(P, 1))  # it may learn so late that it needs no room
    assert len(askers) == 0


@pytest.mark.parametrize("name", ["[::]:0", "0.0.0.0:9999", "10.0.0.9:0", "nonsense"])
def test_a_node_that_nobody_can_connect_to_does_not_join(world: World, name: str) -> None:
    session = FakeSession(messages.to_bridge)
    world.hear(session, messages.Join(name))
    assert session.closed
    status = cluster.reply_decoder.decode(
        world.master.answer(cluster.encode(cluster.AskStatus(False)))
    )
    assert isinstance(status, cluster.Status)
    assert [node.node for node in status.nodes] == [NODE]


def test_another_master_is_turned_away_and_told_of_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    rival = "10.0.0.7:9999"
    for _ in range(2):
        session = FakeSession(messages.from_node)
        ports = (0, 0)
        attach = Attach(rival, NODE, None, None, ports, "10.0.0.1", None, 5.0, Enforce.OFF, PYTHON)
        world.hear(session, attach)
        assert session.said == [messages.Busy("10.0.0.1:9999")]
        assert session.closed
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"another master, {rival}, wants to have the node 10.0.0.1:9999, ")


def test_a_master_that_takes_itself_for_a_node_is_told_what_would_be_right(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """nodes.toml says alpha:9999, it was started with 10.0.0.1:9999, and that is one machine."""
    own = "10.0.0.1:9999"
    for _ in range(2):
        session = FakeSession(messages.from_node)
        attach = Attach(own, NODE, None, None, (0, 0), "10.0.0.1", None, 5.0, Enforce.OFF, PYTHON)
        world.hear(session, attach)
        assert session.said == [messages.Busy(own)]
        world.hear(world.node, messages.Busy(own))
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"node {NODE}: it is this master itself, which does not know that by this address: start "
        f"the master with {NODE}, or say {own} in nodes.toml"
    )


def test_the_end_of_an_agent_is_told_to_the_bridge(world: World) -> None:
    world.offer()
    bridge = world.bridge()
    world.hear(bridge, ask(P))
    place = world.node.said[-1]
    assert isinstance(place, Place)
    world.hear(world.node, Confirmed(P, 1, place.attempt))
    world.hear(world.node, AgentEnded(P, "it was killed"))
    assert bridge.said[-1] == AgentLost(P, NODE, "it was killed")
    world.hear(world.node, AgentEnded(Q, "of a program that nobody has"))


def test_what_could_not_be_made_is_not_placed_again(world: World) -> None:
    """The node and the bridge both say so, in any order."""
    world.offer()
    bridge = world.bridge()
    world.hear(bridge, ask(P))
    world.hear(world.node, Confirmed(P, 1, 1))
    world.hear(world.node, Exited(P, 1, 1, Status(lost="all ports are in use")))
    before = list(world.node.said)
    world.hear(bridge, Drop(P, 1))
    world.hear(bridge, Finish(P))
    assert world.node.said == before


# -- a master that was stopped --------------------------------------------------------------------


def given_up(world: World) -> None:
    world.node.given_up = True
    world.gone(world.node)
    world.node.given_up = False


def lost(world: World) -> int:
    return [topic for topic, _ in world.published].count("node.lost")


def test_a_node_that_gave_up_the_session_loses_nothing(world: World) -> None:
    bridge = world.bridge()
    world.offer(held(Q))
    world.hear(bridge, ask(Q))
    given_up(world)
    assert isinstance(world.node.said[-1], Attach), "it is dialled at once"
    world.hear(bridge, ask(P))
    place = world.node.said[-1]
    assert isinstance(place, Place)
    world.offer(held(Q))
    world.hear(world.node, Confirmed(P, 1, place.attempt))
    assert bridge.said[-1] == Granted(P, 1, NODE, 1)
    world.loop.run(lambda: False, 2.0)
    assert lost(world) == 0
    world.gone(world.node)
    assert lost(world) == 1, "now it is silent"


def test_what_a_node_is_told_meanwhile_is_told_again(world: World) -> None:
    bridge = world.bridge()
    world.offer()
    given_up(world)
    world.hear(bridge, ask(P))
    said = len(world.node.said)
    world.gone(world.node)
    assert world.loop.run(lambda: len(world.node.said) == said + 2, 10.0)
    attach, place = world.node.said[-2:]
    assert isinstance(attach, Attach)
    assert isinstance(place, Place)
    assert lost(world) == 0


def test_a_node_that_does_not_come_back_is_lost(world: World) -> None:
    world.offer()
    given_up(world)
    start = time.monotonic()
    assert world.loop.run(lambda: lost(world) == 1, 10.0)
    assert time.monotonic() - start > 4.0
    world.offer()
    assert ("node.joined", None) in world.published[-2:]


def replaced(world: World, bridge: Any) -> None:
    bridge.replaced = True
    world.gone(bridge)


def test_what_is_under_way_goes_on_when_a_bridge_has_another_session(world: World) -> None:
    bridge = world.bridge()
    world.offer()
    for number in (1, 2):
        world.hear(bridge, Ask(P, number, 1 << 20, 10**7, True, 1))
    world.hear(world.node, Confirmed(P, 1, 1))
    replaced(world, bridge)
    world.hear(world.node, Confirmed(P, 2, 1))  # which the bridge is not told
    again = world.bridge(programs=(P,))
    world.hear(again, Ask(P, 2, 1 << 20, 10**7, True, 2))
    world.hear(world.node, Confirmed(P, 2, 1))
    assert again.said[-1] == Granted(P, 2, NODE, 1)
    assert not any(isinstance(each, Withdraw) for each in world.node.said)
    world.loop.run(lambda: False, 5.5)
    assert not any(isinstance(each, Withdraw) for each in world.node.said)
    world.gone(again)
    assert [type(each) for each in world.node.said].count(Withdraw) == 2


def test_a_bridge_with_another_session_may_have_lost_a_program(world: World) -> None:
    bridge = world.bridge()
    world.offer()
    world.hear(bridge, ask(P))
    world.hear(bridge, ask(Q))
    replaced(world, bridge)
    world.bridge(programs=(Q,), ended=(P,))
    assert (world.ended(P), world.ended(Q)) == (1, 0)
    assert Withdraw(P, 1, 1) in world.node.said
    assert Withdraw(Q, 1, 1) not in world.node.said


def test_a_bridge_that_begins_a_session_and_does_not_come_is_gone(world: World) -> None:
    bridge = world.bridge()
    world.offer()
    world.hear(bridge, ask(P))
    replaced(world, bridge)
    assert world.loop.run(lambda: Withdraw(P, 1, 1) in world.node.said, 10.0)


def test_who_is_stopped_once_more_still_waits(world: World) -> None:
    world.offer()
    given_up(world)
    world.loop.after(0.2, lambda: time.sleep(6.0))
    world.loop.run(lambda: False, 7.0)
    assert lost(world) == 0


# -- kill -----------------------------------------------------------------------------------------


def kill(world: World, target: str) -> cluster.Reply:
    reply: cluster.Reply = cluster.reply_decoder.decode(
        world.master.answer(cluster.encode(cluster.AskKill(target)))
    )
    return reply


@pytest.mark.parametrize("target", ["", "7", "707"])
def test_a_name_that_is_too_short_kills_nothing(world: World, target: str) -> None:
    world.offer()
    bridge = world.bridge()
    world.hear(bridge, ask(P))
    said = len(bridge.said)
    assert kill(world, target) == cluster.Wrong(cluster.TOO_SHORT)
    assert len(bridge.said) == said


def test_what_several_names_begin_with_kills_nothing(world: World) -> None:
    world.offer()
    bridge = world.bridge()
    programs = [b"pp" + bytes([number]) * 14 for number in range(10)]
    for program in programs:
        world.hear(bridge, ask(program))
    said = len(bridge.said)
    reply = kill(world, "7070")
    assert isinstance(reply, cluster.Wrong)
    assert f"several names begin with 7070: program {programs[0].hex()[:7]}, program " in reply.text
    assert reply.text.endswith(" and 5 more; say more of it")
    assert len(bridge.said) == said
    assert kill(world, "7071") == cluster.Wrong("there is nothing whose name begins with 7071")
    first = programs[0].hex()
    assert kill(world, first[:6]) == cluster.Done(f"program {first[:7]} is being killed")
    assert len(bridge.said) == said + 1
