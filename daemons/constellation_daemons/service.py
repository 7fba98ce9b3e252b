"""The processes of the services: what they listen at, what ends them, and in which order."""

from __future__ import annotations

import logging
import os
import selectors
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from constellation.address import Address, PortRange, UnknownHost
from constellation.process import signals, system
from constellation.process.signals import Wakeup
from constellation.security.keypair import Keypair
from constellation.session.loop import Loop
from constellation.session.sessions import Owner, Session, Sessions
from constellation.transport.curve import Curve
from constellation.transport.doorkeeper import Doorkeeper
from constellation.transport.router import Router
from constellation_daemons import messages
from constellation_daemons.listening import listen_at
from constellation_daemons.master.feed import Feed
from constellation_daemons.master.place import own_node, reached_at
from constellation_daemons.master.service import Master
from constellation_daemons.master.values import Amount
from constellation_daemons.names import Names
from constellation_daemons.node.ending import KILL_LIMIT, end
from constellation_daemons.node.lifeline import NodeSetup
from constellation_daemons.node.places import Places
from constellation_daemons.node.process import LIMIT, NodeProcess
from constellation_daemons.node.seat import Seat
from constellation_daemons.node.service import Node
from constellation_daemons.node_config import Node as NodeConfig

__all__ = ["MasterOptions", "NodeOptions", "run_master", "run_node"]

logger = logging.getLogger(__name__)

_JOIN_AGAIN = 2.0
_JOIN_PATIENCE = 7.0
"""Seconds after which a master that was asked, and has not come, is spoken of."""
_MASTER_PATIENCE = 10.0
"""Seconds after which a node that waits for its master, and has had none, speaks of it."""
_CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How a node is run.

    Attributes:
        address: Where it listens.
        keypair: The key of the cluster; None: connections are not secured.
        places: Where it keeps things.
        limit: The most that it gives, unless its master says otherwise; None: what the machine has.
        ports: Where its processes listen, unless its master says otherwise; None: anywhere.
        join: The master to ask for admission; None: the master knows of it.
        advertise: Where others reach it; None: where it listens.
    """

    address: Address
    keypair: Keypair | None
    places: Places
    limit: Amount | None = None
    ports: PortRange | None = None
    join: Address | None = None
    advertise: Address | None = None


@dataclass(frozen=True, slots=True)
class MasterOptions:
    """How a master is run.

    Attributes:
        address: Where it listens.
        nodes: What nodes.toml says.
        keypair: The key of the cluster; None: connections are not secured.
        places: Where its node keeps things, if it is one.
        timeout: Seconds of silence after which somebody is lost.
        wait: Seconds after which clients are taken though not all nodes have joined.
        advertise: Where others reach it; None: where its node is reached, or where it listens.
        events_port: Where it publishes events; 0: at any free port.
    """

    address: Address
    nodes: tuple[NodeConfig, ...]
    keypair: Keypair | None
    places: Places
    timeout: float
    wait: float
    advertise: Address | None = None
    events_port: int = 0


class _Process:
    """A service's process: its loop, and the signals that end it."""

    def __init__(self, keypair: Keypair | None) -> None:
        system.become_subreaper()
        system.raise_descriptor_limit()
        self._wakeup = Wakeup()  # before the handlers, or a signal might be lost
        for number in _CAUGHT:
            signal.signal(number, signals.caught)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self.loop = Loop()
        self.stopping = False
        self.node: Node | NodeProcess | None = None
        self._security = None if keypair is None else Curve(keypair)
        self.loop.selector.register(self._wakeup.fileno(), selectors.EVENT_READ, self._signalled)

    def _signalled(self, events: int) -> None:
        for number in self._wakeup.take():
            if number != signal.SIGCHLD:
                self.stopping = True
            elif self.node is not None:
                self.node.reap()

    def listen(self, address: Address) -> tuple[bytes, Router, str]:
        """Listen there. Gives the key, the router, and the first numeric host."""
        key = os.urandom(16)
        listeners = listen_at(address)
        first, *others = [(each.address.endpoint, each.socket) for each in listeners]
        router = Router(
            key, *first, others=others, security=self._security, doorkeeper=Doorkeeper()
        )
        return key, router, listeners[0].address.host

    def feed(self, router: Router, address: Address) -> Feed:
        feed = Feed(router.context, address, self._security)
        feed.watch(self.loop)
        return feed

    def run(self) -> None:
        """Serve until a signal comes; then end what runs."""
        self.loop.run(lambda: self.stopping)
        node = self.node
        if node is None:
            return
        logger.info("stopping")
        if isinstance(node, Node):
            end(self.loop, node)
            return
        node.stop()
        if not self.loop.run(lambda: node.ended, LIMIT):
            logger.warning("the node of this master has not ended in %g s, and is killed", LIMIT)
            node.kill()
            self.loop.run(lambda: node.ended, KILL_LIMIT)


