"""The events of a cluster, for as long as they are wanted, across restarts of its master."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from typing import Any, Final

import msgspec
import zmq
from zmq.utils.monitor import parse_monitor_message

from constellation.address import Address
from constellation.cli.lookup import endpoints_of
from constellation.control.cluster import AskStatus, Status
from constellation.session.client import MasterError, ask_one_of
from constellation.transport.network import Security

__all__ = ["events_of"]

logger = logging.getLogger(__name__)

_AGAIN: Final = 1.0
_CONNECT: Final = 10.0
"""Seconds that there may be no connection, when the master has just said where."""
_EVENTS: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED)
_OPTIONS: Final = {
    zmq.LINGER: 0,
    zmq.IPV6: 1,
    zmq.RCVHWM: 0,
    # A master whose machine is gone says nothing any more, and closes no connection.
    zmq.HEARTBEAT_IVL: 2_000,
    zmq.HEARTBEAT_TIMEOUT: 6_000,
}


def events_of(address: Address, security: Security | None) -> Iterator[dict[str, Any]]:
    """Give the events, as they come, without end.

    What happened to the events themselves is among them: ``feed.lost``, ``feed.resumed``, and
    ``feed.missed`` where some were lost on the way.

    Raises:
        MasterError: There is no master now, or its events cannot be reached.
        UnknownHost: The host name stands for nothing.
    """
    endpoint, status = _status(address, security)
    context: zmq.Context[Any] = zmq.Context()
    try:
        first = True
        while True:
            reached = yield from _one_feed(context, endpoint, status, security)
            if first and not reached:
                raise MasterError(_unreached(endpoint, status.events))
            first = False
            if not reached:
                # Nothing tells when its port is open: a master that is there is asked again.
                time.sleep(_AGAIN)
            yield {"event": "feed.lost", "text": "the master is gone; it is waited for"}
            endpoint, status = _wait_for_master(address, security)
            text = "the master is there again; what was in between is not shown"
            yield {"sequence": status.sequence, "event": "feed.resumed", "text": text}
    finally:
        context.term()


def _unreached(endpoint: str, port: int) -> str:
    place = endpoint.removeprefix("tcp://")
    return (
        f"the events of {place} are published at its port {port}, and there is no connection to "
        "that: open it, which is another one at each start of the master but for --events-port, or "
        "run this on the master's machine"
    )


def _status(address: Address, security: Security | None) -> tuple[str, Status]:
    endpoint, status = ask_one_of(endpoints_of(address), security, AskStatus())
    assert isinstance(status, Status)
    return endpoint, status


def _wait_for_master(address: Address, security: Security | None) -> tuple[str, Status]:
    while True:
        try:
            return _status(address, security)
        except MasterError as error:
            logger.info("%s", error)
            # Nothing tells when a master has come: who refuses now is asked again.
            time.sleep(_AGAIN)


def _one_feed(
    context: zmq.Context[Any], endpoint: str, status: Status, security: Security | None
) -> Generator[dict[str, Any], None, bool]:
    """The events of one connection, to its end. Gives whether there was one."""
    master = Address.parse(endpoint.removeprefix("tcp://"))
    socket = context.socket(zmq.SUB)
    for option, value in _OPTIONS.items():
        socket.setsockopt(option, value)
    socket.subscribe(b"")
    if security is not None:
        security.secure_connection(socket)
    monitor = socket.get_monitor_socket(_EVENTS)
    try:
        socket.connect(master.with_port(status.events).endpoint)
        last = status.sequence
        poller = zmq.Poller()
        poller.register(socket, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        reached = False
        end = time.monotonic() + _CONNECT
        while True:
            left = None if reached else max(0.0, end - time.monotonic())
            ready = dict(poller.poll(None if left is None else round(left * 1000) + 1))
            if not ready:
                return False
            if socket in ready:
                event = msgspec.json.decode(socket.recv_multipart()[1])
                if event["sequence"] > last + 1:
                    missed = f"{event['sequence'] - last - 1} events are not shown"
                    yield {"event": "feed.missed", "text": missed}
                # What is in the status already may come once more.
                if event["sequence"] > last:
                    last = event["sequence"]
                    yield event
            elif parse_monitor_message(monitor.recv_multipart())["event"] not in _GOOD:
                return reached
            else:
                reached = True
                logger.info("subscribed to the events of %s at port %d", master, status.events)
    finally:
        socket.disable_monitor()
        monitor.close(0)
        socket.close()


_GOOD: Final = {zmq.EVENT_HANDSHAKE_SUCCEEDED}
