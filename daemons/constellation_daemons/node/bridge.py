"""The bridge that a node runs, as a process of its own, for as long as the node runs."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
from typing import Any

import msgspec

from constellation.address import Address
from constellation.control.stream import MessageStream
from constellation.security.keypair import Keypair
from constellation.session.loop import Loop
from constellation_daemons import logs
from constellation_daemons.bridge.setup import BridgeSetup, MoveLog, Rest
from constellation_daemons.children import start_part
from constellation_daemons.messages import Attach

__all__ = ["BridgeProcess", "changed"]

logger = logging.getLogger(__name__)

_AGAIN = 1.0  # seconds after which one that has ended is started again


class BridgeProcess:
    """A bridge, started again whenever it ends.

    Args:
        loop: The node's.
        listens: Where the node does.
        attach: What the master has said.
        keypair: The key of the cluster; None: connections are not secured.
        store: The directory of the node's store.
        store_limit: Its size in bytes.
        trees: The directory in which programs are laid out.

    Attributes:
        left: Whether it has ended since nobody used it, and there was no master.
    """

    def __init__(
        self,
        loop: Loop,
        listens: Address,
        attach: Attach,
        keypair: Keypair | None,
        store: str,
        store_limit: int,
        trees: str,
    ) -> None:
        self._loop = loop
        self._attach = attach
        bind = Address.parse(attach.bridge or "")
        # One that listens where its node does is reached as that is; another one, where it listens.
        elsewhere = not bind.is_wildcard and bind.host != listens.host
        reached = bind if elsewhere else Address(attach.advertised, bind.port)
        self._setup = BridgeSetup(
            bind=str(bind),
            endpoint=reached.endpoint,
            master=attach.master,
            timeout=attach.timeout,
            store=store,
            store_limit=store_limit,
            trees=trees,
            public=None if keypair is None else keypair.public,
            secret=None if keypair is None else keypair.secret,
        )
        self._stopping = False
        self._resting = False
        self._rested = False  # since it was started
        self.left = False
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

    def compare(self, attach: Attach) -> None:
        """A master has said something since: tell where the bridge is not as it should be now."""
        changes = changed(self._attach, attach)
        if changes:
            logger.warning(
                "the bridge goes on as it was when this node was started: restart the node to "
                "have %s",
                ", ".join(changes),
            )

    def rest(self, wanted: bool) -> None:
        """Have it end as soon as nobody uses it, or stay."""
        if wanted != self._resting:
            self._resting = wanted
            self._rested = self._rested or wanted
            self._post(Rest(wanted))

    def move_log(self) -> None:
        """Have it log where this process does now."""
        level = logging.getLogger().getEffectiveLevel()
        try:
            log = logs.descriptor()
        except OSError as error:  # strangers may have taken all descriptors
            logger.warning("the bridge logs where it did before: %s", error.strerror)
        else:
            self._post(MoveLog(level, logs.current_format().value), log)

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
        if self._stopping:
            return
        if code == 0 and self._resting:
            self.left = True
        elif code == 0 and self._rested:
            self._start()  # it had not heard yet that it is wanted again
        else:
            logger.error("the bridge has ended with %d; it is started again", code)
            self._loop.after(_AGAIN, self._start)

    def _start(self) -> None:
        if self._stopping:
            return
        ours, theirs = socket.socketpair()
        level = str(logging.getLogger().getEffectiveLevel())
        try:
            self._process = start_part(
                "constellation_daemons.bridge.main",
                theirs.fileno(),
                level,
                logs.current_format().value,
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
        self._rested = self._resting
        self._post(self._setup)
        if self._resting:
            self._post(Rest(wanted=True))

    def _post(self, message: BridgeSetup | Rest | MoveLog, *descriptors: int) -> None:
        if self._stream is None:
            for each in descriptors:
                os.close(each)
            return
        with contextlib.suppress(ConnectionError):  # which is about to be seen
            self._stream.post(message, descriptors)


def changed(then: Attach, now: Attach) -> list[str]:
    """What a bridge would be told in another way now, for people."""
    bind = "no bridge" if now.bridge is None else f"bridge_bind = {now.bridge}"
    texts = {
        bind: then.bridge != now.bridge,
        f"the master {now.master}": then.master != now.master,
        f"the address {now.advertised}": then.advertised != now.advertised,
        f"a timeout of {now.timeout:g} s": then.timeout != now.timeout,
    }
    return [text for text, differs in texts.items() if differs]
