"""A program's image on a node: the zygote of its processes there."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from constellation.control.messages import Born, Deploy, FromNewborn, Site
from constellation.process.directory import RuntimeDirectory
from constellation.session.loop import Loop
from constellation_daemons.start import Failure, Program, Start

__all__ = ["LIMIT", "Image"]

LIMIT = 120.0
"""Seconds that a program may take to reach `init()`."""


class Image:
    """The start of an image.

    Args:
        loop: The agent's.
        program: What is run.
        keys: The public and the secret key of its processes; None: connections are not secured.
        directory: The program's runtime directory.
        ready: Called with the connection to the zygote, when it has reached `init()`, and whether
            processes start fresh.
        failed: Called in place of that.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(
        self,
        loop: Loop,
        program: Program,
        keys: tuple[bytes, bytes] | None,
        directory: RuntimeDirectory,
        ready: Callable[[socket.socket, bool], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self._ready = ready
        self._failed = failed
        self._connection, theirs = socket.socketpair()
        public, secret = (None, None) if keys is None else keys
        message = Deploy(
            nonce=b"",
            connection=theirs.fileno(),
            lock=directory.fileno(),
            agent=os.getpid(),
            site=Site(directory.path, program.directory, public, secret),
        )
        try:
            self._start = Start(
                loop,
                program,
                message,
                inherited=[theirs.fileno(), directory.fileno()],
                limit=LIMIT,
                told=self._reached,
                failed=self._lost,
            )
        except OSError:
            self._connection.close()
            raise
        finally:
            theirs.close()

    @property
    def os_pid(self) -> int:
        """Its process id."""
        return self._start.os_pid

    def cancel(self) -> None:
        """It is not wanted any more. When it was ready this does nothing."""
        self._start.cancel()

    def _reached(self, message: FromNewborn) -> None:
        self._ready(self._connection, isinstance(message, Born) and message.fresh)

    def _lost(self, failure: Failure) -> None:
        self._connection.close()
        self._failed(failure)
