"""The master: has the scheduler told what happens, and done what it decides.

It opens a session to each node that it knows of, again and again until there is one, and takes
sessions of bridges, and of nodes that nobody has named. Tools ask it on the same port. All that it
knows, others know too: after a restart nodes tell what they have, and bridges what they wait for.
"""

from __future__ import annotations

import logging
import platform
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from constellation.address import Address
from constellation.control import cluster
from constellation.session.loop import Loop, Timer
from constellation.session.sessions import Session
from constellation.version import VERSION
from constellation_daemons import messages
from constellation_daemons.master import events, instructions
from constellation_daemons.master.feed import Feed
from constellation_daemons.master.instructions import Why
from constellation_daemons.master.jobs import SchedulerError
from constellation_daemons.master.orphans import Orphans
from constellation_daemons.master.scheduler import Scheduler
from constellation_daemons.master.values import Amount, RequestId
from constellation_daemons.master.watch import ANSWER, FIRST, Watch
from constellation_daemons.node_config import Enforce
from constellation_daemons.node_config import Node as NodeConfig

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Master"]

logger = logging.getLogger(__name__)

_BY_USER = "killed by a user of the cluster"
_MOST_NAMED = 5  # of what a name may mean
_RENEW = 2.0
_REDIAL = 1.0
_LOOK = 0.5
"""Seconds after which it is looked whether a node has come back."""
_ORPHANS = 1.0
"""Seconds between looks at programs whose bridge is gone."""
_REMEMBERED = 10_000  # programs that have ended
_KINDS = {
    Why.NEVER: "NoCapacity",
    Why.NOT_NOW: "NoCapacity",
    Why.DEADLOCK: "SpawnDeadlock",
}


@dataclass(slots=True, eq=False)
class _Return:
    """A node that lives is awaited: it has given up the session, and with that has lost nothing.

    Attributes:
        seconds: How many of those in which the master runs it has left, until it is lost.
        unsent: What it is told as soon as there is a session, and again if that ends.
    """

    seconds: float
    unsent: list[bytes] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Node:
    """A node, as far as the master has to do with it."""

    name: str
    config: NodeConfig | None
    session: Session | None = None
    incarnation: int | None = None  # while it has joined
    returning: _Return | None = None  # while it has joined, and has not offered itself again
    complaint: str = ""  # what was logged of it last: once is enough
    dialling: bool = False
    heard_at: float | None = None  # in sessions that are over

    def silent(self, now: float) -> float | None:
        """Seconds since it was heard of; None: it never was."""
        if self.session is not None and (silent := self.session.silent(now)) is not None:
            return silent
        return None if self.heard_at is None else now - self.heard_at


