"""The process of a bridge, which a node starts."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import sys
from typing import NoReturn

from constellation.address import Address, UnknownHost
from constellation.control.stream import ControlError, MessageStream
from constellation.process import descriptors, signals, system
from constellation.process.signals import Wakeup
from constellation.program.errors import StoreError
from constellation.program.store import Store
from constellation.program.tree import sweep
from constellation.security.keypair import Keypair
from constellation.session.loop import Loop
from constellation.settings import Format
from constellation.transport.curve import Curve
from constellation.transport.doorkeeper import Doorkeeper
from constellation.transport.network import Security
from constellation.transport.router import Router
from constellation_daemons import logs
from constellation_daemons.binding import ListenError
from constellation_daemons.bridge.service import Bridge
from constellation_daemons.bridge.setup import BridgeSetup, FromNode, MoveLog, Rest, from_node
from constellation_daemons.inherited import first_messages
from constellation_daemons.listening import listen_at

logger = logging.getLogger("constellation_daemons.bridge.main")  # it is run as `__main__`

_STOP_LIMIT = 15.0
_ORPHANS_AGAIN = 1.0
"""Seconds until orphans are looked for again that could not be."""
_CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class _Process:
    """A bridge, and what ends it."""

    def __init__(self, setup: BridgeSetup, node: MessageStream[FromNode], wakeup: Wakeup) -> None:
        self._node = node
        self._loop = Loop()
        self._wakeup = wakeup
        self._stopping = False
        self._resting = False  # it is to end when nobody uses it
        self._reason = "the bridge has been stopped"  # why programs end with it
        security: Security | None = None
        keypair = None
        if setup.public is not None and setup.secret is not None:
            keypair = Keypair(setup.public, setup.secret)
            security = Curve(keypair)
        bind = Address.parse(setup.bind)
        first, *others = [(each.address.endpoint, each.socket) for each in listen_at(bind)]
        key = os.urandom(16)
        router = Router(key, *first, others=others, security=security, doorkeeper=Doorkeeper())
        sweep(setup.trees)
        self.bridge = Bridge(
            self._loop,
            router,
            key,
            Store(setup.store, setup.store_limit),
            setup.trees,
            secured=keypair is not None,
            timeout=setup.timeout,
        )
        self.bridge.attach_master(Address.parse(setup.master), setup.endpoint)
        selector = self._loop.selector
        selector.register(node, selectors.EVENT_READ, self._node_ready)
        selector.register(self._wakeup.fileno(), selectors.EVENT_READ, self._signalled)
        logger.info("a bridge listens at %s", bind)

    def run(self) -> None:
        """Serve, until the node ends or wants it."""
        self._loop.run(lambda: self._stopping or (self._resting and self.bridge.unused))
        self.bridge.end(self._reason)
        self._loop.run(lambda: not self.bridge.deployments, _STOP_LIMIT)
        self.bridge.close()
        self._loop.close()

    def _node_ready(self, events: int) -> None:
        try:
            for message in self._node.receive():
                self.obey(message)
        except (EOFError, ControlError):
            self._loop.selector.unregister(self._node)
            if not self._stopping:
                self._reason = "the node that ran the bridge has ended"
            self._stopping = True

    def obey(self, message: FromNode) -> None:
        """The node has said something."""
        match message:
            case Rest(wanted):
                self._resting = wanted
            case MoveLog(level, form):
                (descriptor,) = self._node.take_descriptors(1)
                logs.move(descriptor, level, Format(form))
                os.close(descriptor)

    def _signalled(self, events: int) -> None:
        for number in self._wakeup.take():
            if number == signal.SIGCHLD:
                self._end_orphans()  # guards are waited for by who started them
            else:
                self._stopping = True

    def _end_orphans(self) -> None:
        try:
            self.bridge.guards.end_orphans()
        except OSError as error:  # strangers may have taken all descriptors
            logger.warning("orphans cannot be looked for: %s; it is tried again", error.strerror)
            self._loop.after(_ORPHANS_AGAIN, self._end_orphans)


def main(descriptor: int, level: int, form: Format) -> NoReturn:
    """Be a bridge.

    Args:
        descriptor: Of the socket to the node, which says first what this is.
        level: From which level on messages are logged.
        form: And how.
    """
    os.set_inheritable(descriptor, False)
    logs.set_up(level, form)
    system.set_name("cst-bridge")
    system.become_subreaper()
    system.raise_descriptor_limit()
    wakeup = Wakeup()
    for number in _CAUGHT:
        signal.signal(number, signals.caught)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signals.restore_mask(())  # see `start_part`
    node = MessageStream(descriptors.adopt_socket(descriptor), from_node, descriptors=True)
    setup, *more = first_messages(node) or [None]
    code = 0
    if isinstance(setup, BridgeSetup):
        try:
            process = _Process(setup, node, wakeup)
            for message in more:
                process.obey(message)
            process.run()
        except (ListenError, UnknownHost, StoreError) as error:
            logger.error("%s", error)
            code = 1
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Format(sys.argv[3]))
