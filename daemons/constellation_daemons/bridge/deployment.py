"""One deployment: a client's program, from its files to the end of its last process.

==========  =====================================  =================================================
state       what it does                           how it goes on
==========  =====================================  =================================================
fetching    takes the files that the store lacks   all are there: surveying, or running where the
                                                   client has said what it needs
surveying   runs the program up to `init()`, to    it says so: running; it does not: ended, told as
            learn what its initial process needs   `Failed`
running     its processes run, on whatever nodes   all have exited: ending; the client is gone:
                                                   all are killed first
ending      agents remove what is theirs           all have, or the limit has come: ended
==========  =====================================  =================================================

The client is told that it has finished when the agents have: so when the command returns, nothing
of the program is left anywhere.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from constellation.awaited import Awaited
from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.bridge.roster import Host, Roster
from constellation.control import deployment as client_messages
from constellation.control.deployment import (
    INPUT_WINDOW,
    KILLED,
    OUTPUT_WINDOW,
    Deploy,
    Eof,
    Exit,
    Failed,
    Finished,
    FromBridge,
    Greeting,
    Input,
    InputEnd,
    Interrupt,
    Kill,
    Note,
    Print,
    Resume,
    Room,
    Shut,
    Spawn,
    Suspend,
    Taken,
    Transfer,
    Trouble,
)
from constellation.control.messages import Examined, FromHost, Needs, Status, Unmade
from constellation.program.exchange import Serving
from constellation.program.manifest import Manifest
from constellation.program.store import Store
from constellation.program.tree import Tree
from constellation.resources import Resources
from constellation.session.loop import Loop, Timer
from constellation.session.sessions import Session
from constellation.transport.descriptors import explained
from constellation.units import Cpu, Mem
from constellation_daemons.agent import messages as agent_messages
from constellation_daemons.agent.messages import Begin, FromAgent, Heard, ImageFailed, ImageReady
from constellation_daemons.bridge.errors import Nonsense
from constellation_daemons.bridge.remote import RemoteHost
from constellation_daemons.bridge.survey import survey
from constellation_daemons.delivery import Delivery, remove, serve
from constellation_daemons.guards import Guards
from constellation_daemons.program_name import program_name
from constellation_daemons.start import Failure, Start

__all__ = ["Deployment", "Placing", "Service"]

logger = logging.getLogger(__name__)

_AGENT_LIMIT = 30.0
"""Seconds within which an agent has to connect, once its node is to run something."""
_INIT_NOTE_AFTER = 5.0
"""Seconds that a program may take on a node to reach `init()`, until the user is told."""
_LAST_WORDS = 0.5
"""Seconds that what an agent said may still take, when its node says that the agent is gone."""
_KILL_LIMIT = 12.0
"""Seconds that the processes of a program have to end that is killed, until their agents do it."""
_END_LIMIT = 10.0
"""Seconds that agents have to remove what is theirs."""
_GONE = "the deploy client is gone"

_Method = TypeVar("_Method", bound=Callable[..., None])


def _contained(method: _Method) -> _Method:
    """Called by the loop or by others: what fails in there ends this deployment, and no other."""

    @functools.wraps(method)
    def wrapper(self: Deployment, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception:  # whatever it is, the others are to go on
            logger.exception("deploying %s has failed", self.name)
            self.abort()

    return cast("_Method", wrapper)


class Placing(Protocol):
    """Who decides which nodes a program's processes run on. It answers `Deployment.placed`..."""

    def begin(self, program: bytes, name: str) -> None:
        """A program is about to ask for its first process; its name is for people."""

    def ask(self, program: bytes, number: int, resources: Resources, *, wait: bool) -> None:
        """A process is to be made."""

    def drop(self, program: bytes, number: int) -> None:
        """It is not, or is lost: it needs no room."""

    def examined(
        self,
        program: bytes,
        number: int,
        node: str,
        question: int,
        threads: tuple[Awaited, ...],
        progress: int,
    ) -> None:
        """A process does nothing but wait, for this in each thread. See ``Examined``."""

    def finish(self, program: bytes) -> None:
        """The program has ended."""


class Service(Protocol):
    """What all deployments of a bridge have in common."""

    loop: Loop
    store: Store
    trees: str
    placing: Placing
    recce: float
    guards: Guards

    def finished(self, deployment: Deployment) -> None:
        """A deployment is over."""