class Master:
    """A master, on a service's loop. It is an owner of sessions.

    Args:
        loop: The service's.
        address: Where it is reached.
        nodes: What nodes.toml says.
        feed: Publishes events.
        dial: Opens a session to a node, and calls the first function with it, or the second with
            why there is none.
        timeout: Seconds of silence after which somebody is lost.
        wait: Seconds after which clients are taken though not all nodes have joined.
    """

    def __init__(
        self,
        loop: Loop,
        address: Address,
        nodes: Iterable[NodeConfig],
        feed: Feed,
        dial: Callable[[str, Callable[[Session], None], Callable[[str], None]], None],
        *,
        timeout: float,
        wait: float,
    ) -> None:
        self._loop = loop
        self._address = address
        self._feed = feed
        self._dial_node = dial
        self._timeout = timeout
        self._nodes = {str(each.reached_at): _Node(str(each.reached_at), each) for each in nodes}
        self._by_session: dict[Session, _Node] = {}
        self._bridges: dict[Session, str] = {}
        self._programs: dict[str, Session] = {}
        self._names: dict[str, str] = {}  # of these programs, for people
        self._bridge_of: dict[str, str] = {}  # also of programs whose bridge is not there
        self._ended: dict[str, None] = {}  # programs, those that ended last
        self._placing: dict[RequestId, int] = {}  # the attempt that no node has confirmed
        self._waiting: dict[RequestId, None] = {}
        self._scheduler = Scheduler(monotonic(), self._nodes)
        self._rivals: set[str] = set()  # other masters that were told of
        self._watch = Watch(self._scheduler, random.getrandbits(48))
        self._watching = False
        self._orphans = Orphans(2 * timeout)
        self._looking = False  # at these
        self._open = False
        self._timer: Timer | None = None
        loop.after(wait, self._open_up)
        loop.after(_RENEW, self._renew)
        for node in list(self._nodes.values()):
            loop.after(0, lambda node=node: self._connect(node))  # type: ignore[misc]

    # -- sessions

    def opened(self, session: Session) -> None:
        """Somebody has connected, and will say who it is."""

    def heard(self, session: Session, message: bytes) -> None:
        """Somebody has said something."""
        try:
            node = self._by_session.get(session)
            if node is not None:
                self._hear_node(node, messages.from_node.decode(message))
            else:
                self._hear(session, messages.to_master.decode(message))
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            logger.warning("left %s, which has said what cannot be: %s", session.name, error)
            session.close()
            self.ended(session, str(error))

    def ended(self, session: Session, reason: str | None) -> None:
        """Somebody is gone."""
        node = self._by_session.pop(session, None)
        if node is not None:
            self._session_over(node, session, reason)
        elif (place := self._bridges.pop(session, None)) is not None:
            # Its node may have started another one before this is known.
            which = "an earlier bridge" if place in self._bridges.values() else "a bridge"
            logger.warning("%s is gone: %s", which, reason or "it has ended")
            if session.replaced:
                # It was this master that was not heard of. The bridge is about to say hello.
                self._loop.after(self._timeout, lambda: self._askers_gone(session))
            else:
                self._askers_gone(session)

    def _askers_gone(self, session: Session) -> None:
        """The programs of a bridge have nobody any more who asks for them."""
        for program, owner in list(self._programs.items()):
            if owner is session:
                self._asker_gone(program)
                self._orphan(program)

    def _asker_gone(self, program: str) -> None:
        del self._programs[program]
        self._names.pop(program, None)
        self._forget_waiting(program)
        self._handle(events.AskerGone(program))

    # -- nodes

    def _connect(self, node: _Node) -> None:
        if node.session is not None or node.dialling:
            return
        node.dialling = True

        def ready(session: Session) -> None:
            node.dialling = False
            self._attach(node, session)

        def failed(reason: str) -> None:
            node.dialling = False
            self._node_gone(node, reason)

        self._dial_node(node.name, ready, failed)

    def _attach(self, node: _Node, session: Session) -> None:
        node.session = session
        self._by_session[session] = node
        config = node.config
        ports = None if config is None else config.port_range
        bridge = None if config is None else config.bridge_bind
        mem = None if config is None or config.mem is None else int(config.mem)
        cpu = None if config is None or config.cpu is None else round(float(config.cpu) * 10**9)
        attach = messages.Attach(
            master=str(self._address),
            node=node.name,
            mem=mem,
            cpu=cpu,
            ports=(0, 0) if ports is None else (ports.first, ports.last),
            advertised=Address.parse(node.name).host,
            bridge=None if bridge is None else str(bridge),
            timeout=self._timeout,
            enforce=Enforce.PRESSURE if config is None else config.enforce,
            python=platform.python_version(),
        )
        session.send(messages.encode(attach))
        if node.returning is not None:
            for message in node.returning.unsent:
                session.send(message)

    def _session_over(self, node: _Node, session: Session, reason: str | None) -> None:
        if node.incarnation is None or node.returning is not None or not session.given_up:
            self._node_gone(node, reason)
            return
        # It was this master that was not heard of. What the node runs goes on, as without one.
        logger.warning("node %s: %s; it is asked what it runs", node.name, reason)
        node.session = None
        node.returning = _Return(self._timeout)
        self._await_return(node, node.returning)
        self._connect(node)

    def _await_return(self, node: _Node, awaited: _Return) -> None:
        """Have a node lost that has not offered itself again in time."""

        def look() -> None:
            if node.returning is not awaited:
                return
            # Not by the clock: this master may be stopped once more, and then nobody is late.
            awaited.seconds -= _LOOK
            if awaited.seconds > 0:
                self._loop.after(_LOOK, look)
            else:
                self._lose(node, f"it has not come back within {self._timeout:g} s")

        self._loop.after(_LOOK, look)

    def _lose(self, node: _Node, reason: str | None) -> None:
        incarnation, node.incarnation, node.returning = node.incarnation, None, None
        assert incarnation is not None
        logger.warning("node %s is lost: %s", node.name, reason or "it has ended")
        self._handle(events.NodeLost(node.name, incarnation))

    def _node_gone(self, node: _Node, reason: str | None) -> None:
        now = monotonic()
        silent = node.silent(now)
        node.heard_at = None if silent is None else now - silent
        node.session = None
        if node.incarnation is not None and node.returning is None:
            self._lose(node, reason)
        elif reason is not None and reason != node.complaint:
            logger.warning("node %s: %s", node.name, reason)
        node.complaint = reason or node.complaint
        self._loop.after(_REDIAL, lambda: self._connect(node))

    def _hear_node(self, node: _Node, message: messages.FromNode) -> None:
        if isinstance(message, messages.Offer):
            self._offered(node, message)
        elif isinstance(message, messages.Busy):
            complaint = f"it serves another master, {message.master}"
            if message.master == str(self._address):
                complaint = (
                    "it is this master itself, which does not know that by this address: start the "
                    f"master with {node.name}, or say {self._address} in nodes.toml"
                )
            if complaint != node.complaint:
                logger.error("node %s: %s", node.name, complaint)
                node.complaint = complaint
        elif isinstance(message, messages.AgentEnded):
            session = self._programs.get(message.program.hex())
            if session is not None:
                lost = messages.AgentLost(message.program, node.name, message.text)
                session.send(messages.encode(lost))
        elif node.incarnation is not None:
            self._hear_of_process(node.name, node.incarnation, message)

    def _offered(self, node: _Node, offer: messages.Offer) -> None:
        own = platform.python_version()
        if offer.python.split(".")[:2] != own.split(".")[:2]:
            logger.error(
                "node %s has Python %s, and the master %s: use the same minor version everywhere",
                node.name,
                offer.python,
                own,
            )
            return
        node.incarnation = offer.incarnation
        node.returning = None
        node.complaint = ""
        reports = [
            events.Report(
                RequestId(held.program.hex(), held.number),
                held.attempt,
                held.program.hex(),
                Amount(held.mem, held.cpu),
                None if held.pid is None else held.pid.hex(),
            )
            for held in offer.held
        ]
        capacity = Amount(offer.mem, offer.cpu)
        self._handle(events.NodeJoined(node.name, offer.incarnation, capacity, tuple(reports)))
        for held in offer.held:
            program = held.program.hex()
            self._bridge_of.setdefault(program, held.bridge)
            if program not in self._programs:
                self._orphan(program)
        for bridge in set(self._bridges.values()):
            self._end_others(bridge)
        joined = [each for each in self._nodes.values() if each.incarnation is not None]
        logger.info(
            "node %s has joined with %s: %d of %d",
            node.name,
            capacity.shown,
            len(joined),
            len(self._nodes),
        )
        if len(joined) == len(self._nodes):
            self._open_up()
        elif not self._open:
            self._tell_whether_open(self._bridges)

    def _hear_of_process(self, node: str, incarnation: int, message: messages.FromNode) -> None:
        event: events.Event
        match message:
            case messages.Confirmed(program, number, attempt):
                request = RequestId(program.hex(), number)
                event = events.Confirmed(node, incarnation, request, attempt)
                self._handle(event)
                self._grant(request, attempt, node, incarnation)
                return
            case messages.Started(program, number, attempt, pid):
                request = RequestId(program.hex(), number)
                event = events.Started(node, incarnation, request, attempt, pid.hex())
            case messages.Failed(program, number, attempt, text):
                request = RequestId(program.hex(), number)
                event = events.Failed(node, incarnation, request, attempt, text)
            case messages.Exited(program, number, attempt, status):
                request = RequestId(program.hex(), number)
                event = events.Exited(node, incarnation, request, attempt, status)
            case messages.Leaving():
                event = events.NodeLeaving(node, incarnation)
            case _:
                return
        self._handle(event)

    def _grant(self, request: RequestId, attempt: int, node: str, incarnation: int) -> None:
        if self._placing.get(request) == attempt:
            del self._placing[request]
            program = bytes.fromhex(request.asker)
            self._say(request, messages.Granted(program, request.number, node, incarnation))

    # -- bridges, and nodes that nobody has named

    def _hear(
        self, session: Session, message: messages.FromBridge | messages.Join | messages.Attach
    ) -> None:
        match message:
            case messages.Attach():
                self._turn_away(session, message.master)
            case messages.BridgeHello():
                self._bridge_has_come(session, message)
            case messages.Join(name):
                self._join(session, name)
            case _ if session not in self._bridges:
                raise ValueError("a bridge says hello first")
            case messages.Named(program, name):
                self._runs(program.hex(), session)
                self._names[program.hex()] = name
            case messages.Ask():
                self._ask(session, message)
            case messages.Drop(program, number):
                self._placing.pop(RequestId(program.hex(), number), None)
                if program.hex() in self._programs:
                    self._handle(events.Cancelled(RequestId(program.hex(), number)))
            case messages.Finish(program):
                self._program_ended(program.hex())
            case messages.Examined(program, number, node, question, threads, progress):
                request = RequestId(program.hex(), number)
                self._watch.heard(node, request, question, threads, progress)
            case messages.Believes(program, node, incarnation):
                # Its hello has named all that run. What has ended believes nothing.
                if program.hex() in self._programs:
                    self._handle(events.Told(program.hex(), node, incarnation))

    def _bridge_has_come(self, session: Session, hello: messages.BridgeHello) -> None:
        session.name = hello.endpoint
        logger.info("bridge %s has come, with Python %s", hello.endpoint, hello.python)
        self._bridges[session] = hello.endpoint
        self._take_back(hello)
        for program in hello.programs:
            self._runs(program.hex(), session)
        self._end_others(hello.endpoint)
        for program in hello.ended:
            self._program_ended(program.hex(), unheard=True)
        self._tell_whether_open([session])

    def _take_back(self, hello: messages.BridgeHello) -> None:
        """A bridge is there again whose programs were kept for it."""
        running = {program.hex() for program in hello.programs}
        for program, owner in list(self._programs.items()):
            if owner in self._bridges or self._bridge_of[program] != hello.endpoint:
                continue
            if program in running:
                self._handle(events.AskerBack(program))
            else:
                self._asker_gone(program)

    def _runs(self, program: str, session: Session) -> None:
        """A bridge has this program."""
        self._programs[program] = session
        self._orphans.remove(program)
        self._bridge_of[program] = self._bridges[session]

    def _end_others(self, bridge: str) -> None:
        """A bridge has said what it runs: what else counted as its own has ended."""
        for program, owner in list(self._bridge_of.items()):
            if owner == bridge and program not in self._programs:
                self._program_ended(program)

    def _orphan(self, program: str) -> None:
        """The bridge of a program is not there."""
        self._orphans.add(program, monotonic())
        if not self._looking:
            self._looking = True
            self._loop.after(_ORPHANS, self._look_at_orphans)

    def _look_at_orphans(self) -> None:
        running = {each.program for each in self._scheduler.processes()}
        for program in self._orphans.over(running, monotonic()):
            self._program_ended(program)
        self._looking = bool(self._orphans)
        if self._looking:
            self._loop.after(_ORPHANS, self._look_at_orphans)

    def _program_ended(self, program: str, *, unheard: bool = False) -> None:
        self._programs.pop(program, None)
        self._orphans.remove(program)
        self._names.pop(program, None)
        self._bridge_of.pop(program, None)
        unheard = unheard and program not in self._ended
        self._ended[program] = None
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        self._handle(events.ProgramEnded(program, unheard))
        # It asks for its own processes only: what is remembered for it would be for good.
        self._handle(events.AskerDone(program))

    def _turn_away(self, session: Session, rival: str) -> None:
        """Another master takes this one for a node of its own, and tries so again and again.

        Or it is this one, under another address than its own: it will be told so as the other.
        """
        if rival not in self._rivals and rival != str(self._address):
            self._rivals.add(rival)
            logger.error(
                "another master, %s, wants to have the node %s, which is this master's: a node has "
                "one; stop one of the masters, or take out of its nodes.toml what is not its own",
                rival,
                self._address,
            )
        session.send(messages.encode(messages.Busy(str(self._address))))
        session.close()

    def _join(self, session: Session, name: str) -> None:
        address = str(Address.parse_remote(name))
        session.close()
        node = self._nodes.get(address)
        if node is None:
            logger.info("node %s wants to join", address)
            node = self._nodes[address] = _Node(address, None)
        self._connect(node)

    def _ask(self, session: Session, ask: messages.Ask) -> None:
        program = ask.program.hex()
        self._runs(program, session)
        need = Amount(ask.mem, ask.cpu)
        request = RequestId(program, ask.number)
        self._handle(events.Requested(request, program, need, ask.wait, ask.answered))

    # -- the scheduler

    def _handle(self, event: events.Event) -> None:
        try:
            done = self._scheduler.handle(event, monotonic())
        except SchedulerError as error:
            logger.error("%s", error)
            return
        self._carry_out(done)

    def _tick(self) -> None:
        self._timer = None
        self._carry_out(self._scheduler.tick(monotonic()))

    def _carry_out(self, done: Iterable[instructions.Instruction]) -> None:
        for instruction in done:
            self._do(instruction)
        deadline = self._scheduler.deadline()
        if self._timer is not None and (deadline is None or self._timer.when > deadline):
            self._timer.cancel()
            self._timer = None
        if self._timer is None and deadline is not None:
            self._timer = self._loop.at(deadline, self._tick)

    def _do(self, instruction: instructions.Instruction) -> None:
        match instruction:
            case instructions.Place():
                self._place(instruction)
            case instructions.Queue(request, missing):
                self._waiting[request] = None
                self._placing.pop(request, None)
                self._begin_watching()
                program = bytes.fromhex(request.asker)
                self._say(request, messages.Waits(program, request.number, missing))
            case instructions.Refuse(request, why, text):
                self._settled(request)
                kind = _KINDS.get(why, "SpawnError")
                program = bytes.fromhex(request.asker)
                self._say(request, messages.Refused(program, request.number, kind, text))
            case instructions.AskAgain(request):
                self._settled(request)
                program = bytes.fromhex(request.asker)
                self._say(request, messages.Again(program, request.number))
            case instructions.Lost(asker, node, incarnation):
                session = self._programs.get(asker)
                if session is None:
                    # After a restart: whoever it concerns has not come, and is not told.
                    self._handle(events.AskerGone(asker))
                else:
                    lost = messages.NodeLost(bytes.fromhex(asker), node, incarnation)
                    session.send(messages.encode(lost))
            case instructions.Publish():
                self._feed.publish(instruction)
            case _:
                self._tell_node(instruction)

    def _place(self, place: instructions.Place) -> None:
        request = place.request
        self._settled(request)
        if request.asker not in self._programs:
            return  # its bridge is gone; that is handled by its end
        bridge = self._bridge_of[request.asker]
        self._placing[request] = place.attempt
        self._send_to(
            place.node,
            messages.Place(
                bytes.fromhex(request.asker),
                request.number,
                place.attempt,
                place.need.mem,
                place.need.cpu,
                bridge,
            ),
        )

    def _forget_waiting(self, asker: str) -> None:
        for request in [request for request in self._waiting if request.asker == asker]:
            del self._waiting[request]

    def _settled(self, request: RequestId) -> None:
        self._waiting.pop(request, None)
        self._placing.pop(request, None)

    def _tell_node(self, instruction: instructions.ToNode) -> None:
        match instruction:
            case instructions.Admit(node):
                self._send_to(node, messages.Admitted())
            case instructions.JoinFirst(node):
                self._send_to(node, messages.JoinAgain())
            case instructions.Fence(node, _, programs):
                names = tuple(bytes.fromhex(program) for program in programs)
                self._send_to(node, messages.Fence(names))
            case instructions.Withdraw(node, _, request, attempt):
                program = bytes.fromhex(request.asker)
                self._send_to(node, messages.Withdraw(program, request.number, attempt))
            case instructions.Release(node):
                self._send_to(node, messages.Leave())
                # The scheduler has forgotten it: the end of its session loses nothing.
                self._nodes[node].incarnation = None
                self._nodes[node].returning = None
                logger.info("node %s has left", node)

    def _send_to(self, name: str, message: messages.ToNode) -> None:
        node = self._nodes.get(name)
        if node is None:
            return
        data = messages.encode(message)
        if node.returning is not None:
            node.returning.unsent.append(data)
        if node.session is not None:
            node.session.send(data)

    def _say(self, request: RequestId, message: messages.ToBridge) -> None:
        session = self._programs.get(request.asker)
        if session is not None:
            session.send(messages.encode(message))

    # -- deadlocks

    def _begin_watching(self) -> None:
        if not self._watching:
            self._watching = True
            self._loop.after(FIRST, self._examine)

    def _examine(self) -> None:
        """Have all processes asked what they wait for, if somebody waits for room."""
        if not self._waiting:
            self._watching = False
            self._watch.reset()
            return
        question = messages.encode(messages.Examine(self._watch.ask(monotonic())))
        for session in self._bridges:
            session.send(question)
        self._loop.after(ANSWER, self._check)

    def _check(self) -> None:
        deadlocked = self._watch.check(monotonic())
        if deadlocked is not None:
            logger.warning("a deadlock: %s", deadlocked.text)
            self._handle(deadlocked)
        self._loop.after(self._watch.pause(), self._examine)

    # -- time

    def _renew(self) -> None:
        """Whoever has a session with its bridge still wants what it waits for."""
        for request in list(self._waiting):
            if request in self._waiting and request.asker in self._programs:
                self._handle(events.Renewed(request))
        self._loop.after(_RENEW, self._renew)

    def _open_up(self) -> None:
        if not self._open:
            self._open = True
            self._tell_whether_open(self._bridges)

    def _tell_whether_open(self, bridges: Iterable[Session]) -> None:
        missing = [node.name for node in self._nodes.values() if node.incarnation is None]
        told = messages.Open() if self._open else messages.Missing(tuple(missing))
        for session in bridges:
            session.send(messages.encode(told))

    # -- tools

    def answer(self, request: bytes) -> bytes:
        """Answer a tool."""
        try:
            asked = cluster.request_decoder.decode(request)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("a request that is none: %s", error)
            expected = "expected AskStatus or AskKill of this version of constellation"
            return cluster.encode(cluster.Wrong(f"no request: {error}; {expected}"))
        if isinstance(asked, cluster.AskNode):
            # It is a node too, if it is asked as one.
            node = self._nodes.get(str(self._address))
            ports = None if node is None or node.config is None else node.config.port_range
            own = cluster.NodeAnswer(
                VERSION,
                platform.python_version(),
                str(self._address),
                (0, 0) if ports is None else (ports.first, ports.last),
            )
            return cluster.encode(own)
        if isinstance(asked, cluster.AskWho):
            bridges = sorted(each.removeprefix("tcp://") for each in self._bridges.values())
            return cluster.encode(cluster.Who("master", str(self._address), tuple(bridges)))
        if isinstance(asked, cluster.AskStatus):
            return cluster.encode(self._status(processes=asked.processes))
        return cluster.encode(self._kill(asked.target))

    def _kill(self, target: str) -> cluster.Done | cluster.Wrong:
        start = target.lower()
        if len(start) < cluster.SHORTEST_NAME:
            return cluster.Wrong(cluster.TOO_SHORT)
        programs = [program for program in self._programs if program.startswith(start)]
        running = [each for each in self._scheduler.processes() if each.pid.startswith(start)]
        shown = max(7, len(start) + 3)  # digits
        found = [f"program {name[:shown]}" for name in programs]
        found += [f"process {each.pid[:shown]}" for each in running]
        if not found:
            return cluster.Wrong(f"there is nothing whose name begins with {target}")
        if len(found) > 1:
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            named = ", ".join(found[:_MOST_NAMED]) + more
            return cluster.Wrong(f"several names begin with {target}: {named}; say more of it")
        if programs:
            program = bytes.fromhex(programs[0])
            message: messages.ToBridge = messages.KillProgram(program, _BY_USER)
            self._programs[programs[0]].send(messages.encode(message))
            return cluster.Done(f"program {programs[0][:7]} is being killed")
        (process,) = running
        session = self._programs.get(process.request.asker)
        if session is None:
            return cluster.Wrong(f"the bridge of process {process.pid[:7]} is not there")
        program = bytes.fromhex(process.program)
        message = messages.KillProcess(program, process.request.number, _BY_USER)
        session.send(messages.encode(message))
        return cluster.Done(f"process {process.pid[:7]} is being killed")

    def _status(self, *, processes: bool) -> cluster.Status:
        snapshot = self._scheduler.snapshot()
        now = monotonic()
        views = {view.node: view for view in snapshot.nodes}
        waiting: dict[str, int] = {}
        for request in self._waiting:
            waiting[request.asker] = waiting.get(request.asker, 0) + 1
        nodes = []
        for name, node in sorted(self._nodes.items()):
            view = views.get(name)
            silent = node.silent(now)
            if view is None:
                nodes.append(cluster.NodeState(name, "absent", 0, 0, 0, 0, 0, silent))
                continue
            used = view.capacity.minus(view.free)
            nodes.append(
                cluster.NodeState(
                    name,
                    view.state,
                    view.capacity.mem,
                    view.capacity.cpu,
                    used.mem,
                    used.cpu,
                    view.processes,
                    silent,
                )
            )
        programs = [
            cluster.ProgramState(
                program,
                self._bridges.get(session, ""),
                waiting.get(program, 0),
                self._names.get(program, ""),
            )
            for program, session in sorted(self._programs.items())
        ]
        sizes = [
            cluster.WaitingState(
                each.need.mem, each.need.cpu, each.count, each.seconds, each.reason
            )
            for each in snapshot.waiting
        ]
        return cluster.Status(
            VERSION,
            snapshot.sequence,
            self._feed.port,
            tuple(nodes),
            tuple(programs),
            tuple(sizes),
            tuple(
                cluster.ProcessState(
                    each.pid, each.program, each.node, each.need.mem, each.need.cpu
                )
                for each in (self._scheduler.processes() if processes else ())
            ),
        )
