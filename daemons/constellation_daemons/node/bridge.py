"""The bridge that a node runs, as a process of its own, for as long as the node runs."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
from typing import Any

import msgspec

from constellation.address import Address
from constellation.control.stream import MessageStream
from constellation.security.keypair import Keypair
from constellation.session.loop import Loop
from constellation_daemons.bridge.setup import BridgeSetup
from constellation_daemons.messages import Attach

__all__ = ["BridgeProcess"]

logger = logging.getLogger(__name__)

_AGAIN = 1.0  # seconds after which one that has ended is started again


class BridgeProcess:
    """A bridge, started again whenever it ends.

    Args:
        loop: The node's.
        attach: What the master has said.
        listens: Where the node listens.
        keypair: The key of the cluster; None: connections are not secured.
        store: The directory of the node's store.
        store_limit: Its size in bytes.
        trees: The directory in which programs are laid out.
    """

    def __init__(
        self,
        loop: Loop,
        attach: Attach,
        listens: Address,
        keypair: Keypair | None,
        store: str,
        store_limit: int,
        trees: str,
    ) -> None:
        self._loop = loop
        bind = Address.parse(attach.bridge or "")
        # Where agents reach it: as others reach the node, unless it has an address for itself.
        shared = bind.is_wildcard or bind.host == listens.host
        host = attach.advertised if shared else bind.host
        self._setup = BridgeSetup(
            bind=str(bind),
            endpoint=Address(host, bind.port).endpoint,
            master=attach.master,
            timeout=attach.timeout,
            store=store,
            store_limit=store_limit,
            trees=trees,
            public=None if keypair is None else keypair.public,
            secret=None if keypair is None else keypair.secret,
        )
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._stream: MessageStream[Any] | None = None
        self._start()

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self._process is None

    @property
    def os_pid(self) -> int:
        """Its process id; 0: there is none."""
        return 0 if self._process is None else self._process.pid

    def kill(self) -> None:
        """End it, without its programs having a say."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End it, with all of its programs."""
        self._stopping = True
        if self._process is not None:
            self._process.terminate()

    def reap(self) -> None:
        """A child has ended."""
        if self._process is None or self._process.poll() is None:
            return
        code, self._process = self._process.returncode, None
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if not self._stopping:
            logger.error("the bridge has ended with %d; it is started again", code)
            self._loop.after(_AGAIN, self._start)

    def _start(self) -> None:
        if self._stopping:
            return
        ours, theirs = socket.socketpair()
        command = [
            sys.executable,
            "-m",
            "constellation_daemons.bridge.main",
            str(theirs.fileno()),
            str(logging.getLogger().getEffectiveLevel()),
        ]
        try:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd="/"
            )
        except OSError as error:
            logger.error("the bridge cannot be started: %s", error)
            ours.close()
            self._loop.after(_AGAIN, self._start)
            return
        finally:
            theirs.close()
        decoder = msgspec.msgpack.Decoder(Any)
        self._stream = MessageStream(ours, decoder)
        with contextlib.suppress(ConnectionError):
            self._stream.post(self._setup)