def run_node(options: NodeOptions) -> None:
    """Be a node, until a signal comes.

    Raises:
        ListenError: It cannot listen there.
        UnknownHost: A host name stands for nothing.
        UnusableCache: It can keep nothing.
    """
    if options.join is not None:
        _check_name(options.join)
    process = _Process(options.keypair)
    options.places.prepare()
    key, router, host = process.listen(options.address)
    node = process.node = Node(
        process.loop,
        options.address,
        host,
        options.keypair,
        options.places,
        limit=options.limit,
        ports=options.ports,
    )
    joining = _Joining(process.loop, node)
    sessions = Sessions(process.loop, router, key, joining, answer=node.answer)
    logger.info("a node listens at %s", options.address)
    reached = options.address if options.advertise is None else options.advertise
    if options.join is not None:
        joining.start(sessions, options.join, str(reached))
    else:
        joining.wait(reached)
    process.run()
    sessions.close()


def _check_name(address: Address) -> None:
    """See that a host name is one. A name service that cannot say is asked again later.

    Raises:
        UnknownHost: It is none.
    """
    try:
        address.resolve()
    except UnknownHost as error:
        if not error.temporary:
            raise


class _Joining:
    """Whom a node's sessions are for: the node, but for that in which it asks a master to take it.

    It asks whenever it has no master. One that takes it opens a session of its own.
    """

    def __init__(self, loop: Loop, node: Node) -> None:
        self._loop = loop
        self._node = node
        self._names = Names(loop)
        self._asking: Session | None = None
        self._asked = 0
        self._since: float | None = None  # since when it has asked for nothing
        self._complaints: set[str] = set()  # what was logged meanwhile: once is enough

    def start(self, sessions: Sessions, master: Address, name: str) -> None:
        """Ask a master to take the node, by this name."""
        self._sessions = sessions
        self._master = master
        self._name = name
        self._ask()

    def wait(self, address: Address) -> None:
        """Wait for a master that knows of the node, and say so once if none comes.

        Args:
            address: Where the node is reached, as far as it knows.
        """
        self._loop.after(_MASTER_PATIENCE, lambda: self._say_alone(address))

    def _say_alone(self, address: Address) -> None:
        if not self._node.was_attached:
            place = (
                address
                if address.is_remote
                else f"an address of this machine, with port {address.port}"
            )
            logger.warning(
                "no master has taken this node: start one whose nodes.toml names it by %s, "
                "or use --join; it waits",
                place,
            )

    def _ask(self) -> None:
        """Ask, and look after a while whether that was of use."""
        if self._node.attached:
            self._since = None
            self._complaints.clear()
        elif self._asking not in list(self._sessions):
            self._names.find(self._master, self._found, self._unknown)
            return
        self._loop.after(_JOIN_AGAIN, self._ask)

    def _unknown(self, error: UnknownHost) -> None:
        self._complain(f"the master cannot be looked for: {error}")
        self._loop.after(_JOIN_AGAIN, self._ask)

    def _found(self, addresses: list[Address]) -> None:
        now = monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= _JOIN_PATIENCE and not self._complaints:
            self._complain(
                f"{self._master} was asked to take this node, and has not: is a master there, "
                f"and can it connect to this node, at {self._name}"
            )
        self._asked += 1
        self._asking = self._sessions.dial(addresses[self._asked % len(addresses)].endpoint)
        self._asking.send(messages.encode(messages.Join(self._name)))
        self._asking.close()
        self._loop.after(_JOIN_AGAIN, self._ask)

    def _complain(self, text: str) -> None:
        if text not in self._complaints:
            logger.warning("%s; it is tried again", text)
            self._complaints.add(text)

    # -- sessions

    def opened(self, session: Session) -> None:
        """Somebody has connected."""
        self._node.opened(session)

    def heard(self, session: Session, message: bytes) -> None:
        """A message has come."""
        self._node.heard(session, message)

    def ended(self, session: Session, reason: str | None) -> None:
        """A session is over."""
        if session is not self._asking:
            self._node.ended(session, reason)
            return
        if reason is not None and not self._node.attached:
            self._complain(f"no master has taken this node: {reason}")


