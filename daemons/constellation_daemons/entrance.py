"""The listening sockets of a service, who is let in, and what is told of those who are not.

Strangers cost little: a descriptor for the seconds that a handshake may take, no more memory than
the largest message each, and few lines in the log. None of their messages reaches the service.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import zmq
from zmq.utils.monitor import parse_monitor_message

from constellation.address import Address, PortRange
from constellation.security.keypair import Keypair
from constellation.transport.doorkeeper import EVENTS, Doorkeeper
from constellation.transport.security import HANDSHAKE_MS
from constellation.transport.strangers import StrangerLog
from constellation.transport.zap import Zap
from constellation_daemons.binding import bind

__all__ = ["MAX_MESSAGE", "Entrance", "Listener"]

logger = logging.getLogger(__name__)

MAX_MESSAGE: Final = 1 << 20
"""Bytes of the largest message that a service takes unless it says otherwise. A stranger can send a
frame of that size before it is found to be one."""

_BACKLOG: Final = 1024
"""Connections that wait to be accepted; the kernel lowers it to its own limit."""

_KEEPALIVE: Final = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 60,
    zmq.TCP_KEEPALIVE_INTVL: 15,
    zmq.TCP_KEEPALIVE_CNT: 4,
}
"""Seconds after which a machine that has vanished is noticed, and its connections are closed."""

_BATCH: Final = 256
"""How many events of one listener are taken in one go."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket that listens.

    Attributes:
        socket: For the service's own thread. The entrance closes it.
        addresses: Where it listens: several where a host name stands for several.
    """

    socket: zmq.Socket[bytes]
    addresses: list[Address]

    @property
    def address(self) -> Address:
        """The first of the addresses."""
        return self.addresses[0]


@dataclass(slots=True)
class _Watch:
    """What libzmq tells of one listener."""

    listener: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]
    doorkeeper: Doorkeeper


class Entrance:
    """Opens listeners in one context, and keeps strangers out of them.

    It has no thread: whenever one of its :meth:`descriptors` is readable (edge-triggered), or its
    :attr:`deadline` has come, call :meth:`serve`. Nobody new gets in otherwise.

    Args:
        context: The context of the listeners.
        keypair: The key of the cluster; None: everybody is let in.
        tell: What is called with a line about strangers; by default it is logged as a warning.

    Attributes:
        zap: Who says which clients are let in: at first those with `keypair`. None without a key.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keypair: Keypair | None,
        *,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._context = context
        self._keypair = keypair
        self._tell = tell if tell is not None else logger.warning
        self._strangers = StrangerLog()
        self._more = False  # events that a batch had no room for
        self._watches: list[_Watch] = []
        self.zap: Zap | None = None
        if keypair is not None:
            self.zap = Zap(context, tell=self._tell)
            self.zap.admit(keypair.public)

    def open(
        self,
        kind: int,
        address: Address,
        *,
        ports: PortRange | None = None,
        max_message: int = MAX_MESSAGE,
    ) -> Listener:
        """Open a socket that listens.

        Args:
            kind: ``zmq.ROUTER``, ``zmq.PUB``.
            address: Where; a host name stands for all its addresses, port 0 for any free one.
            ports: Take the first of these that is free, and not the port of the address.
            max_message: Bytes; who sends a larger one is cut off.

        Raises:
            ListenError: It cannot listen there.
            UnknownHost: The host name stands for nothing.
        """
        made = self._context.socket(kind)
        made.linger = 0
        made.setsockopt(zmq.MAXMSGSIZE, max_message)
        made.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        made.setsockopt(zmq.BACKLOG, _BACKLOG)
        for option, value in _KEEPALIVE.items():
            made.setsockopt(option, value)
        watch = _Watch(
            made, made.get_monitor_socket(EVENTS), Doorkeeper(self._tell, self._strangers)
        )
        self._watches.append(watch)
        try:
            addresses = bind(made, address, keypair=self._keypair, zap=self.zap, ports=ports)
        except BaseException:  # an interrupt too: the socket is closed, or its context never ends
            self._watches.remove(watch)
            _close(watch, 0.0)
            raise
        if self.zap is not None:
            # It tells them apart by their routing ids, of which they have none.
            self.zap.name(made, f"port {addresses[0].port}" if len(self._watches) == 1 else "")
        logger.info("listening at %s", ", ".join(map(str, addresses)))
        return Listener(made, addresses)

    def descriptors(self) -> list[int]:
        """What to wait on, besides the listeners. The same until another listener is opened."""
        handler = [] if self.zap is None else [self.zap.fileno()]
        return handler + [int(watch.monitor.getsockopt(zmq.FD)) for watch in self._watches]

    @property
    def deadline(self) -> float | None:
        """When to serve though nothing is readable (seconds of the monotonic clock), or None."""
        if self._more:
            return 0.0
        deadlines = [self._strangers.deadline, self.zap.deadline if self.zap else None]
        return min((each for each in deadlines if each is not None), default=None)

    def serve(self) -> None:
        """Let in who waits for it, and tell of strangers. Returns at once."""
        if self.zap is not None:
            self.zap.serve()
        now = time.monotonic()
        self._more = False
        for watch in self._watches:
            for _ in range(_BATCH):
                if not int(watch.monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                    break
                event = parse_monitor_message(watch.monitor.recv_multipart(zmq.NOBLOCK))
                endpoint = event["endpoint"].decode(errors="replace")
                watch.doorkeeper.see(event["event"], event["value"], endpoint, now)
            else:
                self._more = True  # for the next time, which the deadline says is now
        self._say(self._strangers.told(now))

    def close(self, *, linger: float = 0.0) -> None:
        """End, and close the listeners.

        Args:
            linger: Seconds, at most, that their last messages may take to leave.
        """
        for watch in self._watches:
            _close(watch, linger)
        self._watches.clear()
        if self.zap is not None:
            self.zap.close()
        self._say(self._strangers.last(time.monotonic()))

    def _say(self, line: str | None) -> None:
        if line is not None:
            self._tell(line)


def _close(watch: _Watch, linger: float) -> None:
    # libzmq waits for room in the monitor, with a lock held that the next call needs, and for a
    # monitor that was closed it waits without end. So first comes room, then the end of telling.
    while int(watch.monitor.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
        watch.monitor.recv_multipart(zmq.NOBLOCK)
    watch.listener.disable_monitor()
    watch.monitor.close(0)
    watch.listener.close(int(linger * 1000))