class Deployment:
    """A client's program.

    Args:
        service: The bridge's.
        client: The session with the client.
        request: What it wants.
        keys: The public and the secret key of its processes; None: connections are not secured.

    Attributes:
        program: What the program is called among services: random.
    """

    def __init__(
        self, service: Service, client: Session, request: Deploy, keys: tuple[bytes, bytes] | None
    ) -> None:
        self.program = os.urandom(16)
        self._service = service
        self._client = client
        self._request = request
        self._keys = keys
        self._roster = Roster(self, self._show, self._may_grow, self._examined)
        self._hosts: dict[str, RemoteHost] = {}
        self._agents: dict[Session, RemoteHost] = {}
        self._idle: dict[str, Session] = {}  # agents of nodes where nothing is placed, by node
        self._serving: dict[Session, Serving] = {}
        self._starting: set[Session] = set()  # agents that have the files, and no image yet
        self._init_noted = False
        self._timers: list[Timer] = []
        self._unprinted = 0  # bytes that the client has not given room for again
        self._asked: set[int] = set()  # processes that wait for a place
        self._initial_host: RemoteHost | None = None
        self._early: list[bytes] = []  # input for it, until it has a place
        self._untaken = 0  # bytes of input that were not taken yet
        self._cause: str | None = None  # why it was killed
        self._tree: Tree | None = None
        self._removing = False
        self._start: Start | None = None
        self._running = False
        self._ending = False
        self._over = False
        self._killed = False
        self._cut = False  # and not all of its processes had ended by themselves
        self._manifest = Manifest.decode(request.manifest)
        self._delivery = Delivery(
            service.loop,
            service.store,
            self._manifest,
            self._send_transfer,
            self._fetched,
            self._fail,
        )

    @property
    def name(self) -> str:
        """What is run, for people: without its arguments, which are nobody else's business."""
        return program_name(self._request.arguments)

    @_contained
    def begin(self) -> None:
        """Fetch what is lacking."""
        self._service.placing.begin(self.program, self.name)
        self._delivery.start()

    # -- the client

    def heard(self, message: client_messages.ToBridge) -> None:
        """The client has said something.

        Raises:
            Nonsense: It may not say that.
        """
        match message:
            case Transfer(data):
                self._delivery.hear(data)
            case Room(size):
                self._give_room(size)
            case Input(data):
                self._input(data)
            case InputEnd():
                self._input(b"")
            case Interrupt(name):
                self._interrupt(name)
            case Kill(cause):
                self.kill(cause)
            case Shut(fd):
                if fd not in (1, 2):
                    raise Nonsense(f"nobody writes to descriptor {fd}")
                self._roster.shut(fd)
            case Suspend():
                self._suspend()
            case Resume():
                self._client.patient = False
                self._roster.signal(signal.SIGCONT)
            case Greeting() | Deploy():
                raise Nonsense("it has said before what it wants")

    def _give_room(self, size: int) -> None:
        if not 0 <= size <= self._unprinted:
            raise Nonsense(f"room for {size} bytes, and {self._unprinted} were sent")
        self._unprinted -= size
        if self._may_grow():
            self._roster.give_room()

    def _suspend(self) -> None:
        # Stopped, it says nothing, and is there all the same: the connection tells when it is not.
        self._client.patient = True
        self._roster.signal(signal.SIGSTOP)

    @_contained
    def client_gone(self) -> None:
        """There is nobody left to run it for."""
        self.kill(_GONE)

    @_contained
    def kill(self, cause: str) -> None:
        """End it."""
        self._killed = True
        self._cause = self._cause or cause
        if not self._running:
            self._end(Failed(cause, code=KILLED))
            return
        self._cut = self._roster.kill(cause) or self._cut
        self._roster.give_room()
        # Monitors kill; if one of them is stopped, the agents end what is left.
        self._timers.append(self._service.loop.after(_KILL_LIMIT, self._end_killed))
        self._look()

    @_contained
    def _end_killed(self) -> None:
        reason = f"{self._cause}, and has not ended within {_KILL_LIMIT:g} s"
        self._end(Failed(reason, code=KILLED))

    def kill_process(self, number: int, cause: str) -> None:
        """End a process."""
        self._roster.kill_one(number, cause)

    def _say(self, message: FromBridge) -> None:
        self._client.send(client_messages.encode(message))

    def _send_transfer(self, data: bytes) -> None:
        self._say(Transfer(data))

    def _interrupt(self, name: str) -> None:
        number = getattr(signal, name, None)
        if not isinstance(number, signal.Signals):
            raise Nonsense(f"there is no signal {name!r}")
        if self._roster.initial is None:
            self.kill(f"ended by {name} before it ran")
        else:
            self._roster.signal_initial(int(number))

    def _input(self, data: bytes) -> None:
        self._untaken += len(data)
        if self._untaken > INPUT_WINDOW:
            raise Nonsense(f"{self._untaken} bytes of input, and {INPUT_WINDOW} may be under way")
        if self._initial_host is None:
            self._early.append(data)
        else:
            self._initial_host.input(data)

    # -- before it runs

    def _fetched(self) -> None:
        request = self._request
        if request.mem is not None and request.cpu is not None:
            self._run(Resources(mem=Mem(request.mem), cpu=Cpu(request.cpu)))
        else:
            self._delivery.lay_out(self._service.trees, self._survey)

    @_contained
    def _survey(self, tree: Tree) -> None:
        self._tree = tree
        try:
            self._start = survey(
                self._service.loop,
                tree.path,
                self._request,
                self._request.recce or self._service.recce,
                self._surveyed,
                self._not_surveyed,
                self._service.guards,
            )
        except OSError as error:
            self._fail(f"the program cannot be started: {explained(error)}")

    @_contained
    def _surveyed(self, needs: Needs) -> None:
        self._start = None
        request = self._request
        mem = needs.mem if request.mem is None else request.mem
        cpu = needs.cpu if request.cpu is None else request.cpu
        self._remove_tree()
        self._run(Resources(mem=Mem(mem), cpu=Cpu(cpu)))

    @_contained
    def _not_surveyed(self, failure: Failure) -> None:
        self._start = None
        self._end(Failed(failure.reason, failure.out, failure.err, failure.code))

    def _run(self, resources: Resources) -> None:
        self._running = True
        self._roster.start(resources)
        self._look()

    @_contained
    def _fail(self, reason: str) -> None:
        self._end(Failed(reason))

    # -- places

    def ask(self, number: int, resources: Resources, *, wait: bool) -> None:
        """The roster wants a process to be made."""
        self._asked.add(number)
        self._service.placing.ask(self.program, number, resources, wait=wait)

    def drop(self, number: int) -> None:
        """A process is dead, or not wanted any more."""
        if number in self._asked:
            self._asked.discard(number)
            self._service.placing.drop(self.program, number)

    @_contained
    def placed(self, number: int, node: str) -> None:
        """There is room for a process on a node, whose agent connects if it has not."""
        if self._ending:
            return  # all room is given back with the end
        if number not in self._asked:
            self._service.placing.drop(self.program, number)
            return
        self._asked.discard(number)
        host = self._hosts.get(node)
        if host is None or host.lost is not None or host.ending:
            host = self._hosts[node] = RemoteHost(node, self._hear)
            idle = self._idle.pop(node, None)
            if idle is None:
                self._await_agent(host)
            else:
                self._employ(idle, host)
        if self._initial_host is None:
            # The first one to be placed is the initial process.
            self._initial_host = host
            for data in self._early:
                host.input(data)
            self._early.clear()
        self._roster.placed(number, host)
        self._look()

    @_contained
    def refused(self, number: int, kind: str, text: str) -> None:
        """There is no room for a process."""
        if self._ending:
            return
        self._asked.discard(number)
        self._roster.refused(number, kind, text)
        self._look()

    @_contained
    def examine(self, question: int) -> None:
        """All processes are to be asked what they wait for."""
        if self._running and not self._ending:
            self._roster.examine(question)

    def _examined(self, number: int, host: Host, said: Examined) -> None:
        assert isinstance(host, RemoteHost)
        placing = self._service.placing
        placing.examined(
            self.program, number, host.node, said.question, said.threads, said.progress
        )

    def note(self, text: str) -> None:
        """What a process waits for."""
        if not self._ending:
            self._say(Note(text))

    @_contained
    def node_lost(self, node: str, reason: str) -> None:
        """A node is lost, and with it what ran there."""
        self._dismiss(node, over=False)
        host = self._hosts.get(node)
        if host is not None:
            self._lose_host(host, reason)

    def _lose_host(self, host: RemoteHost, reason: str) -> None:
        for session, each in list(self._agents.items()):
            if each is host:
                # If it is there all the same, it ends what it has.
                session.send(agent_messages.encode(agent_messages.End()))
                session.close()
                self._forget_agent(session)
        host.lose(reason)
        self._look()

    def _dismiss(self, node: str, *, over: bool) -> None:
        """Let an agent go that has nothing to do."""
        idle = self._idle.pop(node, None)
        if idle is not None:
            idle.send(agent_messages.encode(agent_messages.End(over)))
            idle.close()

    @_contained
    def agent_lost(self, node: str, reason: str) -> None:
        """A node has no agent any more."""
        host = self._hosts.get(node)
        if host is None or self._ending:
            return
        if not host.connected:
            self.node_lost(node, reason)
            return

        host.ending = True
        lose = _contained(lambda self: self._lose_host(host, reason))
        self._timers.append(self._service.loop.after(_LAST_WORDS, partial(lose, self)))

    # -- agents

    def _await_agent(self, host: RemoteHost) -> None:
        after = self._service.loop.after
        self._timers.append(after(_AGENT_LIMIT, lambda: self._stop_waiting(host)))

    @_contained
    def _stop_waiting(self, host: RemoteHost) -> None:
        if not host.connected:
            host.lose(f"node {host.node}: no agent has come within {_AGENT_LIMIT:g} s")
            self._look()

    def agent(self, session: Session, node: str) -> None:
        """The agent of a node has connected.

        It may come before the word of the master that something is placed there, or after what was
        placed there is not wanted any more. It waits then, for what is placed there next.
        """
        if self._ending:
            session.send(agent_messages.encode(agent_messages.End(over=True)))
            session.close()
            return
        earlier = self._idle.pop(node, None)
        if earlier is not None:
            earlier.close()  # it was the node's before this one
        host = self._hosts.get(node)
        if host is None or host.connected or host.lost is not None or host.ending:
            self._idle[node] = session
        else:
            self._employ(session, host)

    def _employ(self, session: Session, host: RemoteHost) -> None:
        session.name = f"the agent of {self.name}"
        self._agents[session] = host
        self._serving[session] = Serving(self._manifest, self._service.store)
        request = self._request
        public, secret = (None, None) if self._keys is None else self._keys
        begin = Begin(request.manifest, request.arguments, request.environ, public, secret)
        session.send(agent_messages.encode(begin))
        host.connect(lambda message: session.send(agent_messages.encode(message)))

    def agent_heard(self, session: Session, message: FromAgent) -> None:
        """An agent has said something.

        Raises:
            ConstellationError: It may not say that.
        """
        host = self._agents.get(session)
        if host is None:
            raise Nonsense(f"{type(message).__name__} before it was told what to do")
        match message:
            case Heard(told):
                host.heard(told)
            case agent_messages.Transfer(data):
                self._serve(session, data)
            case agent_messages.Taken(size, closed):
                self._take_input(size, closed=closed)
            case agent_messages.Killed(number, cause):
                self._roster.blame(number, cause)
            case ImageFailed():
                self._image_failed(host, message)
            case ImageReady():
                self._starting.discard(session)
            case agent_messages.Hello():
                pass
        self._look()

    def _serve(self, session: Session, data: bytes) -> None:
        serving = self._serving[session]
        serve(serving, data, partial(_send_transfer, session))
        if serving.done and session not in self._starting:
            self._starting.add(session)
            after = self._service.loop.after
            self._timers.append(after(_INIT_NOTE_AFTER, lambda: self._note_init(session)))

    def _note_init(self, session: Session) -> None:
        """Tell the user, once and not for each node, if the program still has not come there."""
        if session in self._starting and not self._init_noted:
            self._init_noted = True
            self.note(f"waits for the program's init() on node {self._agents[session].node}")

    def _take_input(self, size: int, *, closed: bool) -> None:
        if not 0 <= size <= self._untaken:
            raise Nonsense(f"{size} bytes of input taken, of {self._untaken}")
        self._untaken -= size
        self._say(Taken(size, closed))

    @_contained
    def agent_ended(
        self, session: Session, reason: str | None, *, stopped: str | None = None
    ) -> None:
        """An agent is gone.

        Args:
            session: That with it.
            reason: What was wrong; None: it has closed it.
            stopped: What is told in place of that, if it is not the agent's fault.
        """
        self._idle = {node: each for node, each in self._idle.items() if each is not session}
        host = self._agents.get(session)
        if host is not None:
            self._forget_agent(session)
            # One that closes it has told why it must, unless that was said to it from here.
            own = f"node {host.node}: {reason or 'its agent has ended'}"
            told = host.crippled if reason is None else None
            host.lose(stopped or told or own)
            self._look()

    def _forget_agent(self, session: Session) -> None:
        del self._agents[session], self._serving[session]
        self._starting.discard(session)

    def _image_failed(self, host: RemoteHost, failed: ImageFailed) -> None:
        reason = f"node {host.node}: {failed.reason}"
        if self._roster.initial is None and not self._ending:
            self._end(Failed(reason, failed.out, failed.err, failed.code))
        else:
            host.lose(reason)

    # -- what is told

    def _hear(self, message: FromHost, host: RemoteHost) -> None:
        if isinstance(message, Unmade):
            # The node may not know of it: the room returns by this way too.
            self._service.placing.drop(self.program, message.number)
        self._roster.hear(message, host)

    def _may_grow(self) -> bool:
        return self._killed or self._unprinted < OUTPUT_WINDOW

    def _show(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case SpawnEvent(pid, parent):
                    self._say(Spawn(pid.key, None if parent is None else parent.key))
                case OutputEvent(pid, fd, data):
                    self._unprinted += len(data)
                    self._say(Print(pid.key, fd, data))
                case EofEvent(pid, fd):
                    self._say(Eof(pid.key, fd))
                case ExitEvent(pid, status):
                    initial = pid == self._roster.initial
                    killed = self._roster.was_killed(pid)
                    self._say(Exit(pid.key, Status.of(status), initial, killed))

    # -- the end

    def _look(self) -> None:
        """Whether all have exited."""
        for text in self._roster.take_troubles():
            self._say(Trouble(text))
        if self._running and not self._ending and self._roster.finished:
            self._end(self._outcome())
        elif self._ending and not self._agents and not self._removing:
            self._finish()

    def _outcome(self) -> Failed | Finished:
        failure = self._roster.failure
        if failure is None:
            return Finished(self._cut)
        # Whether its initial process was made before it was killed is a matter of luck.
        return Failed(failure) if self._cause is None else Failed(self._cause, code=KILLED)

    def _end(self, last: Failed | Finished) -> None:
        if self._ending:
            return
        self._ending = True
        self._last: FromBridge = last
        self._delivery.close()
        self._abandon_tree()
        for node in list(self._idle):
            self._dismiss(node, over=True)
        for session in self._agents:
            session.send(agent_messages.encode(agent_messages.End(over=True)))
        self._timers.append(self._service.loop.after(_END_LIMIT, self._finish))
        if not self._agents and not self._removing:
            self._finish()

    def abort(self) -> None:
        """End it at once: something is wrong with it. Agents that are left by their bridge end."""
        if self._over:
            return
        self._ending = True
        self._last = Failed("the bridge has failed: its log says how")
        self._delivery.close()
        self._abandon_tree()
        self._finish()

    @_contained
    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        self._service.finished(self)
        for timer in self._timers:
            timer.cancel()
        for session in (*self._agents, *self._idle.values()):
            session.close()
        self._say(self._last)
        self._client.close()
        self._service.placing.finish(self.program)

    def _abandon_tree(self) -> None:
        """Remove the tree, when nothing runs in it any more."""
        start, self._start = self._start, None
        if start is None:
            self._remove_tree()
        else:
            self._removing = True
            start.cancel(self._remove_tree)

    def _remove_tree(self) -> None:
        tree, self._tree = self._tree, None
        if tree is not None:
            self._removing = True
            remove(self._service.loop, tree, self._removed)

    @_contained
    def _removed(self) -> None:
        self._removing = False
        if self._ending:
            self._look()


def _send_transfer(session: Session, data: bytes) -> None:
    session.send(agent_messages.encode(agent_messages.Transfer(data)))
