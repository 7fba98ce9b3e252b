"""The transport of a process: links over routes over the one ROUTER.

What is decided here, and where:

- *Routes.* A peer is sent to over the route it was first reached on, whoever opened it, while that
  lives; then over another, on which the link sends again what was not received.
- *Ending* (`_check_ending`). The bridge says when a peer has exited. What the peer sent before is
  still in the kernel or in libzmq then. A route shows that it was read to its end: one that the
  peer opened refuses to be sent to, one that we opened is reported as disconnected. When all routes
  have ended and what they brought was taken, the peer has *ended*. Only where a descendant of the
  peer still holds its sockets is a time without arrivals waited for instead.
- *Idling* (`_rest`). The route to a peer that no handle needs is closed after a moment: descriptors
  are proportional to the channels held. Its link stays until the peer has exited, so nothing is
  lost by it.
- *Unheard peers* (`_await`). One that was connected to and never heard of may be behind a firewall.
  Whether it is shows a connection of another kind; then the bridge is told.
- *Leaving* (`drain`). See `constellation.transport.leaving`.
"""

from __future__ import annotations

import heapq
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Collection
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from constellation.control.messages import (
    Examine,
    Exited,
    FromProcess,
    Go,
    Placed,
    Refused,
    Spawned,
    ToProcess,
    Unreached,
    Watch,
)
from constellation.pid import Pid
from constellation.transport import memory
from constellation.transport.descriptors import explained
from constellation.transport.peer import Inlet, Outlet, Peer
from constellation.transport.reactor import Reactor
from constellation.transport.router import Router, Unroutable, key_of_route
from constellation.wire import events as wire_events
from constellation.wire.codec import decode, encode
from constellation.wire.errors import WireError
from constellation.wire.frames import VERSION, Frame, Hello, Probe
from constellation.wire.link import ACK_DELAY, Link
from constellation.wire.reserve import Reserve

if TYPE_CHECKING:
    from constellation.control.stream import MessageStream
    from constellation.exit_status import ExitStatus
    from constellation.transport.lodge import Lodge
    from constellation.transport.network import Network, Security

__all__ = ["SpawnReplies", "Transport"]

logger = logging.getLogger(__name__)

_BATCH = range(64)
"""How many messages are taken in one go before the lock is given to others."""

FLUSH_AFTER = 0.001
"""Seconds after which a batch of values that nobody flushed leaves."""

_REST_AFTER = 1.0
"""Seconds after which the route to a peer that no handle needs is closed."""

_REMEMBERED = 4096
"""How many processes that are forgotten are known to have exited: a send to one of them fails at
once. The bridge knows of the others, but sends go on until it has answered."""

_UNHEARD = 3.0
"""Seconds after which it is asked whether a peer on another machine can be connected to at all."""

_WATCH_AFTER = 0.2
_WATCH_AGAIN = 10.0
"""Seconds that a process has run when it begins to watch who connects to its port, so that one
which does a small piece of work goes without; and after which it tries to again, where it had no
descriptors for that."""

_TOLD_BEFORE = 10
"""How many batches of what libzmq tells of connections are at most what it holds: 2000."""

_OPENING = 1.0
"""Seconds within which libzmq, which does it in a thread of its own, has opened a connection."""

_PREPARE_AGAIN = 0.1
"""Seconds after which it is tried again to open a route for which there were no descriptors."""

_ENDING_CHECK = 0.003
_ENDING_QUIET = 0.1
_ENDING_QUIET_NO_ROUTE = 0.03
"""Seconds: how often an exited peer's routes are looked at; how long nothing must arrive before a
route that does not end (a descendant of the peer holds it) is given up; and the same for a peer of
which no route is known: it may have been just connecting."""


class SpawnReplies(Protocol):
    """Who asked for a process. Called with the lock held."""

    def placed(self, pid: Pid) -> None:
        """The process exists and waits for its closure."""

    def spawned(self) -> None:
        """The process has its closure."""

    def refused(self, kind: str, message: str) -> None:
        """There will be no process."""


