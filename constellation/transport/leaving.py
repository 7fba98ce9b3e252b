"""How a process leaves: when everything that it sent has been received, or nobody is left to.

The order: no more is begun (handles are closed, batches go), receipts are asked for, and every peer
is waited for that has something to receive and is not gone. Meanwhile this process goes on to
acknowledge and to answer, so two that leave at once let each other go. Then BYE, and the sockets
are closed with a deadline of their own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from constellation.deadline import Deadline
from constellation.operation import Operation, Waiter, Waits

if TYPE_CHECKING:
    from constellation.transport.transport import Transport

__all__ = ["leave"]


class _Delivery(Operation[None]):
    """Done when all peers have received everything, or are gone."""

    __slots__ = ("_transport", "_waiter")

    def __init__(self, transport: Transport) -> None:
        self._started = True
        self._transport = transport
        self._waiter: Waiter | None = None

    def _describe(self) -> str:
        return "leaving"

    def _waits(self) -> Waits:
        return self._transport.reactor

    def _attempt(self) -> bool:
        with self._transport.lock:
            # Who cannot be connected to stays so: nobody is left to give descriptors back.
            peers = self._transport.peers.values()
            return all(peer.settled or peer.cut_off is not None for peer in peers)

    def _enlist(self, waiter: Waiter) -> bool:
        self._transport.on_settled = waiter.notify
        return True

    def _delist(self, waiter: Waiter) -> None:
        self._transport.on_settled = None


def leave(transport: Transport, linger: float | None) -> list[str]:
    """Deliver everything, and close the transport.

    Args:
        transport: This process's.
        linger: The most seconds to wait; None: until it is delivered or its reader is gone.

    Returns:
        For each peer that did not receive everything, a line about that, and for each of which
        something was overlooked here.
    """
    if os.getpid() != transport.os_pid:
        return []  # a fork of the process, which has no transport
    with transport.lock:
        transport.leaving = True
        transport.run_deferred()
        for peer in list(transport.peers.values()):
            for outlet in list(peer.outlets.values()):
                outlet.shut()
            peer.link.request_receipt()
            transport.transmit(peer)
    try:
        transport.reactor.wait_blocking(_Delivery(transport), Deadline.after(linger))
    finally:
        with transport.lock:
            lost = list(transport.undelivered)
            for peer in transport.peers.values():
                overlooked = "" if transport.failed else peer.overlooked
                lost += filter(None, (peer.undelivered, overlooked))
            transport.send_byes()
        transport.close()
    return lost
