"""CURVE on all connections over TCP of one socket, with one keypair for all who may talk."""

from __future__ import annotations

from typing import Any

import zmq

from constellation.security.keypair import Keypair
from constellation.transport.security import plain, secure_client, secure_server
from constellation.transport.zap import Zap

__all__ = ["Curve"]


class Curve:
    """The security of those who share a keypair: both ends have to have it.

    For one context: its gate is made once.

    Args:
        keypair: Theirs.
    """

    def __init__(self, keypair: Keypair) -> None:
        self._keypair = keypair
        self._zap: Zap | None = None

    def gate(self, context: zmq.Context[Any]) -> Zap:
        """Admit from now on only those that have the keypair."""
        zap = self._zap = Zap(context)
        zap.admit(self._keypair.public)
        return zap

    def secure_listener(self, socket: zmq.Socket[Any], place: str) -> None:
        """Have what is bound next, at this place, talk only to who has the keypair."""
        assert self._zap is not None, "without a gate everybody would be admitted"
        self._zap.name(socket, place)
        secure_server(socket, self._keypair, self._zap)

    def secure_connection(self, socket: zmq.Socket[Any]) -> None:
        """Have what is connected next talk only to who has the keypair."""
        secure_client(socket, self._keypair.public, self._keypair)

    def leave_plain(self, socket: zmq.Socket[Any]) -> None:
        """Have what is bound or connected next go without."""
        plain(socket)
