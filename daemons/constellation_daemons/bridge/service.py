"""The bridge service: who connects to it, and which deployment each of them belongs to.

The first message of a session says what the peer is: a client, which is answered with `Welcome` or
`Denied`, or the agent of a program on some node. A peer that says something else, or nothing that
can be read, is left, and that is logged; nobody else notices.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from constellation.address import Address
from constellation.control import cluster
from constellation.control import deployment as client_messages
from constellation.control.deployment import (
    Denied,
    Deploy,
    Failed,
    Greeting,
    Note,
    ToBridge,
    Welcome,
)
from constellation.errors import ConstellationError
from constellation.program.store import Store
from constellation.security.keypair import Keypair
from constellation.session.loop import Loop
from constellation.session.sessions import BEAT, Session, Sessions
from constellation.transport.router import Router
from constellation.units import Cpu, Mem
from constellation.version import VERSION
from constellation_daemons.agent.messages import FromAgent, Hello, from_agent
from constellation_daemons.bridge.deployment import Deployment, Placing
from constellation_daemons.bridge.errors import Nonsense
from constellation_daemons.bridge.placing import MasterPlacing
from constellation_daemons.bridge.survey import LIMIT
from constellation_daemons.guards import Guards

__all__ = ["Bridge"]

logger = logging.getLogger(__name__)

_NOTE_AFTER = 1.0
"""Seconds that a client waits until it is told for what."""

_first = msgspec.msgpack.Decoder(Greeting | Hello)


class Bridge:
    """A bridge, on a service's loop.

    Args:
        loop: The service's.
        router: Where clients and agents connect.
        key: That of the router.
        store: For the files of programs.
        trees: The directory in which programs are laid out that are run up to `init()` here.
        placing: Decides which nodes processes run on; None: a master does.
        secured: Whether the processes of programs secure their connections.
        timeout: Seconds of silence after which a peer is lost.
        recce: Seconds that a program may take to reach `init()`.

    Attributes:
        guards: Its only children.
    """

    def __init__(
        self,
        loop: Loop,
        router: Router,
        key: bytes,
        store: Store,
        trees: str,
        placing: Placing | None = None,
        *,
        secured: bool,
        timeout: float = 5.0,
        recce: float = LIMIT,
    ) -> None:
        self.loop = loop
        self.store = store
        self.trees = trees
        # A bridge has one of these before it takes clients.
        self.placing: Any = placing
        self.recce = recce
        self.guards = Guards()
        self._secured = secured
        self._timeout = timeout
        self._deployments: dict[bytes, Deployment] = {}
        self._clients: dict[Session, Deployment | None] = {}
        self._agents: dict[Session, Deployment] = {}
        self._sessions = Sessions(loop, router, key, self, answer=self._answer, timeout=timeout)
        router.notes_origin = True  # see `Session.lenient`
        self._who = cluster.Who("bridge", None)
        self._master: MasterPlacing | None = None
        self._open = placing is not None
        self._early: list[Session] = []  # clients that came before it was open

    @property
    def deployments(self) -> dict[bytes, Deployment]:
        """Those that are under way, by program."""
        return self._deployments

    @property
    def unused(self) -> bool:
        """Whether there is no program, nor anybody but the master who talks to it."""
        master = self._master
        others = [each for each in self._sessions if master is None or not master.owns(each)]
        return not self._deployments and not others

    def attach_master(self, master: Address, endpoint: str) -> None:
        """Have a master decide, and take clients when it says so.

        Args:
            master: Where the master is reached.
            endpoint: Where agents reach this bridge.
        """
        own = endpoint.removeprefix("tcp://")
        self._who = cluster.Who("bridge", str(master), (own,))
        self.placing = self._master = MasterPlacing(self.loop, self._sessions, master, endpoint)
        self._master.start(self)

    def close(self) -> None:
        """End everything."""
        self._sessions.close()

    def end(self, cause: str) -> None:
        """Kill all programs: the service ends."""
        for deployment in list(self._deployments.values()):
            deployment.kill(cause)

    def finished(self, deployment: Deployment) -> None:
        """A deployment is over."""
        self._deployments.pop(deployment.program, None)
        # Their sessions are closed, so nothing is told of their ends.
        self._clients = {s: d for s, d in self._clients.items() if d is not deployment}
        self._agents = {s: d for s, d in self._agents.items() if d is not deployment}

    # -- what the master says

    def open(self) -> None:
        """Take clients from now on."""
        self._open = True
        early, self._early = self._early, []
        for session in early:
            _say(session, Welcome(VERSION, platform.python_version()))

    def placed(self, program: bytes, number: int, node: str) -> None:
        """There is room for a process."""
        self._of(program, lambda deployment: deployment.placed(number, node))

    def refused(self, program: bytes, number: int, kind: str, text: str) -> None:
        """There will be none."""
        self._of(program, lambda deployment: deployment.refused(number, kind, text))

    def note(self, program: bytes, text: str) -> None:
        """What a program waits for."""
        self._of(program, lambda deployment: deployment.note(text))

    def node_lost(self, program: bytes, node: str) -> None:
        """A node is lost."""
        self._of(program, lambda deployment: deployment.node_lost(node, f"node {node}"))

    def agent_lost(self, program: bytes, node: str, text: str) -> None:
        """A program has no agent on a node any more."""
        self._of(program, lambda deployment: deployment.agent_lost(node, f"node {node}: {text}"))

    def examine(self, question: int) -> None:
        """All processes are to be asked what they wait for."""
        for deployment in list(self._deployments.values()):
            deployment.examine(question)

    def kill(self, program: bytes, cause: str) -> None:
        """A user of the cluster has ended a program."""
        self._of(program, lambda deployment: deployment.kill(cause))

    def kill_process(self, program: bytes, number: int, cause: str) -> None:
        """A user of the cluster has ended a process."""
        self._of(program, lambda deployment: deployment.kill_process(number, cause))

    def _of(self, program: bytes, action: Callable[[Deployment], None]) -> None:
        deployment = self._deployments.get(program)
        if deployment is not None:
            action(deployment)

    # -- sessions

    def opened(self, session: Session) -> None:
        """Somebody has connected, and will say who it is."""

    def heard(self, session: Session, message: bytes) -> None:
        """Somebody has said something."""
        if not session.open:
            return  # it was left, and does not know that yet
        try:
            if self._master is not None and self._master.owns(session):
                self._master.heard(message)
            elif session in self._clients:
                self._hear_client(session, client_messages.to_bridge.decode(message))
            elif session in self._agents:
                self._hear_agent(session, from_agent.decode(message))
            else:
                self._greet(session, _first.decode(message))
        except (msgspec.MsgspecError, UnicodeDecodeError, ConstellationError) as error:
            self._leave(session, str(error))
        except Exception as error:  # whatever it is, the others are to go on
            logger.exception("what %s has said cannot be made sense of", session.name)
            self._leave(session, f"{type(error).__name__}: {error}")

    def _leave(self, session: Session, reason: str) -> None:
        logger.warning("left %s, which has said what cannot be: %s", session.name, reason)
        session.close()
        self.ended(session, f"it has said what cannot be: {reason}")

    def ended(self, session: Session, reason: str | None) -> None:
        """Somebody is gone."""
        if self._master is not None and self._master.owns(session):
            self._master.ended(reason)
            return
        if session in self._agents:
            self._agents.pop(session).agent_ended(session, reason, stopped=self._stopped)
        elif session in self._clients:
            deployment = self._clients.pop(session)
            if deployment is not None and deployment.program in self._deployments:
                logger.info("the client of %s is gone: %s", deployment.name, reason or "it left")
                deployment.client_gone()

    @property
    def _stopped(self) -> str | None:
        """What is told of agents that end, where it is this bridge that they did not hear of."""
        seconds = self._sessions.held_up
        if seconds is None or seconds < self._timeout - BEAT:
            return None
        return f"the bridge was not run for {seconds:.1f} s"

    def _answer(self, request: bytes) -> bytes:
        """A tool asks, which may want another service."""
        try:
            cluster.request_decoder.decode(request)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            logger.warning("a request that is none: %s", error)
            return cluster.encode(cluster.Wrong(f"no request: {error}; expected AskWho"))
        return cluster.encode(self._who)

    def _greet(self, session: Session, message: Greeting | Hello) -> None:
        who = "the command" if isinstance(message, Greeting) else f"node {message.node}"
        why = _denial(who, message.python)
        if isinstance(message, Greeting):
            session.name = f"client {session.name}"
            if why is None:
                self._clients[session] = None
                session.lenient = True  # a command that is stopped is still wanted
            if why is None and not self._open:
                self._early.append(session)
                self.loop.after(_NOTE_AFTER, partial(self._tell_early, session))
            elif why is None:
                _say(session, Welcome(VERSION, platform.python_version()))
            else:
                logger.info("denied %s: %s", session.name, why)
                _say(session, Denied(why))
                session.close()
            return
        deployment = self._deployments.get(message.program)
        if deployment is None:
            logger.info("an agent of %s came for a program that has ended", message.node)
            session.close()
        elif why is not None:
            session.close()
            deployment.node_lost(message.node, why)
        else:
            deployment.agent(session, message.node)
            self._agents[session] = deployment

    # -- clients

    def _tell_early(self, session: Session) -> None:
        """Tell a client what it waits for, if it still does."""
        if session in self._early and self._master is not None:
            _say(session, Note(f"the bridge waits for {self._master.lacking}"))

    def _hear_client(self, session: Session, message: ToBridge) -> None:
        deployment = self._clients[session]
        if deployment is not None:
            deployment.heard(message)
        elif isinstance(message, Deploy):
            self._deploy(session, message)
        else:
            raise Nonsense(f"{type(message).__name__} before it has said what to run")

    def _deploy(self, session: Session, request: Deploy) -> None:
        keys = None
        if self._secured:
            keypair = Keypair.new()
            keys = keypair.public, keypair.secret
        try:
            _check(request)
            deployment = Deployment(self, session, request, keys)
        except ConstellationError as error:
            _say(session, Failed(str(error)))
            session.close()
            return
        self._clients[session] = self._deployments[deployment.program] = deployment
        logger.info("deploying %s for %s", deployment.name, session.name)
        deployment.begin()

    # -- agents

    def _hear_agent(self, session: Session, message: FromAgent) -> None:
        self._agents[session].agent_heard(session, message)


def _denial(who: str, python: str) -> str | None:
    """Why a peer with this version of Python cannot be talked to; None: it can."""
    own = platform.python_version()
    if python.split(".")[:2] == own.split(".")[:2]:
        return None
    return (
        f"{who} has Python {python}, and the bridge {own}: values do not pass between them. "
        f"Use the same minor version everywhere"
    )


def _check(request: Deploy) -> None:
    """See that this can be run at all, before anything is made for it.

    Raises:
        Nonsense: It cannot.
    """
    texts = [*request.arguments, *request.environ, *request.environ.values()]
    if not request.arguments:
        raise Nonsense("nothing is said of what to run")
    if any(b"\0" in text for text in texts):
        raise Nonsense("no argument and no variable can have a zero byte")
    for name in request.environ:
        if not name or b"=" in name:
            raise Nonsense(f"{os.fsdecode(name)!r} is no name of a variable")
    try:
        Mem(request.mem or 0)
        Cpu(request.cpu or 0)
    except ValueError as error:
        raise Nonsense(str(error)) from error


def _say(session: Session, message: client_messages.FromBridge) -> None:
    session.send(client_messages.encode(message))
