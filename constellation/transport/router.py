"""The one ROUTER of a process: its context, its endpoints and its routes.

A route is one connection as the ROUTER names it. Routes that peers opened are named ``I`` and the
peer's key, since that is the routing id each process gives itself. Routes that this process opened
are named ``O``, the peer's key and a counter: in a namespace of their own and never used twice,
because libzmq aborts the process where two connections of one ROUTER claim the same name.

Everything here is called with the transport's lock held.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import struct
from collections.abc import Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import zmq
from zmq.backend import zmq_poll

from constellation.transport.descriptors import require
from constellation.wire.codec import PLAIN

if TYPE_CHECKING:
    from constellation.transport.doorkeeper import Doorkeeper
    from constellation.transport.lending import Lender
    from constellation.transport.lodge import Lodge
    from constellation.transport.network import Gate, Network, Security
    from constellation.wire.frames import Buffer

__all__ = ["LENT_FROM", "Router", "Unroutable", "key_of_route"]

logger = logging.getLogger(__name__)

_ROUTER = int(zmq.ROUTER)
_PAIR = int(zmq.PAIR)
_MAX_SOCKETS = int(zmq.MAX_SOCKETS)
_POLLIN = int(zmq.POLLIN)
_NOBLOCK = int(zmq.NOBLOCK)
_SNDMORE = int(zmq.SNDMORE)
_FIRST = _SNDMORE | _NOBLOCK
_EVENTS = int(zmq.EVENTS)
_RCVMORE = int(zmq.RCVMORE)
_SRCFD = int(zmq.SRCFD)
_DISCONNECTED = int(zmq.EVENT_DISCONNECTED)
_MOST_EVENTS = 256
_event = struct.Struct("=HI")  # the number of an event, and its value

# How long what was handed to libzmq may take to leave when an endpoint or the socket is closed,
# milliseconds. Delivery does not depend on it: all but the last BYE was received by then.
_LINGER_MS = 200

_MONITOR = "inproc://monitor"  # each router has a context of its own

_TCP = "tcp://"
_IPC = "ipc://"

_TCP_OPTIONS = {
    # What is sent to a machine that is cut off is lost; another attempt costs nothing.
    int(zmq.CONNECT_TIMEOUT): 2_000,
    # A connection over which nothing comes through any more is closed, and made anew by libzmq:
    # without this it is kept for a quarter of an hour, and for ever where nothing is sent.
    int(zmq.TCP_MAXRT): 30_000,
    int(zmq.TCP_KEEPALIVE): 1,
    int(zmq.TCP_KEEPALIVE_IDLE): 15,
    int(zmq.TCP_KEEPALIVE_INTVL): 5,
    int(zmq.TCP_KEEPALIVE_CNT): 3,
}
"""Milliseconds, milliseconds, yes, seconds, seconds, times."""

_MAX_MESSAGE = 2 << 20
"""Bytes of the largest part that is taken over TCP, where strangers may be at the other end: libzmq
makes room for what they say will come. Links send fragments of little more than half of it."""

LENT_FROM = 128 << 10
"""Bytes from which a part is lent to libzmq. To copy less takes no longer than to see to a loan."""

_COPY_BELOW = 4096
"""Bytes of a part that is copied out of the message it came in."""


_ALONE = PLAIN.to_bytes(2, "big")
"""How a header begins behind which there is no other part."""


_FOR_MONITOR = 4
"""Descriptors that the monitor takes, at most: two sockets, each with one or two."""


class Unroutable(Exception):
    """The route does not exist any more."""


def key_of_route(route: bytes) -> bytes:
    """The key of the peer at the other end of a route."""
    return route[1:17]


class Router:
    """The ROUTER socket of the process with ``key``, listening on the adopted ``listener``.

    Args:
        key: The process's key; its routing id is ``I`` + key.
        endpoint: What the listener is bound to, as ZeroMQ writes it.
        listener: A bound and listening socket, taken over; None: the router does not listen.
        others: Further ones, and what each is bound to.
        network: How it is reached where there are several machines; None: there is one.
        security: How connections over TCP are secured; None: there are none, or they are not.
        doorkeeper: Tells of who connects and is no peer; None: nobody does.

    Attributes:
        unsure: Whether there may be input that the descriptor does not show: whatever is done with
            the socket takes its edge. Nobody may sleep on the descriptor before `readable` was
            asked again.
        notes_origin: Whether it is noted where each message came from, which costs a little.
        origin: The descriptor that the last message came from, which is libzmq's, if that is noted.
    """

    def __init__(
        self,
        key: bytes,
        endpoint: str,
        listener: socket.SocketType | None,
        *,
        others: Sequence[tuple[str, socket.SocketType]] = (),
        network: Network | None = None,
        security: Security | None = None,
        doorkeeper: Doorkeeper | Lodge | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._network = network
        self._security = security
        self.doorkeeper = doorkeeper
        self._context = zmq.Context(io_threads=1)
        self._context.set(_MAX_SOCKETS, 64)
        # Not by the context, which does more than make it: each process makes one as it starts.
        self._socket = router = zmq.Socket(self._context, _ROUTER)
        # Called for every message: the methods below those that check their arguments in Python.
        fast: Any = super(zmq.Socket, router)
        router.setsockopt(zmq.ROUTING_ID, b"I" + key)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.ROUTER_HANDOVER, 1)
        router.setsockopt(zmq.LINGER, _LINGER_MS)
        # Memory is bounded by credit. At a high-water mark libzmq loses messages on an orderly
        # close over ipc (libzmq issue 4660), and a full route would need a retry.
        router.setsockopt(zmq.SNDHWM, 0)
        router.setsockopt(zmq.RCVHWM, 0)
        self._only_near = endpoint.startswith(_IPC)
        if not self._only_near:
            for option, value in _TCP_OPTIONS.items():
                router.setsockopt(option, value)
        # Before anything listens: what comes before it would be admitted.
        self.gate: Gate | None = None if security is None else security.gate(self._context)
        # Says which of the dialled routes ended, and that all that came over them was read before.
        # Made with the first of them, since most processes never dial, or for the doorkeeper:
        # before anything listens, or when `watch` is called.
        self._monitor: zmq.Socket[bytes] | None = None
        self.monitor_fd = -1
        self._events = _DISCONNECTED if doorkeeper is None else doorkeeper.events
        if doorkeeper is not None and doorkeeper.at_once:
            self._watch()
        if listener is not None:
            self._bind(endpoint, listener)
        for other in others:
            self._bind(*other)
        if network is not None:
            self._bind(network.near_endpoint(key), network.listener)
        self._dialled: dict[str, bytes] = {}  # where it was reached -> route
        self._reached: dict[str, str] = {}  # endpoint -> where it was reached, if that differs
        self._counter = itertools.count(1)
        self.fd = int(router.getsockopt(zmq.FD))
        # A signal handler may raise between the parts of a message; then that one is ended before
        # the next, and the protocol mends the loss.
        self._left = 0  # parts, at most, of a message that is being sent
        self._receiving = False
        self._lender: Lender | None = None  # from when something was lent
        self._may_lend = True
        self.unsure = False
        self.notes_origin = False
        self.origin = -1
        self._watched = [(router, _POLLIN)]
        self._send = fast.send
        self._receive = fast.recv
        self._get = fast.get

    @property
    def context(self) -> zmq.Context[Any]:
        """The context, for sockets that the same gate is for."""
        return self._context

    def _bind(self, endpoint: str, listener: socket.SocketType) -> None:
        router, security = self._socket, self._security
        self._limit(endpoint)
        if endpoint.startswith(_TCP):
            router.setsockopt(zmq.IPV6, 1)
            if security is not None:
                security.secure_listener(router, f"port {endpoint.rpartition(':')[2]}")
        elif security is not None:
            security.leave_plain(router)
        router.setsockopt(zmq.USE_FD, listener.detach())
        super(zmq.Socket, router).bind(endpoint)
        router.setsockopt(zmq.USE_FD, -1)

    def _limit(self, endpoint: str) -> None:
        """Set how large a part may be at the next endpoint."""
        if not self._only_near:
            most = _MAX_MESSAGE if endpoint.startswith(_TCP) else -1
            self._socket.setsockopt(zmq.MAXMSGSIZE, most)

    def _watch(self) -> None:
        # Not by `get_monitor_socket`, which does the same and touches more memory with it.
        self._socket.monitor(_MONITOR, self._events)
        self._monitor = monitor = zmq.Socket(self._context, _PAIR)
        monitor.setsockopt(zmq.LINGER, 0)
        super(zmq.Socket, monitor).connect(_MONITOR)
        self.monitor_fd = int(monitor.getsockopt(zmq.FD))
        # Asked once: its descriptor shows only what comes after it was seen to be empty.
        monitor.getsockopt(zmq.EVENTS)

    def prepare(self, opening: int = 0) -> None:
        """See that a route can be opened, as far as that takes descriptors.

        libzmq tells nobody if it has none for a connection: it tries again without end.

        Args:
            opening: Routes that were opened just now. Their descriptors may still be to come.

        Raises:
            OSError: This process may not have so many.
        """
        if self._monitor is not None:
            require(1 + opening, self.fd)
            return
        self.watch(1)

    def watch(self, more: int = 0) -> None:
        """See to it that it is told how connections come and end.

        Args:
            more: Descriptors that have to be left after it.

        Raises:
            OSError: This process may not have so many descriptors.
        """
        if self._monitor is not None:
            return
        require(_FOR_MONITOR + more, self.fd)
        try:
            self._watch()
        except zmq.ZMQError as error:  # another thread has taken them
            raise OSError(error.errno, error.strerror) from None

    def dial(self, key: bytes, endpoint: str) -> bytes:
        """Open a route to a peer. Returns at once; what is sent leaves when it is connected."""
        if self._monitor is None:
            self._watch()
        route = b"O" + key + next(self._counter).to_bytes(6, "big")
        nearest = self._nearest(key, endpoint)
        if nearest != endpoint:
            self._reached[endpoint] = nearest
            endpoint = nearest
        security = self._security
        self._limit(endpoint)
        if endpoint.startswith(_TCP):
            self._socket.setsockopt(zmq.IPV6, 1)
            if security is not None:
                security.secure_connection(self._socket)
        elif security is not None:
            security.leave_plain(self._socket)
        self._socket.setsockopt(zmq.CONNECT_ROUTING_ID, route)
        self.unsure = True
        self._socket.connect(endpoint)
        self._dialled[endpoint] = route
        return route

    def near(self, key: bytes, endpoint: str) -> bool:
        """Whether a peer is on this machine, as far as can be seen."""
        return self._nearest(key, endpoint).startswith(_IPC)

    def _nearest(self, key: bytes, endpoint: str) -> str:
        network = self._network
        return endpoint if network is None else network.reach(self._endpoint, key, endpoint)

    def hang_up(self, endpoint: str) -> None:
        """Close the route that ``dial`` opened to this endpoint, if there is one."""
        endpoint = self._reached.pop(endpoint, endpoint)
        if self._dialled.pop(endpoint, None) is not None:
            self.unsure = True
            # libzmq may have given the endpoint up by itself already.
            with contextlib.suppress(zmq.ZMQError):
                self._socket.disconnect(endpoint)
            if self._lender is not None:
                self._lender.sweep()

    def send(self, route: bytes, parts: Sequence[Buffer], *, sealed: bool = False) -> None:
        """Send one message.

        Args:
            route: The route.
            parts: What goes behind it.
            sealed: Whether nothing ever goes to that peer but encrypted.

        Raises:
            Unroutable: The route has ended.
        """
        if self._left:
            self._give_up(route)
        send = self._send
        self.unsure = True
        self._left = len(parts) + 1
        try:
            send(route, _FIRST)
        except zmq.ZMQError as error:
            self._left = 0
            if error.errno == zmq.EHOSTUNREACH:
                raise Unroutable(route) from None
            raise
        # Once the route is accepted the rest is too: there is no high-water mark.
        if sealed and len(parts) > 2 and max(map(len, parts)) >= LENT_FROM:
            lender = self._lender or self._make_lender()
            if lender is not None and lender.send(route, parts, send):
                self._left = 0
                return
        *first, last = parts
        for part in first:
            send(part, _SNDMORE)
        send(last, 0)
        self._left = 0

    def _give_up(self, route: bytes) -> None:
        """End a message whose sending was interrupted, so that nobody takes it for a whole one.

        How much of it was sent is not known, since pyzmq lets signal handlers run before and after
        it sends a part. With so many empty parts it has too many, whatever was sent. If nothing is
        open they become a message of their own, whose header is empty. That takes the route that
        is sent to next, since it has to exist: an error would lose what a handler raises, as in
        `receive`.
        """
        with contextlib.suppress(zmq.ZMQError):  # it does not, any more
            self._send(route, _SNDMORE)
            for _ in range(self._left - 1):
                self._send(b"", _SNDMORE)
            if self._lender is not None:
                self._lender.finish()
            self._send(b"", 0)
        if self._lender is not None:
            self._lender.finished()
        self._left = 0

    def _make_lender(self) -> Lender | None:
        """Who lends libzmq what is large; None: nobody can."""
        if self._may_lend:
            # Most processes send nothing large, or not so far.
            from constellation.transport.lending import Lender

            try:
                self._lender = Lender(self._socket)
            except (OSError, ImportError) as error:
                self._may_lend = False
                logger.debug("what is large is copied: %s", error)
        return self._lender

    def seals(self, endpoint: str) -> bool:
        """Whether nothing ever goes to or comes from the process there but encrypted."""
        own, other = self._endpoint.rpartition(":")[0], endpoint.rpartition(":")[0]
        return self._security is not None and other.startswith(_TCP) and own != other

    def readable(self) -> object:
        """Whether a message waits. To be asked after every call: the descriptor shows edges."""
        if self._receiving:
            # Before it is asked: the rest may be all that waits.
            self._skip_rest()
        found = zmq_poll(self._watched, 0)
        if not found:
            self.unsure = False
        return found

    def receive(self) -> list[Any]:
        """The next message, its route first. One has to wait: `readable()` said so.

        Trying whether there is one would lose what a signal handler raises. While pyzmq raises the
        error that says so, the handler may run where a frame is made up for the traceback, and what
        comes out of that is dropped (in its wheels for Python 3.12 and later). Nor can anything be
        raised in the finalizer of a `Frame`: most messages, which are short, do without.
        """
        receive = self._receive
        self._receiving = True
        # Behind a route there is always something: a header, which is small.
        route = receive(_NOBLOCK)
        if self._lender is not None:
            self._lender.reclaim(route)
        if self.notes_origin:
            frame = receive(_NOBLOCK, False)
            self.origin, header = frame.get(_SRCFD), frame.bytes
        else:
            header = receive(_NOBLOCK)
        message = [route, header]
        if header.startswith(_ALONE):
            # To ask whether there is more takes longer than to receive it. It is skipped if there
            # is, where nobody waits for this message any more.
            return message
        more = self._get
        left = more(_RCVMORE)
        while left:
            frame = receive(_NOBLOCK, False)
            message.append(frame.bytes if len(frame) < _COPY_BELOW else frame.buffer)
            left = frame.more
        self._receiving = False
        return message

    def settle(self) -> None:
        """Do what can be done before the next message is waited for."""
        if self._receiving:
            self._skip_rest()

    def _skip_rest(self) -> None:
        """Drop what is left of a message: its reception was interrupted, or it is a wrong one."""
        while self._get(_RCVMORE):
            self._receive(_NOBLOCK)
        self._receiving = False

    def disconnected(self) -> Iterator[bytes]:
        """The routes opened by ``dial`` that ended since the last call.

        At most so many that nobody has to wait for the end of a flood of strangers; :meth:`told`
        says whether there is more.
        """
        for _ in range(_MOST_EVENTS):
            if not self.told():
                return
            assert self._monitor is not None
            number_and_value, endpoint = self._monitor.recv_multipart(_NOBLOCK)
            number, value = _event.unpack(number_and_value)
            place = endpoint.decode(errors="replace")
            route = self._dialled.get(place)
            if route is None and self.doorkeeper is not None:
                self.doorkeeper.see(number, value, place, monotonic())
            elif route is not None and number == _DISCONNECTED:
                yield route

    def told(self) -> bool:
        """Whether there is something that :meth:`disconnected` has not seen."""
        monitor = self._monitor
        return monitor is not None and bool(int(monitor.get(_EVENTS)) & _POLLIN)

    def close(self) -> None:
        """Close the socket and the context; takes at most the linger time."""
        if self._monitor is not None:
            # libzmq waits for room in the monitor, with a lock held that the next call needs, and
            # for a monitor that was closed it waits without end. So first comes room.
            while self.told():
                self._monitor.recv_multipart(_NOBLOCK)
            self._socket.disable_monitor()
            self._monitor.close(0)
        if self.doorkeeper is not None:
            self.doorkeeper.close(monotonic())
        if self.gate is not None:
            self.gate.close()
        self._socket.close(_LINGER_MS)
        self._context.term()
