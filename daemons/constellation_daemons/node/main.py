"""The process of a master's own node, which the master starts.

It outlives the master, if that is killed while programs run here or are deployed to the bridge
here. The next master at the address finds it by its place (`node.seat`), and takes it over.

==========  =====================================  =================================================
state       what it does                           how it goes on
==========  =====================================  =================================================
tied        serves its master                      the lifeline ends: left; a signal: ending
left        goes on with what runs; nothing can    another master ties it: tied; nothing runs any
            be placed                              more, and the bridge, which was asked to end
                                                   when nobody uses it, has: ending; a signal: the
                                                   same
ending      takes nobody any more; ends what runs  exit, and with that the place is free
==========  =====================================  =================================================
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import sys
from typing import NoReturn

from constellation.address import Address
from constellation.control.stream import ControlError, MessageStream
from constellation.process import descriptors, signals, system
from constellation.process.signals import Wakeup
from constellation.security.keypair import Keypair
from constellation.session.loop import Loop
from constellation.session.sessions import Sessions
from constellation.settings import Format
from constellation.transport.router import Router
from constellation_daemons import logs
from constellation_daemons.inherited import first_messages
from constellation_daemons.node.ending import end
from constellation_daemons.node.lifeline import (
    TAKEN,
    FromMaster,
    NodeSetup,
    Serves,
    Tie,
    Tied,
    Unfit,
    from_master,
    misfit,
)
from constellation_daemons.node.places import Places, UnusableCache
from constellation_daemons.node.seat import Seat
from constellation_daemons.node.service import Node

logger = logging.getLogger("constellation_daemons.node.main")  # it is run as `__main__`

_ACCEPT_AGAIN = 1.0
"""Seconds until lifelines are taken again, after one could not be."""
_GOODBYE_LIMIT = 2.0
"""Seconds that the master has to take what was told last."""
_CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

_Lifeline = MessageStream[FromMaster]


class _Process:
    """A node, and what ends it.

    Args:
        setup: What it is to be.
        lifeline: That of the master that has started it.
        wakeup: Tells of signals.
        seat: Its place, which it has.
        places: Where it keeps things.

    Raises:
        OSError: It cannot listen.
    """

    def __init__(
        self,
        setup: NodeSetup,
        lifeline: _Lifeline,
        wakeup: Wakeup,
        seat: Seat,
        places: Places,
    ) -> None:
        self._seat = seat
        self._wakeup = wakeup
        self._public = setup.public
        self._loop = Loop()
        self._stopping = self._ending = False
        self._tied: _Lifeline | None = None
        keypair = None
        if setup.public is not None and setup.secret is not None:
            keypair = Keypair(setup.public, setup.secret)
        listens = Address.parse(setup.listens)
        self._node = Node(self._loop, listens, setup.host, keypair, places)
        session, self._listener = seat.listen()
        self._listener.setblocking(False)
        key = os.urandom(16)
        # Only this user gets to the socket, so there is nothing to secure.
        router = Router(key, seat.endpoint, session)
        self._sessions = Sessions(self._loop, router, key, self._node)
        selector = self._loop.selector
        selector.register(self._wakeup.fileno(), selectors.EVENT_READ, self._signalled)
        self._listen()
        self._watch(lifeline)
        self._tie_to(lifeline)

    def run(self) -> None:
        """Serve, until a signal comes, or nobody needs it."""
        self._loop.run(lambda: self._stopping or (self._tied is None and self._node.idle))
        logger.info("stopping" if self._stopping else "nothing runs here, and nobody needs it")
        # Who comes now has to wait until the place is free.
        self._ending = True
        with contextlib.suppress(KeyError):  # it is not taken from for a moment
            self._loop.selector.unregister(self._listener)
        self._listener.close()
        end(self._loop, self._node)
        if self._tied is not None:
            for each in self._sessions:
                each.close()
            self._loop.run(lambda: not list(self._sessions), _GOODBYE_LIMIT)
        self._sessions.close()
        self._seat.leave()

    def _signalled(self, events: int) -> None:
        for number in self._wakeup.take():
            if number != signal.SIGCHLD:
                self._stopping = True
            else:
                self._node.reap()
                self._consider()

    def _consider(self) -> None:
        """See to it that the bridge, too, is there for as long as it is needed."""
        if not self._stopping:
            self._node.rest(self._tied is None and not self._node.has_programs)

    # -- masters

    def _listen(self) -> None:
        if not self._ending:
            self._loop.selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self, events: int) -> None:
        try:
            connection = self._listener.accept()[0]
        except (BlockingIOError, ConnectionAbortedError):
            return  # who connected is gone again
        except OSError as error:  # strangers may have taken all descriptors
            logger.warning("no lifeline can be taken: %s; it is tried again", error.strerror)
            self._loop.selector.unregister(self._listener)
            self._loop.after(_ACCEPT_AGAIN, self._listen)
            return
        self._watch(MessageStream(connection, from_master, descriptors=True))

    def _watch(self, lifeline: _Lifeline) -> None:
        self._loop.selector.register(
            lifeline, selectors.EVENT_READ, lambda events: self._ready(lifeline)
        )

    def _ready(self, lifeline: _Lifeline) -> None:
        """A master has said something, or is gone."""
        try:
            for message in lifeline.receive():
                if isinstance(message, Tie):
                    self._tie(lifeline, message)
        except (EOFError, ControlError, ConnectionError):
            self._loop.selector.unregister(lifeline)
            lifeline.close()
            if lifeline is self._tied:
                self._left()

    def _tie(self, lifeline: _Lifeline, tie: Tie) -> None:
        """A master wants to have this node.

        Raises:
            ConnectionError: It is gone.
            ControlError: It has not said where its log goes.
            EOFError: It comes too late, and has to wait until the place is free.
        """
        (log,) = lifeline.take_descriptors(1)
        if self._ending:
            os.close(log)
            raise EOFError
        if self._tied is not None:
            self._ready(self._tied)  # that it is gone may not have been seen yet
        reason = misfit(tie, self._public)
        if self._tied is not None:
            lifeline.post(Serves())
        elif reason is not None:
            lifeline.post(Unfit(reason))
        else:
            logs.move(log, tie.level, Format(tie.form))
            self._node.move_log()
            self._tie_to(lifeline)
        os.close(log)

    def _tie_to(self, lifeline: _Lifeline) -> None:
        self._tied = lifeline
        self._consider()
        with contextlib.suppress(ConnectionError):  # which is about to be seen
            lifeline.post(Tied())

    def _left(self) -> None:
        self._tied = None
        self._node.leave_master("its process has ended")
        self._consider()


def main(descriptor: int, level: int, form: Format) -> NoReturn:
    """Be the node of a master.

    Args:
        descriptor: Of the socket to the master, which says first what this is.
        level: From which level on messages are logged.
        form: And how.
    """
    os.set_inheritable(descriptor, False)
    logs.set_up(level, form)
    system.set_name("cst-node")
    system.become_subreaper()
    system.raise_descriptor_limit()
    wakeup = Wakeup()
    for number in _CAUGHT:
        signal.signal(number, signals.caught)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signals.restore_mask(())  # see `start_part`
    os.dup2(2, 1)  # so that it holds up no pipe of the master's but that of the log
    lifeline: _Lifeline = MessageStream(descriptors.adopt_socket(descriptor), from_master)
    setup = next(iter(first_messages(lifeline)), None)
    code = _serve(setup, lifeline, wakeup) if isinstance(setup, NodeSetup) else 0
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


def _serve(setup: NodeSetup, lifeline: _Lifeline, wakeup: Wakeup) -> int:
    try:
        places = Places(setup.store, setup.store_limit, setup.trees, setup.seats)
        places.prepare()
        seat = Seat(setup.seats, Address.parse(setup.listens))
        if not seat.take():
            return TAKEN
        _Process(setup, lifeline, wakeup, seat, places).run()
    except UnusableCache as error:
        logger.error("%s", error)
        return 1
    except OSError as error:
        logger.error("the node of this master cannot listen: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Format(sys.argv[3]))
