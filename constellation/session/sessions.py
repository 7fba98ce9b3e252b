"""Sessions: messages between two services, in order and each exactly once.

A session is the stream protocol's link between two ROUTERs over TCP, with one stream each way. A
connection that breaks costs time and no message; libzmq makes it again, and the link sends what
was not received. What ends a session is silence: each end says something at least once a second,
and who hears nothing for the timeout takes the other for lost. So does who cannot connect.

States of a session:

=========  ===========================================  ===========================================
state      what it means                                how it goes on
=========  ===========================================  ===========================================
open       messages go both ways                        `close`: closing; silence, or a peer that
                                                        cannot be understood: ended, told as lost
closing    nothing more is sent; what was sent is       all received, or silence: ended, not told
           being received
ended      it is forgotten; what comes for it is
           dropped
=========  ===========================================  ===========================================

Whoever opens a session makes up a name for it, which HELLO carries in both directions. So neither
takes what is left of one session for the next one, with the same two services at its ends: who
opened it takes nothing until the name has come back, and who listens ends one session when the
same peer begins another.

A peer that says BYE has closed its end: the session is ended, and told as closed, when everything
it sent has been given over.

Nor does an end that opened a session wait for a connection over which nothing comes: while the peer
is silent it makes another one every now and then. After a cable was cut and mended the old one
would go on only when TCP tries again, which it does ever more seldom, and often after the timeout.

A connection whose other end is closed tells more than silence: who still lives connects again at
once. So who has not done that in :data:`CUT` seconds is lost as well. And who answers there as
somebody else has been started anew, and knows nothing of the session.

Nor need silence tell an end that was stopped itself (by a debugger, by swapping), and whose peers
have given it up meanwhile: who listens answers what comes for a session that is over with a BYE
that names no stream. Who has dialled knows at once then, that the peer lives and that nothing of
the session is left, and may dial again. Such an end is told from others: the session was given up.

How much may be under way is not bounded here but by what is sent: output has room that its reader
gives, files are asked for, and everything else is small.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Protocol, TypeVar

from constellation.session.loop import Loop
from constellation.transport.kernel import (
    Connection,
    connection,
    peer_host,
    unanswered,
    wait_for_reader,
)
from constellation.transport.router import Router, Unroutable, key_of_route
from constellation.wire import events as wire_events
from constellation.wire.codec import decode, encode
from constellation.wire.errors import WireError
from constellation.wire.frames import VERSION, Buffer, Bye, Credit, Frame, Hello, Probe
from constellation.wire.link import ACK_DELAY, Link

logger = logging.getLogger(__name__)

BEAT = 1.0
"""Seconds after which an end that has nothing to say says that it is there."""
TIMEOUT = 5.0
"""Seconds of silence after which a peer is lost."""
CONNECT_TIMEOUT = 10.0
"""Seconds that a peer has to answer first."""
CUT = 2.0
"""Seconds that a peer may be without a connection, once that was closed at its end."""
ANEW = 2 * BEAT
"""Seconds of silence after which the connection is made anew."""
_LOOK = BEAT / 4  # seconds after which all sessions are looked at, at the latest
_REMEMBERED = 10_000
_WINDOW = 1 << 40
_FRAGMENT = 256 << 10
_BATCH = 256  # messages that are taken in one go, so that one chatty peer starves no other


class Owner(Protocol):
    """Whom sessions are for. Nothing here is called from within `dial`, `send` or `close`."""

    def opened(self, session: Session) -> None:
        """A peer has connected to this end."""

    def heard(self, session: Session, message: bytes) -> None:
        """A message has come."""

    def ended(self, session: Session, reason: str | None) -> None:
        """A session is over.

        Args:
            session: Which.
            reason: What is wrong; None: the peer has closed it, and all that it sent was heard.
        """


class Session:
    """One end of a session.

    Attributes:
        key: What the peer is called here; one that connected has made it up when it started.
        name: The peer, for people.
        open: Whether messages may be sent.
        patient: Whether the peer may be silent for as long as it likes: it has said so.
        lenient: Whether the peer may be silent for as long as its machine answers: it may have been
            stopped, and could not say so. Where the system does not tell (it is not Linux), this
            changes nothing.
        given_up: Whether the session has ended because the peer, which lives, took this end for
            lost.
        replaced: Whether the session has ended because the peer has begun another one.
    """

    def __init__(
        self, sessions: Sessions, key: bytes, endpoint: str, link: Link, identity: str
    ) -> None:
        self._sessions = sessions
        self.key = key
        self._identity = identity
        self._agreed = False  # the peer speaks of this very session
        self.name = endpoint.removeprefix("tcp://") or key.hex()[:7]
        self.open = True
        self.patient = False
        self.lenient = False
        self._connection: Connection | None = None  # that it was heard over last
        self._unlimited: Connection | None = None  # for which the system has no limit any more
        self._unanswered_since: float | None = None  # by its machine
        self.given_up = False
        self.replaced = False
        self._endpoint = endpoint
        self._link = link
        self._outbound = link.outbound("")
        self._route: bytes | None = None
        self._routes: set[bytes] = set()
        self._known = False  # it has answered
        self._told = False  # its owner knows of it
        self._left = False
        self._peer: bytes | None = None  # who is there, as it has said itself
        self._cut_at: float | None = None  # since when there is no connection
        self._dialled_at = 0.0
        self._heard_at = self._sent_at = monotonic()

    def send(self, message: Buffer) -> None:
        """Send a message. In a session that is not open it goes nowhere."""
        if self.open:
            self._outbound.push([message], 1, len(message))
            self._sessions._transmit(self)

    @property
    def unreceived(self) -> int:
        """How many messages the peer is not known to have received."""
        return self._outbound.undelivered

    def silent(self, now: float) -> float | None:
        """For how many seconds nothing was heard of the peer; None: it has never answered."""
        return now - self._heard_at if self._known else None

    def close(self) -> None:
        """Send nothing more. What was sent is still delivered, as far as the peer takes it."""
        if self.open:
            self.open = False
            self._link.leave("closed")
            self._sessions._transmit(self)

    def __repr__(self) -> str:
        return f"<Session with {self.name} {'open' if self.open else 'closing'}>"


class Sessions:
    """All sessions of a service: a ROUTER, on the service's loop.

    Args:
        loop: The service's.
        router: Taken over. Its routing id is `I` and `key`.
        key: Who this end is: random, new at each start.
        owner: Is told what happens.
        timeout: Seconds of silence after which a peer is lost.
        connect_timeout: Seconds that a peer has to answer first.
        answer: Answers requests of plain REQ sockets; None: there are none.
    """

    def __init__(
        self,
        loop: Loop,
        router: Router,
        key: bytes,
        owner: Owner,
        *,
        answer: Callable[[bytes], bytes] | None = None,
        timeout: float = TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        self._loop = loop
        self._router = router
        self._key = key
        self._owner = owner
        self._answer = answer
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._sessions: dict[bytes, Session] = {}  # by the peer's key
        self._past: dict[str, None] = {}  # names of sessions that have ended, the oldest first
        self._last: dict[bytes, str] = {}  # of peers that dialled: the session that has ended last
        self._turned_away: set[int] = set()  # versions of the protocol that were told of
        self._held_up: tuple[float, float] | None = None  # when it was noticed, and seconds
        self._watches_monitor = False
        self._closed = False
        loop.watch(router.fd, router.readable, self._ready)
        if router.gate is not None:
            loop.watch(router.gate.fileno(), self._serve_gate, lambda: None)
        self._watch_monitor()
        self._timer = loop.after(_LOOK, self._look)

    def dial(self, endpoint: str) -> Session:
        """Open a session with who listens there. At once messages may be sent.

        Args:
            endpoint: As ZeroMQ writes it.
        """
        # The key is that of the route: who is there is known when it answers.
        session = self._add(os.urandom(16), endpoint, os.urandom(16).hex())
        session._told = True
        self._dial(session)
        self._transmit(session)
        return session

    @property
    def held_up(self) -> float | None:
        """The seconds for which this process was not run, if sessions may have ended of that."""
        # Peers that were there show it within the timeout; who has ended for that does not.
        if self._held_up is None or monotonic() - self._held_up[0] >= self._timeout + CUT:
            return None
        return self._held_up[1]

    def awoke(self, seconds: float) -> None:
        """This process was stopped for a while: that it heard nothing means nothing."""
        now = monotonic()
        self._held_up = now, seconds
        for session in self:
            session._heard_at = now
            if session._cut_at is not None:
                session._cut_at = now

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def close(self) -> None:
        """End everything, now. What is under way has a moment to arrive. Again it does nothing."""
        if self._closed:
            return
        self._closed = True
        self._timer.cancel()
        self._loop.unwatch(self._router.fd)
        if self._router.gate is not None:
            self._loop.unwatch(self._router.gate.fileno())
        if self._watches_monitor:
            self._loop.unwatch(self._router.monitor_fd)
        self._sessions.clear()
        self._router.close()

    # -- what comes

    def _ready(self) -> None:
        for _ in range(_BATCH):
            if self._closed or not self._router.readable():
                return
            self._take(self._router.receive())

    def _take(self, message: list[Buffer]) -> None:
        route = bytes(message[0])
        if self._answer is not None and len(message) == 3 and not message[1]:
            self._reply(route, bytes(message[2]), self._answer)
            return
        key = key_of_route(route)
        session = self._sessions.get(key)
        if session is None and route[:1] == b"O":
            return  # this end has hung up, and the peer does not know that yet
        frame: Frame | None = None
        try:
            frame = decode(message[1:])
            session = self._concerned(session, key, frame)
            if session is None:
                self._answer_over(route, key)
                return
            if type(frame) is Bye and not frame.last:
                self._given_up(session)
                return
            now = session._heard_at = monotonic()
            session._known = True
            session._cut_at = None
            session._unanswered_since = None
            self._note_origin(session)
            if route not in session._routes:
                session._routes.add(route)
            if session._route is None:
                session._route = route
                session._link.route_up(now)
            session._link.receive(frame, now)
        except WireError as error:
            level = logging.DEBUG if _is_for_former(session, frame) else logging.WARNING
            logger.log(level, "dropped a message of %s: %s", key.hex()[:7], error)
            return
        self._handle(session)
        self._transmit(session)

    def _note_origin(self, session: Session) -> None:
        origin = self._router.origin
        if origin < 0:
            return  # it is not noted here
        known = session._connection
        if known is None or known.fd != origin or session.lenient:
            # A new connection mostly has the number of the one before it.
            known = session._connection = connection(origin)
        if session.lenient and session._unlimited != known:
            session._unlimited = known
            wait_for_reader(known)

    def _reply(self, route: bytes, request: bytes, answer: Callable[[bytes], bytes]) -> None:
        with contextlib.suppress(Unroutable):  # whoever asked is gone
            self._router.send(route, [b"", answer(request)])

    def _answer_over(self, route: bytes, key: bytes) -> None:
        """Tell who speaks of a session that is over that it is, if it has opened that."""
        name = self._last.get(key)
        if name is None or key in self._sessions or route[:1] != b"I":
            return
        with contextlib.suppress(Unroutable):
            self._router.send(route, encode(Hello(VERSION, self._key, name)))
            self._router.send(route, encode(Bye("it is over")))

    def _given_up(self, session: Session) -> None:
        """The peer knows nothing of a session any more."""
        session.given_up = True
        self._notice(monotonic())  # this may be the first that it does since it goes on
        held_up = self.held_up
        why = "" if held_up is None else f", since this end was not run for {held_up:.1f} s"
        reason = f"{session.name} has given up the session{why}"
        self._end(session, reason if session.open else None)

    def _serve_gate(self) -> bool:
        assert self._router.gate is not None
        self._router.gate.serve()
        return False

    def _concerned(self, session: Session | None, key: bytes, frame: Frame) -> Session | None:
        """The session that a frame is of; None: one that is over."""
        if type(frame) is not Hello:
            return session if session is not None and session._agreed else None
        if session is not None and session._identity == frame.endpoint:
            session._agreed = True
            return session
        if session is not None and session._endpoint:
            session._agreed = False  # what the peer says is of one that this end has given up
            return None
        if frame.key != key:
            raise WireError(f"{frame} on the route of another")
        if frame.endpoint in self._past:
            return None  # it has not heard yet that its session is over
        if session is not None:
            session.replaced = True
            self._end(session, f"{session.name} has begun another session")
        session = self._add(key, "", frame.endpoint)
        session._agreed = True
        return session

    def _handle(self, session: Session) -> None:
        for event in session._link.events():
            if self._sessions.get(session.key) is not session:
                return
            match event:
                case wire_events.Arrived(stream=stream, parts=parts, weight=weight):
                    stream.consumed(weight)
                    for part in parts:
                        self._owner.heard(session, bytes(part))
                case wire_events.Greeted(version=version, key=key):
                    self._greeted(session, version, key)
                case wire_events.Left():
                    session._left = True
                    self._notice(monotonic())  # it may have left since this end did not run
                    self._end(session, None)
                case _:
                    pass

    def _greeted(self, session: Session, version: int, key: bytes) -> None:
        if version != VERSION:
            self._transmit(session)  # so that it learns what is spoken here
            self._turn_away(session, version)
            return
        if session._peer not in (None, key):
            self._end(session, f"{session.name} has been started anew")
            return
        if session._peer is not None and not session._endpoint:
            # It has connected again: what was sent over the old connection may be lost.
            session._link.route_up(monotonic())
        session._peer = key
        if not session._told:
            session._told = True
            self._owner.opened(session)

    def _turn_away(self, session: Session, version: int) -> None:
        """Two that speak other versions of the protocol do not understand each other.

        Of one that has connected the owner does not know, so it is told here, once for a version:
        most come again each second.
        """
        text = (
            f"speaks version {version} of the stream protocol, and this end version {VERSION}: "
            "install the same version of constellation on both"
        )
        if not session._told and version not in self._turned_away:
            self._turned_away.add(version)
            host = peer_host(session._connection)
            logger.warning("a peer%s %s", f" at {host}" if host else "", text)
        self._end(session, f"{session.name} {text}")

    # -- what goes

    def _dial(self, session: Session) -> None:
        session._dialled_at = monotonic()
        session._route = self._router.dial(session.key, session._endpoint)
        session._routes.add(session._route)
        session._link.route_up(monotonic())
        self._watch_monitor()

    def _watch_monitor(self) -> None:
        fd = self._router.monitor_fd
        if fd >= 0 and not self._watches_monitor:
            self._watches_monitor = True
            self._loop.watch(fd, self._monitor_pending, lambda: None)

    def _dial_anew(self, session: Session) -> None:
        self._router.hang_up(session._endpoint)
        session._routes.clear()
        self._dial(session)

    def _transmit(self, session: Session) -> None:
        link = session._link
        while (route := session._route) is not None:
            now = monotonic()
            frame = link.next_frame(now)
            if frame is None:
                break
            self._send(session, route, frame, now)
        deadline = link.deadline()
        if deadline is not None and deadline < self._timer.when:
            self._look_at(deadline)

    def _send(self, session: Session, route: bytes, frame: Frame, now: float) -> None:
        try:
            self._router.send(route, encode(frame))
            session._sent_at = now
        except Unroutable:
            # It goes again with all that is not received, when the peer is back.
            session._routes.discard(route)
            session._route = next(iter(session._routes), None)
            if session._route is not None:
                session._link.route_up(now)
            elif session._cut_at is None:
                session._cut_at = now

    def _beat(self, session: Session, now: float) -> None:
        """Say that this end is there."""
        if session._route is not None:
            self._send(session, session._route, Probe(0, 0), now)

    def _monitor_pending(self) -> bool:
        # What is sent here may take the edge of the router's descriptor: that is asked once more.
        return self._read_monitor() or self._router.told()

    def _read_monitor(self) -> bool:
        ended = list(self._router.disconnected())
        for route in ended:
            session = self._sessions.get(key_of_route(route))
            if session is not None and session._route == route:
                # libzmq connects it again by itself; what was under way is sent again then.
                now = monotonic()
                if session._known and session._cut_at is None:
                    session._cut_at = now
                session._link.route_up(now)
                self._transmit(session)
        return bool(ended)

    # -- time

    def _look_at(self, when: float) -> None:
        self._timer.cancel()
        self._timer = self._loop.at(when, self._look)

    def _look(self) -> None:
        now = monotonic()
        self._notice(now)
        self._timer = self._loop.at(now + _LOOK, self._look)
        if self._router.doorkeeper is not None:
            self._router.doorkeeper.tick(now)
        for session in self:
            self._look_after(session, now)

    def _notice(self, now: float) -> None:
        """See whether this process was held up: then what has come meanwhile is yet to be read."""
        late = now - self._timer.when
        if late > BEAT:
            self.awoke(late)

    def _look_after(self, session: Session, now: float) -> None:
        limit = self._timeout if session._known else self._connect_timeout
        if session.lenient and now - session._heard_at >= ANEW:
            self._ask_system(session, now)
        if now - session._heard_at >= limit and not self._may_be_silent(session, limit):
            quiet = f"{session.name} has said nothing for {limit:g} s"
            never = (
                f"{session.name} does not answer: no connection within {limit:g} s; "
                f"nobody listens there, a firewall is in between, or its key is another one than "
                f"here"
            )
            self._end(session, quiet if session._known else never)
            return
        if self._stalled(session, now):
            self._dial_anew(session)
        if session._cut_at is not None and now - session._cut_at >= CUT:
            held_up = self.held_up
            # Who was stopped for that long was taken for lost, by peers that live.
            own = held_up is not None and held_up >= self._timeout / 2
            why = f", after this end was not run for {held_up:.1f} s" if own else ""
            reason = f"{session.name} has closed the connection, and made no other{why}"
            self._end(session, reason)
            return
        if not session.open and session._link.delivered and not session._link.pending:
            self._end(session, None)
            return
        deadline = session._link.deadline()
        if deadline is not None and now >= deadline:
            session._link.tick(now)
        if now - session._sent_at >= BEAT:
            self._beat(session, now)
        self._transmit(session)

    def _may_be_silent(self, session: Session, limit: float) -> bool:
        if not session.lenient:
            return session.patient
        machine = unanswered(session._connection)
        if machine is None:
            return session.patient
        since = session._unanswered_since
        return since is None or monotonic() - since < ANEW or machine < limit

    def _ask_system(self, session: Session, now: float) -> None:
        """See whether the machine of a peer that is silent answers.

        The system asks ever more seldom while a window is closed, and an answer takes a moment. So
        none counts as lacking before it has lacked for a while.
        """
        machine = unanswered(session._connection)
        if machine is None or machine < ANEW:
            session._unanswered_since = None
        elif session._unanswered_since is None:
            session._unanswered_since = now

    def _stalled(self, session: Session, now: float) -> bool:
        """Whether the connection is to be made anew."""
        if not session._endpoint or not session._known or session.patient:
            return False
        silent = now - session._heard_at
        # Less and less often: a peer that is stopped finds all of them when it goes on.
        return silent >= ANEW and now - session._dialled_at >= max(BEAT / 4, silent / 8)

    # -- the beginning and the end

    def _add(self, key: bytes, endpoint: str, identity: str) -> Session:
        if not endpoint:
            self._last.pop(key, None)
        link = Link(self._key, identity, window=_WINDOW, fragment=_FRAGMENT)
        link.outbound("").open("", "raw")
        session = self._sessions[key] = Session(self, key, endpoint, link, identity)
        return session

    def _end(self, session: Session, reason: str | None) -> None:
        del self._sessions[session.key]
        was_open, session.open = session.open, False
        _remember(self._past, session._identity, None)
        if not session._endpoint:
            _remember(self._last, session.key, session._identity)
        if session._left:
            # The peer waits to hear that all of it was received.
            session._link.tick(monotonic() + ACK_DELAY)
            self._transmit(session)
        if any(route[:1] == b"O" for route in session._routes):
            self._router.hang_up(session._endpoint)
        session._route = None
        if session._told and (was_open or reason is not None):
            self._owner.ended(session, reason)


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _is_for_former(session: Session | None, frame: Frame | None) -> bool:
    """Whether a wrong frame is what a peer says that has not heard that this end was started anew.

    It tells how far it has come in the session with the one that was here before. It ends that as
    soon as it hears who is here now, and until then has received nothing of what was sent to it.
    """
    return (
        isinstance(frame, Credit)
        and session is not None
        and not session._endpoint
        and session._outbound.received == 0
    )


def _remember(past: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Keep this, and not too much."""
    past[key] = value
    if len(past) > _REMEMBERED:
        del past[next(iter(past))]
