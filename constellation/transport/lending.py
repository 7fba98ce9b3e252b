"""Large parts of messages that libzmq reads where they are, in place of a copy of its own.

libzmq takes memory that it need not copy, and says when it has done with it only by calling a
function of C, from a thread of its own. That of pyzmq tells a thread of Python, which takes about
as long as the copy that is saved. So a large part is sent as constant here, and what tells of it is
the small one that ends its message: that is in memory of ours, and libzmq calls a function of its
own with it, `zmq_atomic_counter_inc`, which changes what is there.

A connection takes the parts of a message in their order. Where it encrypts, it has read the whole
of one before it takes the next; where a route ends, the parts go unread. So nothing of a message is
read any more when its last part was let go. Without encryption libzmq writes a large part to the
system from where it is, little by little, and this does not hold: parts are lent only to peers that
are reached through encryption and no other way.

A signal handler may raise between any two steps. A message whose last part is missing then is ended
by whoever sends next, as each message is that was interrupted, and that part goes with it.
"""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Sequence
from errno import EINTR
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from constellation.transport.router import LENT_FROM

if TYPE_CHECKING:
    from constellation.wire.frames import Buffer

__all__ = ["Lender"]

_MOST = 1024
"""Bytes of a last part, which is copied."""

_SWEEP_FROM = 16
"""Loans from which all routes are looked at, and again with twice as many as were left."""

_SNDMORE = int(zmq.SNDMORE)

_Message = ctypes.c_ubyte * 64  # zmq_msg_t
_Memory = ctypes.c_char * _MOST
_MARK = 4  # bytes of a counter


class _Loan(msgspec.Struct, eq=False):
    """What libzmq may be reading, and the part behind it.

    Attributes:
        route: Where it goes.
        parts: What was lent, among others.
        last: The last part, as libzmq knows it: there is nothing in it after it was sent.
        memory: The memory of that.
        mark: What is at the beginning of it until it is let go.
    """

    route: bytes
    parts: Sequence[Buffer]
    last: Any
    memory: Any
    mark: bytes


class Lender:
    """Lends to one socket. Whoever may use that calls this.

    Args:
        socket: The socket.

    Raises:
        OSError: The libzmq of pyzmq cannot be called without that.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket.underlying
        library = _library()
        self._constant = library.zmq_send_const
        self._message = library.zmq_msg_send
        self._make = library.zmq_msg_init_data
        self._close = library.zmq_msg_close
        self._count = library.zmq_atomic_counter_inc
        self._loans: dict[bytes, deque[_Loan]] = {}  # by routes, which keep their order
        self._number = 0  # of loans, at most
        self._sweep_at = _SWEEP_FROM
        self._open: _Loan | None = None  # of it the last part may not have been sent
        # Never dropped, not even as the interpreter ends, when libzmq may still be reading.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._loans))

    def send(
        self, route: bytes, parts: Sequence[Buffer], copy: Callable[[Buffer, int], object]
    ) -> bool:
        """Send the parts of a message of which the route was sent, if it can be told of them.

        Args:
            route: The route.
            parts: The parts.
            copy: Sends a part as a copy of it.
        """
        *first, last = parts
        if not 0 < len(last) <= _MOST:
            return False
        memory = _Memory()
        content = bytes(last)
        memory.raw = content
        loan = _Loan(route, first, _Message(), memory, content[:_MARK].ljust(_MARK, b"\0"))
        self._make(loan.last, memory, len(last), self._count, None)
        self._open = loan
        self._record(loan)
        socket, constant = self._socket, self._constant
        for part in first:
            if type(part) is not bytes or len(part) < LENT_FROM:
                copy(part, _SNDMORE)
            elif constant(socket, part, len(part), _SNDMORE) < 0:
                _repeat(constant, socket, part, len(part), _SNDMORE)
        if self._message(loan.last, socket, 0) < 0:
            _repeat(self._message, loan.last, socket, 0)
        self._open = None
        return True

    def finish(self) -> None:
        """Send the last part of a message that was interrupted, if it is missing; more follows."""
        loan = self._open
        if loan is not None:
            self._record(loan)
            self._message(loan.last, self._socket, _SNDMORE)

    def finished(self) -> None:
        """The message that was interrupted has ended, or nothing of it was sent."""
        if self._open is not None:
            self._close(self._open.last)  # lets it go, if it was not sent
            self._open = None

    def reclaim(self, route: bytes) -> None:
        """Let go of what libzmq has done with on a route."""
        loans = self._loans.get(route)
        if loans is None:
            return
        while loans and loans[0].memory[:_MARK] != loans[0].mark:
            loans.popleft()
        if not loans:
            self._loans.pop(route, None)

    def sweep(self) -> None:
        """Let go of what libzmq has done with on all routes."""
        for route in list(self._loans):
            self.reclaim(route)
        self._number = sum(map(len, self._loans.values()))
        self._sweep_at = max(_SWEEP_FROM, 2 * self._number)

    def _record(self, loan: _Loan) -> None:
        """Keep what is about to be lent, if it is not kept already."""
        loans = self._loans.get(loan.route)
        if loans is None:
            loans = self._loans[loan.route] = deque()
        elif loans and loans[-1] is loan:
            return
        loans.append(loan)
        self._number += 1
        if self._number > self._sweep_at:
            self.sweep()


def _repeat(function: Any, *arguments: object) -> None:
    """Call a function again that was interrupted by a signal.

    Raises:
        ZMQError: It failed for another reason.
    """
    while (number := ctypes.get_errno()) == EINTR:
        if function(*arguments) >= 0:
            return
    raise zmq.ZMQError(number)


@lru_cache(maxsize=1)
def _library() -> Any:
    """The libzmq that pyzmq calls.

    Raises:
        OSError: It is not found, or not as it should be.
    """
    from zmq.backend.cython import _zmq

    # Its names are found through what needs it, wherever it is.
    library = ctypes.CDLL(_zmq.__file__, use_errno=True)
    address, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    try:
        library.zmq_send_const.argtypes = [address, ctypes.c_char_p, size, number]
        library.zmq_msg_init_data.argtypes = [address, address, size, address, address]
        library.zmq_msg_send.argtypes = [address, address, number]
        library.zmq_msg_close.argtypes = [address]
        library.zmq_atomic_counter_inc.argtypes = [address]
    except AttributeError as error:
        raise OSError(f"no libzmq is found: {error}") from None
    counter = ctypes.create_string_buffer(64)
    library.zmq_atomic_counter_inc(counter)
    if counter.raw[:_MARK] == bytes(_MARK) or any(counter.raw[_MARK:]):
        raise OSError("the counters of this libzmq are larger than they should be")
    return library