class _Rooms:
    """Whom a session of the master's process is for: the master, but for those it opens itself."""

    def __init__(self) -> None:
        self.master: Master | None = None

    def _owner(self) -> Owner:
        assert self.master is not None
        return self.master

    def opened(self, session: Session) -> None:
        """Somebody has connected."""
        self._owner().opened(session)

    def heard(self, session: Session, message: bytes) -> None:
        """A message has come."""
        self._owner().heard(session, message)

    def ended(self, session: Session, reason: str | None) -> None:
        """A session is over."""
        self._owner().ended(session, reason)

    def answer(self, request: bytes) -> bytes:
        """A tool asks."""
        assert self.master is not None
        return self.master.answer(request)


def run_master(options: MasterOptions) -> None:
    """Be a master, and the node at the same address if there is one, until a signal comes.

    Raises:
        ListenError: It cannot listen there.
        UnknownHost: The name of the host to listen at stands for nothing.
        NoPlace: It is not known where others reach it.
        UnusableCache: It is a node, and can keep nothing.
    """
    own = own_node(options.address, options.nodes, options.advertise)
    reached = reached_at(options.address, own, options.advertise)
    process = _Process(options.keypair)
    if own is not None:
        options.places.prepare()
    key, router, host = process.listen(options.address)
    rooms = _Rooms()
    sessions = Sessions(
        process.loop, router, key, rooms, answer=rooms.answer, timeout=options.timeout
    )
    seat = None if own is None else Seat(options.places.seats, options.address)
    if seat is not None:
        process.node = NodeProcess(process.loop, seat, _setup(options, host))
    names = Names(process.loop)
    dials: Counter[str] = Counter()

    def dial_own(name: str, ready: Callable[[Session], None]) -> None:
        node = process.node
        assert isinstance(node, NodeProcess)
        assert seat is not None
        endpoint = seat.endpoint

        def tied() -> None:
            session = sessions.dial(endpoint)
            session.name = name
            ready(session)

        node.when_tied(tied)

    def dial(name: str, ready: Callable[[Session], None], failed: Callable[[str], None]) -> None:
        if own is not None and name == str(own.reached_at):
            dial_own(name, ready)
            return

        def found(addresses: list[Address]) -> None:
            # One of them each time: it may be that only some lead there.
            dials[name] += 1
            ready(sessions.dial(addresses[dials[name] % len(addresses)].endpoint))

        names.find(Address.parse(name), found, lambda error: failed(str(error)))

    feed = process.feed(router, options.address.with_port(options.events_port))
    rooms.master = Master(
        process.loop,
        reached,
        options.nodes,
        feed,
        dial,
        timeout=options.timeout,
        wait=options.wait,
    )
    if own is None:
        logger.info("%s is no node's fabric_addr: this master is no node itself", options.address)
    logger.info(
        "a master listens at %s, and publishes events at port %d", options.address, feed.port
    )
    process.run()
    feed.close()
    sessions.close()


def _setup(options: MasterOptions, host: str) -> NodeSetup:
    """What the node of a master is told."""
    places, keypair = options.places, options.keypair
    return NodeSetup(
        listens=str(options.address),
        host=host,
        store=places.store,
        store_limit=places.store_limit,
        trees=places.trees,
        seats=places.seats,
        public=None if keypair is None else keypair.public,
        secret=None if keypair is None else keypair.secret,
    )
