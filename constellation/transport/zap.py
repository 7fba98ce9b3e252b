"""Who is let in: the handler of ZAP requests (ZeroMQ RFC 27) of one context.

libzmq asks it about every CURVE client that has proved to have the key that it names, before a
single message of that client is taken. Where a context has no handler everybody is let in, so a
context has one before its first listener, for as long as it has listeners.

The handler is asked only about CURVE, since no ZAP domain is set: endpoints in the open (ipc, in a
directory of this user) are not held up by it.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import zmq
from zmq.utils import z85

from constellation.transport.strangers import StrangerLog

if TYPE_CHECKING:
    from constellation.transport.network import Keeper

__all__ = ["ENDPOINT", "Zap"]

logger = logging.getLogger(__name__)

ENDPOINT: Final = "inproc://zeromq.zap.01"
"""Where libzmq asks."""

_VERSION: Final = b"1.0"
_KEY_SIZE: Final = 32

_GRANTED: Final = b"200"
_REFUSED: Final = b"400"
_FAILED: Final = b"500"


class Zap:
    """Lets those clients in whose public keys it was given.

    It has no thread: when its descriptor is readable (edge-triggered, as all of ZeroMQ's), call
    :meth:`serve`. Until then, who asks waits, and is turned away after the time for handshakes.

    Not thread-safe: for the thread, or under the lock, that the listeners belong to.

    Args:
        context: Whose listeners it guards.
        tell: What is called with a line about strangers; by default it is logged as a warning.

    Attributes:
        keeper: Whom it tells of its decisions; None: strangers are told of in lines.

    Raises:
        ValueError: The context has a handler already.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], *, tell: Callable[[str], None] | None = None
    ) -> None:
        self._tell = tell if tell is not None else logger.warning
        self._names: dict[bytes, bytes] = {}  # public key -> name
        self._strangers = StrangerLog()
        self._places: dict[bytes, str] = {}  # routing id of who listens -> where
        self.keeper: Keeper | None = None
        self._socket = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        try:
            self._socket.bind(ENDPOINT)
        except zmq.ZMQError as error:
            self._socket.close()
            if error.errno == zmq.EADDRINUSE:
                raise ValueError("the context has a handler of ZAP requests already") from None
            raise
        self._fd = int(self._socket.getsockopt(zmq.FD))

    def fileno(self) -> int:
        """The descriptor that becomes readable when somebody asks."""
        return self._fd

    @property
    def deadline(self) -> float | None:
        """When to call :meth:`serve` though nobody asks (seconds of the monotonic clock), or None.

        Strangers that were only counted are told of then.
        """
        return self._strangers.deadline

    def admit(self, public: bytes, name: str = "") -> None:
        """Let clients with this public key in from now on.

        Args:
            public: The key, as Z85 text of 40 characters.
            name: The ``User-Id`` of all messages of such a client, for who serves several kinds.

        Raises:
            ValueError: That is no key.
        """
        self._names[_decoded(public)] = name.encode()

    def dismiss(self, public: bytes) -> None:
        """Let no new clients with this public key in. Those who are in stay."""
        self._names.pop(_decoded(public), None)

    def name(self, socket: zmq.Socket[bytes], place: str) -> None:
        """Say where a socket listens, such as ``port 9999``: strangers there are told of with it.

        Args:
            socket: One with a routing id, which the requests about its clients name.
            place: Where.
        """
        identity = socket.getsockopt(zmq.ROUTING_ID)
        assert isinstance(identity, bytes), "it is asked for as bytes"
        self._places[identity] = place

    def guards(self, socket: zmq.Socket[bytes]) -> bool:
        """Whether the listeners of this socket ask this handler."""
        return (
            not self._socket.closed and socket.context.underlying == self._socket.context.underlying
        )

    def serve(self) -> None:
        """Answer all that wait for an answer. Returns at once if nobody does."""
        # Asked for, and not tried: see `constellation.transport.router.Router.receive`.
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._answer(self._socket.recv_multipart(zmq.NOBLOCK))
        self._say(self._strangers.told(time.monotonic()))

    def close(self) -> None:
        """End, after the listeners have: nobody is asked any more about who comes then."""
        if not self._socket.closed:
            self._socket.unbind(ENDPOINT)  # at once, and not when libzmq comes to close it
            self._socket.close()
            self._say(self._strangers.last(time.monotonic()))

    def _answer(self, message: list[bytes]) -> None:
        match message:
            case [route, b"", b"1.0", request, _, address, listener, mechanism, *credentials]:
                name, why = self._judge(mechanism, credentials)
                if name is None:
                    self._tell_of(address.decode(errors="replace"), listener, why)
                    self._reply(route, request, _REFUSED, b"not let in")
                else:
                    if self.keeper is not None:
                        self.keeper.admitted()
                    self._reply(route, request, _GRANTED, b"", name)
            case [route, *rest]:
                # Nothing but libzmq asks in its version, unless somebody in this process does.
                self._tell_of("", b"", "a request to the ZAP handler that is none of ZAP 1.0")
                request = rest[2] if len(rest) > 2 else b""
                self._reply(route, request, _FAILED, b"no request of ZAP 1.0")

    def _judge(self, mechanism: bytes, shown: list[bytes]) -> tuple[bytes | None, str]:
        """As whom somebody is let in, and why not if that is None."""
        if mechanism != b"CURVE":
            return None, f"its mechanism is {mechanism!r:.40} and not CURVE"
        name = self._names.get(shown[0]) if len(shown) == 1 else None
        return name, "its key is not one that is let in"

    def _reply(
        self, route: bytes, request: bytes, status: bytes, text: bytes, name: bytes = b""
    ) -> None:
        # The ROUTER is not mandatory: who has gone in between gets no answer, without an error.
        self._socket.send_multipart(
            [route, b"", _VERSION, request, status, text, name, b""], zmq.NOBLOCK
        )

    def _tell_of(self, address: str, listener: bytes, why: str) -> None:
        if self.keeper is not None:
            self.keeper.refused(address, why)
        else:
            place = self._places.get(listener, "")
            self._say(self._strangers.seen(address, why, time.monotonic(), place=place))

    def _say(self, line: str | None) -> None:
        if line is not None:
            self._tell(line)


def _decoded(public: bytes) -> bytes:
    try:
        key = z85.decode(public)
    except (ValueError, KeyError, struct.error):
        key = b""
    if len(key) != _KEY_SIZE:
        raise ValueError("a public key is 40 characters of Z85 text")
    return key