class Transport:
    """The links, routes and waits of one process.

    Args:
        pid: This process.
        listener: Its bound and listening socket, taken over; None: it does not listen.
        control: The connection to its bridge.
        inlet: Makes the inlet for a name that a peer sends on.
        network: How it is reached where its program runs on several machines; None: on one.
    """

    def __init__(
        self,
        pid: Pid,
        listener: socket.SocketType | None,
        control: MessageStream[ToProcess],
        *,
        inlet: Callable[[Peer, str, memory.Memory], Inlet],
        network: Network | None = None,
    ) -> None:
        self.pid = pid
        self.os_pid = os.getpid()
        security = None if network is None else network.security
        self._lodge = self._make_lodge(security)
        self._router = Router(
            pid.key,
            pid.endpoint,
            listener,
            network=network,
            security=security,
            doorkeeper=self._lodge,
        )
        self._gate = self._router.gate
        if self._gate is not None:
            self._gate.keeper = self._lodge
        self._gate_fd = -1 if self._gate is None else self._gate.fileno()
        self._control = control
        self._control_fd = control.fileno()
        self._control_open = True
        self.closed = False
        self.leaving = False
        self.failed = False  # this process ends by an exception: see `fail`
        self._make_inlet = inlet
        self.reactor = Reactor(self._service, self._flush, self._next_timer)
        self.lock = self.reactor.lock
        for fd in (self._router.fd, self._control_fd, self._gate_fd):
            if fd >= 0:
                self.reactor.watch(fd)
        self._by_router = [self._router.fd]
        # Guarded by the reactor's lock:
        self.peers: dict[bytes, Peer] = {}
        self.spawns: dict[int, SpawnReplies] = {}
        self.on_go: Callable[[], None] | None = None
        self.on_settled: Callable[[], None] | None = None
        self.on_examine: Callable[[int], None] | None = None
        self.undelivered: list[str] = []  # about peers that are forgotten
        self._past: dict[bytes, ExitStatus | None] = {}  # the last of them
        self._ready: set[Peer] = set()  # peers whose links may have frames to send
        self._unflushed: dict[Outlet, Peer] = {}
        self._flush_at: float | None = None
        self.memory = memory.Memory(self)
        self._reserve = Reserve()
        self._opening: dict[Peer, float] = {}  # since when
        self._timers: list[tuple[float, int, Peer | Lodge]] = []
        self._timer_count = 0
        self._behind = False  # with what libzmq has told of connections
        # Finalizers run on any thread inside any critical section: they only append here.
        self._deferred: deque[Callable[[], bool]] = deque()
        os.register_at_fork(before=self.memory.forking, after_in_child=self._forked)

    def start(self) -> None:
        """Start the I/O thread."""
        if self._lodge is not None:
            with self.lock:
                self._set_timer(self._lodge, monotonic() + _WATCH_AFTER)
        self.reactor.start()

    def _make_lodge(self, security: Security | None) -> Lodge | None:
        """Who sees the strangers at this process's port, where there may be some."""
        if security is None:
            return None  # nobody gets at its socket in the file system, or everybody is let in
        from constellation.transport.lodge import Lodge

        lodge = Lodge(self.tell, lambda when: self._set_timer(lodge, when))
        return lodge

    # -- for channels; the lock is held

    def peer(self, pid: Pid) -> Peer:
        """The peer, made on first use; the bridge is asked to say when it exits."""
        peer = self.peers.get(pid.key)
        if peer is None:
            sealed = self._router.seals(pid.endpoint)
            reserve = self._reserve if sealed else None
            link = Link(self.pid.key, self.pid.endpoint, reserve=reserve)
            peer = self.peers[pid.key] = Peer(pid, link)
            peer.sealed = sealed
            if pid.key in self._past:
                # All that it sent was taken before it was forgotten.
                peer.ended = peer.exit_known = True
                peer.status = self._past[pid.key]
            else:
                self.tell(Watch(pid.key))
        peer.idle_since = None
        return peer

    def inlet(self, peer: Peer, name: str) -> Inlet:
        """Where what the peer sends on a name goes, made on first use."""
        inlet = peer.inlets.get(name)
        if inlet is None:
            if name == memory.STREAM:
                inlet = memory.Negotiation(self.memory, peer)
            else:
                inlet = self._make_inlet(peer, name, self.memory)
            peer.inlets[name] = inlet
        return inlet

    def near(self, peer: Peer) -> bool:
        """Whether a peer is on this machine, as far as can be seen."""
        return self._router.near(peer.pid.key, peer.pid.endpoint)

    def prepare(self, peer: Peer | None = None) -> None:
        """See that a route to a peer can be opened, if it has none; without one, to any.

        Raises:
            OSError: This process may not have so many descriptors.
        """
        if peer is not None and (peer.route is not None or peer.exit_known or peer.routes):
            return
        monitored = self._router.monitor_fd
        self._router.prepare(self._count_opening())
        if monitored < 0:
            self.reactor.watch(self._router.monitor_fd)

    def _count_opening(self) -> int:
        """The routes for which libzmq may still be to take a descriptor, which it does later."""
        opening = self._opening
        if opening:
            since = monotonic() - _OPENING
            for each in [one for one, at in opening.items() if at < since or one.last_arrival]:
                del opening[each]
        return len(opening)

    def later(self, peer: Peer) -> None:
        """Send what the peer's link has to send with what is sent next."""
        self._ready.add(peer)

    def transmit(self, peer: Peer) -> None:
        """Send what the peer's link has to send, and see to what arrived meanwhile."""
        if self._send_frames(peer) and not self.reactor.look_again():
            self._look()

    def send(self, peer: Peer, message: bytes) -> None:
        """Send a message of the peer's link, which has a route.

        As `transmit`, for one that `Outbound.dispatch` gave: it sets no timer, and is all there is.
        """
        try:
            self._router.send(peer.route, [message])  # type: ignore[arg-type]
        except Unroutable as error:
            self._route_ended(peer, error.args[0])
            self._send_frames(peer)
        if not self.reactor.look_again():
            self._look()

    def look(self) -> bool:
        """Take what has arrived, for somebody who does not wait; says whether there was anything.

        For a while after a thread has seen to the input itself, the I/O thread does not.
        """
        if self.closed or self.lock.held():
            return False
        with self.lock.raw:
            if self.reactor.leads():
                # A signal handler has interrupted the wait, which could sleep on though notified.
                return False
            return self._look()

    def _look(self) -> bool:
        """See to what arrived meanwhile; says whether there was anything.

        Sending takes the edge of the descriptor, so nobody may be woken for it.
        """
        if not self._router.readable():
            return False
        more = self._drain()
        self._pump()
        self.reactor.looked(more or self._router.unsure)
        return True

    def acknowledge(self, peer: Peer) -> None:
        """Values of the peer were taken: tell it, now or in time."""
        if peer.link.pending:
            self.transmit(peer)
        else:
            # Whoever waits next, or sends to it, sees to that; at the latest the I/O thread does.
            self._ready.add(peer)
            self.reactor.set_timer(peer.last_arrival + ACK_DELAY)

    def flush_later(self, outlet: Outlet, peer: Peer) -> None:
        """See that the outlet's batch leaves soon, whatever its thread does next."""
        self._unflushed[outlet] = peer
        self._look_soon()

    def _look_soon(self) -> None:
        """See that a thread which is writing to a batch does not have it, or its end, wait long."""
        if self._flush_at is None:
            self._flush_at = monotonic() + FLUSH_AFTER
            self.reactor.set_timer(self._flush_at)

    def flushed(self, outlet: Outlet) -> None:
        """The outlet's batch has left."""
        self._unflushed.pop(outlet, None)

    def tell(self, message: FromProcess) -> None:
        """Send the bridge a message. Without a bridge nothing is sent: this process is ended."""
        if self._control_open:
            try:
                self._control.send(message)
            except ConnectionError:
                self._control_open = False

    def released(self, peer: Peer) -> None:
        """A handle was closed: the peer may not be needed any more.

        Whether it is held is found out later, since a program may close thousands, one by one.
        """
        if peer.ended:
            self._forget(peer)
        else:
            peer.idle_since = monotonic()
            self._set_timer(peer, peer.idle_since + _REST_AFTER)

    @property
    def quiet(self) -> bool:
        """Whether all that this process ever sent is known to be received, or never will be."""
        under_way = self._deferred or self._unflushed or self._ready
        return not under_way and all(peer.quiet for peer in self.peers.values())

    # -- for finalizers, without the lock

    def defer(self, action: Callable[[], bool]) -> None:
        """Have `action` called with the lock held, until it says that it is done."""
        if not self.closed:
            self._deferred.append(action)
            self.reactor.wake_io()

    def run_deferred(self) -> None:
        """Call what was deferred. The lock is held."""
        for _ in range(len(self._deferred)):
            action = self._deferred.popleft()
            if not action():
                self._deferred.append(action)
        if self._deferred:
            self._look_soon()

    def fail(self) -> None:
        """This process ends by an uncaught exception, whose frames are still held.

        A channel that is open now is not closed by their unwinding, nor by the exit: whoever reads
        it shall see that its sender failed, and not take what came for all there is.
        """
        if os.getpid() != self.os_pid:
            return  # a fork of the process, which has no channels
        with self.lock:
            self.run_deferred()  # what was dropped before the exception is closed
            self.failed = True

    # -- the service: everything that input or time asks for; the lock is held

    def _service(self, ready: Collection[int]) -> bool:
        if self._deferred:
            self.run_deferred()
        if ready and ready != self._by_router:
            if self._control_fd in ready and self._control_open:
                self._read_control()
            if self._router.monitor_fd in ready and not self._behind and not self._read_rest():
                # What is left has its turn after what else there is. No descriptor shows it.
                self.defer(self._read_rest)
            if self._gate is not None and self._gate_fd in ready:
                self._serve_gate()
        more = self._drain()
        lead = self.reactor.lead
        if more and lead is not None and lead.notified:
            # What links have to send in return waits until that thread has gone on: it sends it
            # with its next value, when it waits again, or the I/O thread does, and sees to timers.
            return True
        now = monotonic()
        if (
            (self._timers and self._timers[0][0] <= now)
            or self._flush_at is not None
            or self.memory.due is not None
        ):
            self._run_timers(now)
        self._pump()
        return more or (self._router.unsure and bool(self._router.readable()))

    def _drain(self) -> bool:
        """Take what arrived, up to a limit; says whether there may be more.

        Asking costs as much as receiving, so a thread that got what it waits for is let go first.
        """
        router, reactor = self._router, self.reactor
        for _ in _BATCH:
            if not router.readable():
                return False
            self._take(router.receive())
            lead = reactor.lead
            if lead is not None and lead.notified:
                return True
        return True

    def _take(self, message: list[Any]) -> None:
        if len(message) == 2:
            # As below and in `_handle`, in short, for what most messages are.
            route, header = message
            peer = self.peers.get(route[1:17])
            if peer is not None and route == peer.route and not peer.down:
                now = monotonic()
                link = peer.link
                # Before something happens, since an interrupt may keep it from being passed on.
                self._ready.add(peer)
                event = link.arrive(header, now)
                if event is not None:
                    peer.last_arrival = now
                    name = event.stream.name
                    (peer.inlets.get(name) or self.inlet(peer, name)).arrived(event)
                    link.happened.popleft()
                    return
        self._take_any(message)

    def _take_any(self, message: list[Any]) -> None:
        route = message[0]
        key = route[1:17]
        peer = self.peers.get(key)
        try:
            frame = decode(message[1:])
            if peer is None:
                peer = self._meet(key, frame)
            if peer is None or peer.ended:
                return  # what comes after the end of a peer is dropped for good
            now = monotonic()
            peer.last_arrival = now
            if route != peer.route or peer.down:
                self._route_seen(peer, route, now)
            self._ready.add(peer)
            peer.link.receive(frame, now)
        except WireError as error:
            # Whoever is interrupted in the middle of a message ends it with empty parts.
            level = logging.WARNING if len(message[-1]) else logging.DEBUG
            logger.log(level, "dropped a message from %s: %s", key.hex()[:7], error)
            return
        self._handle(peer)

    def _meet(self, key: bytes, frame: Frame) -> Peer | None:
        """A peer that reached this process first."""
        if type(frame) is not Hello:
            return None  # the rest of one that has ended
        if frame.key != key:
            raise WireError(f"{frame} on the route of another process")
        try:
            return self.peer(Pid(key, frame.endpoint))
        except ValueError as error:
            raise WireError(f"{frame}: {error}") from None

    def _route_seen(self, peer: Peer, route: bytes, now: float) -> None:
        peer.routes.add(route)
        peer.down.discard(route)
        if peer.route is None:
            peer.route = route
            peer.cut_off = None
            peer.link.route_up(now)

    def _handle(self, peer: Peer) -> None:
        """Pass on what has happened. What an interrupt keeps from it is passed on the next time."""
        happened = peer.link.happened
        while happened:
            event = happened[0]
            if type(event) is wire_events.Arrived:
                name = event.stream.name
                (peer.inlets.get(name) or self.inlet(peer, name)).arrived(event)
            else:
                self._dispatch(peer, event)
            happened.popleft()

    def _dispatch(self, peer: Peer, event: wire_events.Event) -> None:
        match event:
            case wire_events.Room(stream):
                outlet = peer.outlets.get(stream.name)
                if outlet is not None:
                    outlet.room()
            case wire_events.Received(stream):
                outlet = peer.outlets.get(stream.name)
                if outlet is not None:
                    outlet.received()
                self._settled()
            case wire_events.Opened():
                self.inlet(peer, event.stream.name).opened(event)
            case wire_events.Closed():
                self.inlet(peer, event.stream.name).closed(event)
                self.released(peer)
            case wire_events.Greeted(version):
                self._greeted(peer, version)
            case wire_events.Left():
                peer.left = True
                self._settled()
                if peer.exit_known:
                    self._set_timer(peer, monotonic())

    def _greeted(self, peer: Peer, version: int) -> None:
        if version != VERSION:
            logger.error(
                "process %s speaks version %d of the channel protocol, this one %d: "
                "install the same version of constellation everywhere",
                peer.pid,
                version,
                VERSION,
            )
            self._end(peer)

    def _settled(self) -> None:
        if self.on_settled is not None:
            self.on_settled()

    # -- sending

    def _pump(self) -> None:
        """Send what links have to send."""
        ready = self._ready
        while ready:
            peer = next(iter(ready))
            # Taken out afterwards: what is interrupted is done again.
            self._send_frames(peer)
            ready.discard(peer)

    def _send_frames(self, peer: Peer) -> bool:
        sent = False
        link = peer.link
        if link.happened:
            self._handle(peer)
        now = monotonic()
        while not peer.exit_known:
            route = peer.route
            if route is None:
                if not link.pending:
                    break
                try:
                    route = self._choose_route(peer, now)
                except OSError as error:
                    self._cut_off(peer, error, now)
                    break
            frame = link.next_frame(now)
            if frame is None:
                break
            sent = True
            try:
                self._router.send(route, encode(frame), sealed=peer.sealed)
            except Unroutable:
                # The frame is sent again with all that is not received, on the next route.
                self._route_ended(peer, route)
        deadline = link.deadline()
        if deadline is not None and (peer.due is None or deadline < peer.due):
            self._set_timer(peer, deadline)
        return sent

    def _cut_off(self, peer: Peer, error: OSError, now: float) -> None:
        """There are no descriptors for a route. What the link has to send waits for them."""
        if peer.cut_off is None:
            peer.cut_off = explained(error)
            logger.warning("process %s cannot be connected to: %s", peer.pid, peer.cut_off)
            self._settled()
        self._set_timer(peer, now + _PREPARE_AGAIN)

    def _choose_route(self, peer: Peer, now: float) -> bytes:
        route = next(iter(peer.routes - peer.down), None)
        if route is None:
            self.prepare()
            route = self._router.dial(peer.pid.key, peer.pid.endpoint)
            peer.routes.add(route)
            self._opening[peer] = now
            if not peer.last_arrival and peer.dialled_at is None and self._far(peer):
                peer.dialled_at = now
                self._set_timer(peer, now + _UNHEARD)
        peer.route = route
        peer.cut_off = None
        peer.link.route_up(now)
        return route

    def _route_ended(self, peer: Peer, route: bytes) -> None:
        peer.routes.discard(route)
        peer.down.discard(route)
        if peer.route == route:
            peer.route = None

    def _read_monitor(self) -> None:
        """Routes that this process opened have ended, after all was read that came over them."""
        now = monotonic()
        for route in self._router.disconnected():
            peer = self.peers.get(key_of_route(route))
            if peer is None or route not in peer.routes:
                continue
            peer.down.add(route)
            if peer.exit_known:
                self._check_ending(peer, now)
            elif peer.route == route:
                # libzmq connects it again by itself; what was under way is sent again then.
                peer.link.route_up(now)
                self._ready.add(peer)

    def _read_rest(self) -> bool:
        """See to what `_read_monitor` has left; says whether that was all."""
        self._read_monitor()
        self._behind = self._router.told()
        return not self._behind

    def _serve_gate(self) -> None:
        """Decide on who wants to be let in."""
        assert self._gate is not None
        # First who has come, among whom is whoever waits here: the lodge counts on that order.
        for _ in range(_TOLD_BEFORE):
            if not self._router.told():
                break
            self._read_monitor()
        self._gate.serve()

    def _flush(self) -> None:
        """A thread or task is about to wait: hand all batches to their streams and send."""
        self._hand_over()
        if self._router.unsure and not self.reactor.look_again():
            self._look()

    def _hand_over(self) -> None:
        self._flush_at = None
        if self._deferred:
            self._look_soon()  # what could not be done is tried again
        if not self._unflushed:
            self._router.settle()
            return
        for outlet, peer in list(self._unflushed.items()):
            if outlet.flush():
                self._unflushed.pop(outlet, None)
                self._ready.add(peer)
        if self._unflushed:
            self._look_soon()  # a thread is writing to a batch right now
        self._pump()

    # -- timers

    def _set_timer(self, whose: Peer | Lodge, when: float) -> None:
        if whose.due is None or when < whose.due:
            whose.due = when
            self._timer_count += 1
            heapq.heappush(self._timers, (when, self._timer_count, whose))
            self.reactor.set_timer(when)

    def _next_timer(self) -> float | None:
        first = self._timers[0][0] if self._timers else None
        for other in (self._flush_at, self.memory.due):
            if other is not None and (first is None or other < first):
                first = other
        return first

    def _run_timers(self, now: float) -> None:
        if self._flush_at is not None and self._flush_at <= now:
            self._hand_over()
        if self.memory.due is not None and self.memory.due <= now:
            self.memory.trim(now)
        while self._timers and self._timers[0][0] <= now:
            when, _, whose = self._timers[0]
            due = whose.due == when
            try:
                heapq.heappop(self._timers)
                if due:
                    whose.due = None
                    if isinstance(whose, Peer):
                        self._peer_due(whose, now)
                    else:
                        self._lodge_due(whose, now)
            except BaseException:  # an interrupt: it is done again
                if due:
                    whose.due = None
                    self._set_timer(whose, when)
                raise

    def _lodge_due(self, lodge: Lodge, now: float) -> None:
        """Watch who connects from now on, and tell of the strangers that were counted."""
        if self._router.monitor_fd < 0:
            try:
                self._router.watch()
            except OSError:
                self._set_timer(lodge, now + _WATCH_AGAIN)
            else:
                self.reactor.watch(self._router.monitor_fd)
        lodge.tick(now)

    def _peer_due(self, peer: Peer, now: float) -> None:
        if peer.ended:
            return
        if peer.exit_known:
            self._check_ending(peer, now)
            return
        peer.link.tick(now)
        self._ready.add(peer)
        if peer.dialled_at is not None:
            self._await(peer, peer.dialled_at, now)
        if peer.idle_since is not None:
            self._rest(peer, now)

    def _far(self, peer: Peer) -> bool:
        return peer.pid.endpoint.startswith("tcp:")

    def _await(self, peer: Peer, since: float, now: float) -> None:
        """Ask, once, why a peer is not heard of."""
        if peer.last_arrival:
            peer.dialled_at = None
        elif now < since + _UNHEARD:
            self._set_timer(peer, since + _UNHEARD)
        else:
            peer.dialled_at = None

            def done(reason: str | None) -> None:
                if reason is not None:
                    self.defer(lambda: self._unreached(peer, reason))

            # Most processes never need it.
            from constellation.transport.probe import probe

            probe(peer.pid.endpoint, done)

    def _unreached(self, peer: Peer, reason: str) -> bool:
        if not peer.exit_known and not peer.last_arrival:
            self.tell(Unreached(peer.pid.key, peer.pid.endpoint, reason))
        return True

    def _rest(self, peer: Peer, now: float) -> None:
        """Close the route to a peer that no handle needs."""
        if peer.held or peer.idle_since is None:
            peer.idle_since = None
        elif now < peer.idle_since + _REST_AFTER or not peer.link.delivered or peer.link.pending:
            self._set_timer(peer, max(peer.idle_since, now) + _REST_AFTER)
        else:
            peer.idle_since = None
            for route in [route for route in peer.routes if route[:1] == b"O"]:
                self._route_ended(peer, route)
            self._router.hang_up(peer.pid.endpoint)

    # -- the bridge

    def _read_control(self) -> None:
        try:
            messages = self._control.receive()
        except EOFError:
            # The monitor is about to end this process.
            self._control_open = False
            self.reactor.unwatch(self._control_fd)
            for replies in list(self.spawns.values()):
                replies.refused("SpawnError", "the bridge of this program is gone")
            return
        for message in messages:
            self._hear(message)

    def _hear(self, message: ToProcess) -> None:
        match message:
            case Exited(key, status):
                peer = self.peers.get(key)
                if peer is not None:
                    self._exited(peer, None if status is None else status.exit_status())
            case Go():
                if self.on_go is not None:
                    self.on_go()
            case Placed(request, key, endpoint):
                if request in self.spawns:
                    self.spawns[request].placed(Pid(key, endpoint))
            case Spawned(request):
                if request in self.spawns:
                    self.spawns[request].spawned()
            case Refused(request, kind, text):
                if request in self.spawns:
                    self.spawns[request].refused(kind, text)
            case Examine(question):
                if self.on_examine is not None:
                    self.on_examine(question)

    # -- the end of peers

    def _exited(self, peer: Peer, status: ExitStatus | None) -> None:
        if peer.exit_known:
            return
        peer.exit_known = True
        peer.status = status
        peer.ending_since = monotonic()
        for outlet in list(peer.outlets.values()):
            outlet.ended()
        self._settled()
        self._check_ending(peer, peer.ending_since)

    def _check_ending(self, peer: Peer, now: float) -> None:
        """End the peer if everything that it sent has been taken."""
        if peer.ended:
            return
        knew_route = bool(peer.routes)
        for route in [route for route in peer.routes if route[:1] == b"I"]:
            try:
                self._router.send(route, encode(Probe(0, 0)))
            except Unroutable:
                self._route_ended(peer, route)
        quiet = now - max(peer.last_arrival, peer.ending_since)
        limit = _ENDING_QUIET if knew_route else _ENDING_QUIET_NO_ROUTE
        if peer.left or (knew_route and not peer.routes - peer.down) or quiet >= limit:
            while self._drain():
                pass
            self._end(peer)
        else:
            self._set_timer(peer, now + _ENDING_CHECK)

    def _end(self, peer: Peer) -> None:
        if peer.ended:
            return  # draining came back here
        peer.ended = peer.exit_known = True
        peer.routes.clear()
        peer.down.clear()
        peer.route = None
        self._ready.discard(peer)
        self._opening.pop(peer, None)
        self._router.hang_up(peer.pid.endpoint)
        for inlet in list(peer.inlets.values()):
            inlet.ended()
        for outlet in list(peer.outlets.values()):
            outlet.ended()
        peer.link.end()
        self.memory.forget(peer)
        self._settled()
        self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        """Drop a peer that has ended, if nothing of it is needed any more."""
        if peer.held or any(inlet.unread for inlet in peer.inlets.values()):
            return
        if self.peers.get(peer.pid.key) is peer:
            del self.peers[peer.pid.key]
            self._past[peer.pid.key] = peer.status
            if len(self._past) > _REMEMBERED:
                del self._past[next(iter(self._past))]
            if text := peer.undelivered:
                self.undelivered.append(text)

    # -- the end of this process

    def send_byes(self) -> None:
        """Tell all peers that nothing more comes. The lock is held."""
        for peer in list(self.peers.values()):
            if not peer.exit_known and peer.route is not None:
                peer.link.leave("exit")
                self._send_frames(peer)

    def close(self) -> None:
        """Stop the I/O thread and close everything. Nothing can be used after it."""
        self.closed = True
        self.reactor.stop()
        self.lock = self.reactor.lock
        self._router.close()
        self._control.close()
        self.memory.close()

    def _forked(self) -> None:
        """In a fork of this process: nothing of the transport may be touched."""
        if os.getpid() == self.os_pid:
            return
        self.reactor.after_fork()
        self.lock = self.reactor.lock
        for peer in list(self.peers.values()):
            for outlet in list(peer.outlets.values()):
                outlet.forked()
            for inlet in list(peer.inlets.values()):
                inlet.forked(self.lock)
