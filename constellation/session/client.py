"""Asking a service: a REQ socket that is thrown away and made anew when nothing comes.

A REQ socket that got no answer can neither send nor receive any more. What is asked may be asked
twice: it changes nothing, or the same.

Who is not there, or not who was expected, is told as soon as that is certain: what libzmq tells of
its connection shows that something is wrong, and :mod:`constellation.session.diagnosis` what.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import zmq
from zmq.utils.monitor import parse_monitor_message

from constellation.control import cluster
from constellation.errors import ConstellationError
from constellation.plain import plain
from constellation.session.diagnosis import what_is_there
from constellation.transport.network import Security

__all__ = ["MasterError", "ask", "ask_one_of"]

_ATTEMPTS = 3
_PATIENCE = 2.0
_STARTS: Final = 2.0
_AGAIN: Final = 0.1
"""Seconds that a service has to listen, and after which it is looked whether it does."""
_HANDSHAKE: Final = 1.0
"""Seconds of a handshake after which it is asked what there is."""

_EVENTS: Final = int(
    zmq.EVENT_CONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class MasterError(ConstellationError):
    """The service has not answered, is another one, or says that it cannot be done.

    Attributes:
        text: What is wrong.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


class _WrongPlace(MasterError):
    """Who is expected is not at this address.

    Attributes:
        nobody: Nobody is.
    """

    def __init__(self, text: str, nobody: bool = False) -> None:
        super().__init__(text)
        self.nobody = nobody


def ask(
    endpoint: str,
    security: Security | None,
    request: cluster.Request,
    *,
    attempts: int = _ATTEMPTS,
    patience: float = _PATIENCE,
    role: str = "master",
) -> cluster.Reply:
    """Ask a service, and give its answer.

    Args:
        endpoint: Its, numeric, as ZeroMQ writes it.
        security: How connections are secured; None: they are not.
        request: What is asked.
        attempts: How often it is asked.
        patience: Seconds to wait for each answer.
        role: What it is, for errors.

    Raises:
        MasterError: There is no answer, or it is not that of such a service, or it says that it
            cannot be done.
    """
    place = endpoint.removeprefix("tcp://")
    connected = False
    context: zmq.Context[Any] = zmq.Context()
    try:
        for _ in range(attempts):
            attempt = _Attempt(context, endpoint, security, role)
            try:
                answer = attempt.ask(cluster.encode(request), patience)
            finally:
                attempt.close()
            if answer is not None:
                return _checked(answer, request, place)
            connected = connected or attempt.connected
    finally:
        context.term()
    # Who has another key, or is no service of a cluster, has been told of by now.
    why = "there is no connection. Is that machine up, or a firewall in between?"
    if connected:
        why = f"there is a connection, and nothing comes. Is the {role} stopped, or very busy?"
    raise MasterError(f"{place} has not answered within {attempts * patience:g} s: {why}")


def ask_one_of(
    endpoints: Sequence[str],
    security: Security | None,
    request: cluster.Request,
    *,
    role: str = "master",
) -> tuple[str, cluster.Reply]:
    """Ask the service that is at one of these. Gives where it is, and its answer.

    Where nobody listens yet it is tried again for a moment: it may have been started just now.

    Raises:
        MasterError: As `ask`; of the first of them, where it is at none.
    """
    end = time.monotonic() + _STARTS
    while True:
        wrong: list[_WrongPlace] = []
        for endpoint in endpoints:
            try:
                return endpoint, ask(endpoint, security, request, role=role)
            except _WrongPlace as error:
                wrong.append(error)
        if time.monotonic() >= end or not all(error.nobody for error in wrong):
            raise wrong[0]
        # Nothing tells when somebody has begun to listen.
        time.sleep(_AGAIN)


class _Attempt:
    """One socket, and what libzmq tells of it.

    Attributes:
        connected: Whether somebody has taken the connection.
    """

    def __init__(
        self, context: zmq.Context[Any], endpoint: str, security: Security | None, role: str
    ) -> None:
        self._endpoint = endpoint
        self._secured = security is not None
        self._role = role
        self._connected_at: float | None = None
        self._met = False  # the handshake is over
        self.connected = False
        self._socket = socket = context.socket(zmq.REQ)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, 1)
        if security is not None:
            security.secure_connection(socket)
        self._monitor = socket.get_monitor_socket(_EVENTS)
        socket.connect(endpoint)

    def ask(self, request: bytes, patience: float) -> bytes | None:
        """Ask, and wait for the answer.

        Raises:
            MasterError: There will be none.
        """
        self._socket.send(request)
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        end = time.monotonic() + patience
        while (now := time.monotonic()) < end:
            left = max(0.0, min(end, self._due) - now)
            ready = dict(poller.poll(round(left * 1000) + 1))
            if self._socket in ready:
                answer: bytes = self._socket.recv()
                return answer
            if self._monitor in ready:
                event = parse_monitor_message(self._monitor.recv_multipart())["event"]
                self._see(int(event))
            elif time.monotonic() >= self._due:
                self._connected_at = None  # it is asked once
                self._diagnose(ended=False)
        return None

    @property
    def _due(self) -> float:
        """When it is to be asked what there is."""
        waits = self._connected_at is not None and not self._met
        return (self._connected_at or 0.0) + _HANDSHAKE if waits else float("inf")

    def _see(self, event: int) -> None:
        if event == zmq.EVENT_CONNECTED:
            self._connected_at = time.monotonic()
            self.connected = True
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._met = True
        elif not self._met:
            # What could not be connected tells nothing of the key.
            self._diagnose(ended=event != zmq.EVENT_CLOSED)

    def _diagnose(self, *, ended: bool) -> None:
        found = what_is_there(self._endpoint, self._role, secured=self._secured, ended=ended)
        if found is not None:
            raise _WrongPlace(found.text, found.nobody)

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close()


def _checked(answer: bytes, request: cluster.Request, place: str) -> cluster.Reply:
    try:
        reply: cluster.Reply = cluster.reply_decoder.decode(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MasterError(
            f"the answer of {place} cannot be read: {error}; "
            f"install the same version of constellation there and here"
        ) from error
    if isinstance(reply, cluster.Wrong):
        raise MasterError(plain(reply.text))
    if isinstance(reply, cluster.Who) and not isinstance(request, cluster.AskWho):
        raise MasterError(_elsewhere(reply, place))
    return reply


def _elsewhere(who: cluster.Who, place: str) -> str:
    """Where the master is, when another service was asked in its place."""
    if who.master is None:
        return f"{place} is a {who.kind}, and no master; it does not know of one yet"
    return f"{place} is a {who.kind}, and no master; that is at {who.master}"
