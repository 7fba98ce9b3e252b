"""Asking a master: a REQ socket that is thrown away and made anew when nothing comes.

A REQ socket that got no answer can neither send nor receive any more. What is asked may be asked
twice: it changes nothing, or the same.
"""

from __future__ import annotations

from typing import Any

import msgspec
import zmq

from constellation.control import cluster
from constellation.errors import ConstellationError
from constellation.transport.network import Security

__all__ = ["MasterError", "ask"]

_ATTEMPTS = 3
_PATIENCE = 2.0


class MasterError(ConstellationError):
    """The master has not answered, or says that it cannot be done.

    Attributes:
        text: What is wrong.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


def ask(
    endpoint: str,
    security: Security | None,
    request: cluster.Request,
    *,
    attempts: int = _ATTEMPTS,
    patience: float = _PATIENCE,
) -> cluster.Status | cluster.NodeAnswer | cluster.Done:
    """Ask a master or a node, and give its answer.

    Args:
        endpoint: Its, as ZeroMQ writes it.
        security: How connections are secured; None: they are not.
        request: What is asked.
        attempts: How often it is asked.
        patience: Seconds to wait for each answer.

    Raises:
        MasterError: There is no answer, or the master says that it cannot be done.
    """
    context: zmq.Context[Any] = zmq.Context()
    try:
        for _ in range(attempts):
            answer = _attempt(context, endpoint, security, cluster.encode(request), patience)
            if answer is not None:
                return _checked(answer)
    finally:
        context.term()
    raise MasterError(
        f"{endpoint.removeprefix('tcp://')} has not answered within {attempts * patience:g} s: "
        f"is there a master, and is its key the same as here?"
    )


def _attempt(
    context: zmq.Context[Any],
    endpoint: str,
    security: Security | None,
    request: bytes,
    patience: float,
) -> bytes | None:
    socket = context.socket(zmq.REQ)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IPV6, 1)
        if security is not None:
            security.secure_connection(socket)
        socket.connect(endpoint)
        socket.send(request)
        if not socket.poll(round(patience * 1000)):
            return None
        answer: bytes = socket.recv()
        return answer
    finally:
        socket.close()


def _checked(answer: bytes) -> cluster.Status | cluster.NodeAnswer | cluster.Done:
    try:
        reply: cluster.Reply = cluster.reply_decoder.decode(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MasterError(
            f"the master's answer cannot be read: {error}; "
            f"install the same version of constellation there and here"
        ) from error
    if isinstance(reply, cluster.Wrong):
        raise MasterError(reply.text)
    return reply
