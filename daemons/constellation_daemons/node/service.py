"""The node: keeps the accounts of what its master has placed on it, and an agent for each program.

It serves one master. A master that is silent changes nothing for what runs: a new one is told what
there is. A program goes when its agent does, and that when its bridge does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import selectors
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from constellation.address import Address, PortRange
from constellation.control import cluster
from constellation.control.stream import ControlError, MessageStream
from constellation.exit_status import ExitStatus
from constellation.process import system
from constellation.security.keypair import Keypair
from constellation.session.loop import Loop, Timer
from constellation.session.sessions import Session
from constellation.transport.descriptors import explained
from constellation.version import VERSION
from constellation_daemons.agent.messages import (
    Dead,
    Kill,
    Over,
    Running,
    Setup,
    ToNode,
    Unreached,
    Weigh,
    Weighed,
    to_node,
)
from constellation_daemons.agent.processors import sweep
from constellation_daemons.children import start_part
from constellation_daemons.logs import current_format
from constellation_daemons.master.values import Amount
from constellation_daemons.messages import (
    Admitted,
    AgentEnded,
    Attach,
    Busy,
    Confirmed,
    Fence,
    FromNode,
    JoinAgain,
    Leave,
    Leaving,
    Offer,
    Place,
    Withdraw,
    encode,
)
from constellation_daemons.messages import to_node as from_master
from constellation_daemons.node.bridge import BridgeProcess
from constellation_daemons.node.capacity import machine_capacity
from constellation_daemons.node.enforcement import Enforcement
from constellation_daemons.node.groups import prepare
from constellation_daemons.node.ledger import Ledger
from constellation_daemons.node.places import Places
from constellation_daemons.node.remains import Remains
from constellation_daemons.node_config import Enforce

__all__ = ["Node"]

logger = logging.getLogger(__name__)

_REAP_AGAIN = 1.0
"""Seconds until children are looked for again that could not be."""
_SWEEPS = 5
_SWEEP_AGAIN = 1.0
"""Seconds until control groups that were still in use are removed, and how often it is tried."""


@dataclass(slots=True, eq=False)
class _Agent:
    """A program's agent.

    Attributes:
        late: Whether something was placed after it was started: if it was about to end then, that
            is for the next one.
        over: Whether the program has ended: there is no next one.
        unreached: Why it has not come to the bridge; None: it has, or may still.
    """

    process: subprocess.Popen[bytes]
    stream: MessageStream[ToNode]
    watched: bool = True
    late: bool = False
    over: bool = False
    unreached: str | None = None
    doomed: set[int] = field(default_factory=set)  # killed as soon as they exist


class Node:
    """A node, on a service's loop. It is an owner of sessions: those that masters open to it.

    Args:
        loop: The service's.
        listens: Where it listens.
        host: The first address of that in numbers: processes listen there.
        keypair: The key of the cluster; None: connections are not secured.
        places: Where it keeps things.
        limit: The most that it gives; None: what the machine has, or the master says.
        ports: Where its processes listen; None: anywhere, or where the master says.
    """

    def __init__(
        self,
        loop: Loop,
        listens: Address,
        host: str,
        keypair: Keypair | None,
        places: Places,
        *,
        limit: Amount | None = None,
        ports: PortRange | None = None,
    ) -> None:
        self._loop = loop
        self._listens = listens
        self._host = host
        self._keypair = keypair
        self._places = places
        self._limit = limit
        self._ports = (0, 0) if ports is None else (ports.first, ports.last)
        # Larger at each start, also where the clock was set back in between: see `Held`.
        self._incarnation = time.time_ns()
        self._ledger = Ledger()
        self._agents: dict[bytes, _Agent] = {}
        self._master: Session | None = None
        self._attached: Attach | None = None
        self._fenced: set[bytes] = set()  # programs that end before the node offers itself again
        self._bridge: BridgeProcess | None = None
        self._stopping = False
        self._reap_timer: Timer | None = None
        self._enforcement: Enforcement | None = None  # under pressure
        self._groups = prepare()
        self._remains = Remains(loop, places.store, places.store_limit, places.trees)

    def kill(self) -> None:
        """Whatever has not ended is killed."""
        for agent in self._agents.values():
            agent.process.kill()
        if self._bridge is not None:
            self._bridge.kill()

    @property
    def attached(self) -> bool:
        """Whether there is a master."""
        return self._master is not None

    @property
    def was_attached(self) -> bool:
        """Whether there is a master, or has been one."""
        return self._attached is not None

    @property
    def idle(self) -> bool:
        """Whether nothing runs here."""
        ended = self._bridge is None or self._bridge.ended
        return ended and not self._agents and not self._remains.busy

    @property
    def has_programs(self) -> bool:
        """Whether programs run here, whichever bridge they were deployed to."""
        return bool(self._agents)

    def rest(self, wanted: bool) -> None:
        """Have the bridge end as soon as nobody uses it, or stay."""
        if self._bridge is not None:
            self._bridge.rest(wanted)

    def move_log(self) -> None:
        """Have the bridge log where this process does now."""
        if self._bridge is not None:
            self._bridge.move_log()

    def stop(self) -> None:
        """End everything that runs here."""
        self._stopping = True
        self._enforce(Enforce.OFF)
        self._tell([Leaving()])
        if self._bridge is not None:
            self._bridge.stop()
        for agent in self._agents.values():
            agent.process.terminate()

    def reap(self) -> None:
        """A child has ended, or more."""
        if self._bridge is not None:
            self._bridge.reap()
            if self._bridge.left:
                self._bridge = None
        known = {agent.process.pid for agent in self._agents.values()}
        if self._bridge is not None:
            known.add(self._bridge.os_pid)
        try:
            children = system.children()
        except OSError as error:  # strangers may have taken all descriptors
            logger.warning("children cannot be looked for: %s; it is tried again", error.strerror)
            if self._reap_timer is None:
                self._reap_timer = self._loop.after(_REAP_AGAIN, self._reap_again)
            children = []
        for child in children:
            if child not in known:
                # Of an agent that was killed: it ends by itself.
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, os.WNOHANG)
        for program, agent in list(self._agents.items()):
            if agent.process.poll() is not None:
                self._agent_ended(program, agent)

    def _reap_again(self) -> None:
        self._reap_timer = None
        self.reap()

    def answer(self, request: bytes) -> bytes:
        """Answer a tool."""
        try:
            asked = cluster.request_decoder.decode(request)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("a request that is none: %s", error)
            return cluster.encode(cluster.Wrong(f"no request: {error}; expected AskNode"))
        attached = self._attached
        master = attached.master if self._master and attached else None
        if not isinstance(asked, cluster.AskNode):
            bridge = attached.bridge if attached else None
            return cluster.encode(cluster.Who("node", master, () if bridge is None else (bridge,)))
        return cluster.encode(
            cluster.NodeAnswer(VERSION, platform.python_version(), master, self._ports_of(attached))
        )

    def _ports_of(self, attach: Attach | None) -> tuple[int, int]:
        return attach.ports if attach is not None and attach.ports[0] else self._ports

    # -- masters

    def opened(self, session: Session) -> None:
        """Somebody has connected, and will say that it is a master."""

    def heard(self, session: Session, message: bytes) -> None:
        """A master has said something."""
        try:
            self._obey(session, from_master.decode(message))
        except (msgspec.MsgspecError, ValueError) as error:
            logger.warning("left %s, which has said what cannot be: %s", session.name, error)
            session.close()
            self.ended(session, str(error))

    def ended(self, session: Session, reason: str | None) -> None:
        """A master is gone; what runs here goes on."""
        if session is self._master:
            logger.warning("the master is gone: %s", reason or "it has ended")
            self._master = None

    def leave_master(self, reason: str) -> None:
        """The master is gone, as somebody else knows."""
        session = self._master
        if session is not None:
            self.ended(session, reason)
            session.close()

    def _obey(self, session: Session, message: object) -> None:
        if isinstance(message, Attach):
            self._attach(session, message)
        elif session is self._master:
            self._do(message)

    def _attach(self, session: Session, attach: Attach) -> None:
        current = self._attached
        if self._master is not None and current is not None and current.master != attach.master:
            session.send(encode(Busy(current.master)))
            session.close()
            return
        if self._master is not None:
            self._master.close()  # the same one, which has started again
        session.name = attach.master
        self._master, self._attached = session, attach
        if not self._stopping:
            self._enforce(attach.enforce)
        logger.info("attached to the master %s as node %s", attach.master, attach.node)
        if (refused := refusal(attach)) is not None:
            logger.error("%s", refused)
        if self._bridge is not None:
            self._bridge.compare(attach)
        elif attach.bridge is not None and not self._stopping:
            self._bridge = BridgeProcess(
                self._loop,
                self._listens,
                attach,
                self._keypair,
                self._places.store,
                self._places.store_limit,
                self._places.trees,
            )
        self._offer()

    def _offer(self) -> None:
        attach = self._attached
        assert attach is not None
        machine = self._limit or machine_capacity()
        offer = Offer(
            incarnation=self._incarnation,
            python=platform.python_version(),
            mem=machine.mem if attach.mem is None else attach.mem,
            cpu=machine.cpu if attach.cpu is None else attach.cpu,
            held=tuple(self._ledger.held()),
        )
        self._tell([offer])

    def _do(self, message: object) -> None:
        match message:
            case Place():
                self._place(message)
            case Withdraw():
                self._withdraw(message)
            case Fence(programs):
                self._fence(programs)
            case JoinAgain():
                self._offer()
            case Admitted() | Leave():
                pass

    def _tell(self, messages: Iterable[FromNode]) -> None:
        for message in messages:
            if self._master is not None:
                self._master.send(encode(message))

    # -- placements

    def _place(self, place: Place) -> None:
        agent = self._agents.get(place.program)
        if agent is not None and agent.process.poll() is not None:
            self._agent_ended(place.program, agent)  # before anything is placed with it
        new = self._ledger.place(place)
        self._tell([Confirmed(place.program, place.number, place.attempt)])
        agent = self._agents.get(place.program)
        if not new:
            return
        if agent is None:
            self._begin_agent(place)
        else:
            agent.late = True
            agent.doomed.discard(place.number)  # an earlier attempt was withdrawn, and not this one

    def _withdraw(self, message: Withdraw) -> None:
        started = message.number not in self._ledger.unstarted(message.program)
        kill, told = self._ledger.withdraw(message)
        self._tell(told)
        agent = self._agents.get(message.program)
        if kill and agent is not None:
            agent.doomed.add(message.number)
            if started:
                self._kill(agent, message.number)

    def _fence(self, programs: Iterable[bytes]) -> None:
        self._fenced |= {program for program in programs if program in self._agents}
        for program in self._fenced:
            agent = self._agents[program]
            agent.late = False  # what was placed before is lost, and what is placed now is not
            agent.process.terminate()
        if not self._fenced:
            self._offer()

    # -- agents

    def _begin_agent(self, place: Place) -> None:
        """Have an agent for the program of a placement, or tell that there is none."""
        try:
            self._agents[place.program] = self._start_agent(place)
        except OSError as error:
            text = f"no agent can be started: {explained(error)}"
            logger.error("%s", text)
            self._tell([AgentEnded(place.program, text)])
            self._tell(self._ledger.gone(place.program, text))
        else:
            if self._enforcement is not None:
                self._enforcement.wake()

    def _start_agent(self, place: Place) -> _Agent:
        attach = self._attached
        assert attach is not None
        ours, theirs = socket.socketpair()
        keypair = self._keypair
        # A name may stand for more than where processes listen.
        own = attach.advertised == self._listens.host
        advertised = self._host if own else attach.advertised
        try:
            process = start_part(
                "constellation_daemons.agent.service", theirs.fileno(), current_format().value
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        stream: MessageStream[ToNode] = MessageStream(ours, to_node)
        agent = _Agent(process, stream)
        with contextlib.suppress(ConnectionError):
            stream.post(
                Setup(
                    program=place.program,
                    bridge=place.bridge,
                    node=attach.node,
                    incarnation=self._incarnation,
                    host=self._host,
                    advertised=advertised,
                    ports=self._ports_of(attach),
                    trees=self._places.trees,
                    store=self._places.store,
                    store_limit=self._places.store_limit,
                    timeout=attach.timeout,
                    public=None if keypair is None else keypair.public,
                    secret=None if keypair is None else keypair.secret,
                    strict=attach.enforce is Enforce.STRICT,
                    groups=None if self._groups is None else str(self._groups),
                )
            )
        ready: Callable[[int], None] = lambda events: self._agent_ready(place.program, agent)  # noqa: E731
        self._loop.selector.register(stream, selectors.EVENT_READ, ready)
        return agent

    def _agent_ready(self, program: bytes, agent: _Agent) -> None:
        try:
            messages = agent.stream.receive()
        except (EOFError, ControlError):
            self._unwatch(agent)  # its end is seen when it is reaped
            return
        for message in messages:
            match message:
                case Running(number, _, pid):
                    if number in agent.doomed:
                        self._kill(agent, number)
                    self._tell(self._ledger.running(program, number, pid))
                case Dead(number, status):
                    agent.doomed.discard(number)
                    self._tell(self._ledger.dead(program, number, status))
                    if self._enforcement is not None:
                        self._enforcement.dead(program, number)
                case Over():
                    agent.over = True
                case Unreached(reason):
                    agent.unreached = reason
                case Weighed():
                    if self._enforcement is not None:
                        self._enforcement.weighed(program, message)

    def _kill(self, agent: _Agent, number: int, cause: str = "withdrawn by the master") -> None:
        self._post(agent, Kill(number, cause))

    def _post(self, agent: _Agent, message: Kill | Weigh) -> None:
        # One that is gone is seen when it is reaped.
        with contextlib.suppress(ConnectionError):
            agent.stream.post(message)

    def _agent_ended(self, program: bytes, agent: _Agent) -> None:
        while agent.watched:
            self._agent_ready(program, agent)
        agent.stream.close()
        del self._agents[program]
        text = _end_of_agent(agent.process.returncode)
        if agent.process.returncode != 0:
            self._remains.remove()
        elif agent.unreached is not None:
            text = f"it does not reach the bridge: {agent.unreached}"
        if agent.process.returncode != 0 or agent.unreached is not None:
            logger.error("program %s: %s", program.hex()[:7], text)
        # One that has ended in order has heard nothing of what was placed while it did. Its bridge
        # waits for the next agent then, or has withdrawn all that was for this one.
        orderly = agent.process.returncode == 0 and not agent.over and agent.unreached is None
        again = orderly and agent.late and not self._stopping
        unstarted = self._ledger.unstarted(program) if again else {}
        if not unstarted:
            self._tell([AgentEnded(program, text)])
        self._tell(self._ledger.gone(program, text, stays=bool(unstarted)))
        if self._enforcement is not None:
            self._enforcement.gone(program)
        for place in list(unstarted.values())[:1]:
            self._begin_agent(place)
        self._sweep(agent.process.pid, _SWEEPS)
        if program in self._fenced:
            self._fenced.discard(program)
            if not self._fenced:
                self._offer()

    # -- limits

    def _enforce(self, enforce: Enforce) -> None:
        """See to it that programs leave the machine its memory, or do so no more."""
        attach = self._attached
        if enforce is not Enforce.PRESSURE:
            if self._enforcement is not None:
                self._enforcement.close()
                self._enforcement = None
        elif self._enforcement is None and attach is not None:
            self._enforcement = Enforcement(self._loop, attach.node, self)
            self._enforcement.wake()

    def programs(self) -> Iterable[bytes]:
        """Those that have an agent."""
        return self._agents

    def weigh(self, program: bytes, question: int) -> None:
        """Ask an agent for its worst process."""
        self._post(self._agents[program], Weigh(question))

    def condemn(self, program: bytes, number: int, cause: str) -> None:
        """Have an agent kill a process."""
        name = self._ledger.name(program, number)
        logger.warning("process %s of program %s: %s", name, program.hex()[:7], cause)
        self._kill(self._agents[program], number, cause)

    def _sweep(self, agent: int, times: int) -> None:
        """Remove the control groups of an agent that is gone, whose processes are about to be."""
        if self._groups is not None and sweep(self._groups, agent) and times:
            self._loop.after(_SWEEP_AGAIN, lambda: self._sweep(agent, times - 1))

    def _unwatch(self, agent: _Agent) -> None:
        if agent.watched:
            agent.watched = False
            self._loop.selector.unregister(agent.stream)


def _end_of_agent(code: int) -> str:
    """What has become of an agent, for the user whose program it was for."""
    if code == 0:
        return "its agent has ended"
    if code < 0:
        return f"its agent was killed ({ExitStatus.from_wait(-code)})"
    return f"its agent has failed with exit code {code}; the log of that node says how"


def refusal(attach: Attach) -> str | None:
    """Why a master does not take this node, which is to be told here too; None: it does.

    The master finds the same in the node's offer, and tells of it in its own log.
    """
    own = platform.python_version()
    if attach.python.split(".")[:2] == own.split(".")[:2]:
        return None
    return (
        f"the master {attach.master} has Python {attach.python}, and this node {own}, so it does "
        "not join: use the same minor version everywhere"
    )
