"""A program's files on their way to a service: into its store, and from there into a directory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import msgspec

from constellation.program.errors import BlobsMissing, ShippingError
from constellation.program.exchange import Fetching, Serving
from constellation.program.manifest import Manifest
from constellation.program.store import Store
from constellation.program.transfer import (
    ToSender,
    decode_for_receiver,
    decode_for_sender,
)
from constellation.program.tree import Tree, lay_out
from constellation.session.loop import Loop
from constellation_daemons.aside import Aside

__all__ = ["Delivery", "remove", "serve"]

logger = logging.getLogger(__name__)

_DAMAGES_MOST = 10
"""How often something may turn out to be damaged: each time there may be more of it, on some disks
for ever."""

_encode = msgspec.msgpack.Encoder().encode


class Delivery:
    """Brings what a store lacks of a program, and keeps all of it there until `close`.

    Args:
        loop: The service's.
        store: The store.
        manifest: The program.
        send: Sends a message to where the files are.
        arrived: Called when everything is there.
        failed: Called in place of that, with the reason.

    Raises:
        StoreError: The store cannot take the program.
    """

    def __init__(
        self,
        loop: Loop,
        store: Store,
        manifest: Manifest,
        send: Callable[[bytes], None],
        arrived: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._store = store
        self._manifest = manifest
        self._send = send
        self._arrived = arrived
        self._failed = failed
        self._fetching: Fetching | None = None
        self._requests = 0  # that the other end has had
        self._damages = 0
        self._laying_out = self._closed = False
        self._pin = store.pin(manifest)

    def start(self) -> None:
        """Ask for what is missing. Where nothing is, everything is there before this returns."""
        try:
            fetching = Fetching(self._manifest, self._store, after=self._requests)
        except ShippingError as error:
            self._failed(str(error))
            return
        self._fetching = fetching
        self._guarded(fetching, fetching.ask)

    def hear(self, data: bytes) -> None:
        """Take a message of where the files are."""
        fetching = self._fetching
        if fetching is not None:
            self._guarded(fetching, lambda: fetching.receive(decode_for_receiver(data)))

    def lay_out(self, parent: str, ready: Callable[[Tree], None]) -> None:
        """Make a directory of the program.

        If something turns out to be damaged it is fetched again, and told as `arrived` once more.

        Args:
            parent: The directory that it is made in.
            ready: Called with it, later.
        """

        def done(tree: Tree) -> None:
            if self._closed:
                remove(self._loop, tree, removed)
            else:
                self._laying_out = False
                ready(tree)

        def removed() -> None:
            self._laying_out = False
            self._pin.release()

        def failed(error: Exception) -> None:
            self._laying_out = False
            if self._closed:
                self._pin.release()
            elif isinstance(error, BlobsMissing) and self._damages < _DAMAGES_MOST:
                self._damages += 1
                self.start()
            elif isinstance(error, ShippingError):
                self._failed(str(error))
            else:
                logger.error("a program cannot be laid out", exc_info=error)
                self._failed(f"the program cannot be laid out: {error}")

        self._laying_out = True
        Aside(self._loop, lambda: lay_out(self._manifest, self._store, parent), done, failed)

    @property
    def busy(self) -> bool:
        """Whether a directory is being made, though nobody may want it any more."""
        return self._laying_out

    def close(self) -> None:
        """Keep nothing any more for the program. Again it does nothing."""
        if not self._closed:
            self._closed = True
            self._stop()
            if not self._laying_out:
                self._pin.release()

    def _guarded(self, fetching: Fetching, steps: Callable[[], Iterable[ToSender]]) -> None:
        try:
            for message in steps():
                self._send(_encode(message))
        except ShippingError as error:
            self._stop()
            self._failed(str(error))
            return
        if fetching.done and self._fetching is fetching:
            self._stop()
            self._arrived()

    def _stop(self) -> None:
        if self._fetching is not None:
            self._requests = self._fetching.requests
            self._fetching.close()
            self._fetching = None


def serve(serving: Serving, data: bytes, send: Callable[[bytes], None]) -> None:
    """Answer a message of who lacks files.

    Raises:
        TransferError: It may not be sent.
    """
    serving.receive(decode_for_sender(data))
    while (message := serving.next()) is not None:
        send(_encode(message))


def remove(loop: Loop, tree: Tree, done: Callable[[], None]) -> None:
    """Remove a directory of a program, which may be large: aside.

    Args:
        loop: The service's.
        tree: The directory. What of it cannot be removed is logged, and stays.
        done: Called when that is over.
    """

    def failed(error: Exception) -> None:
        known = isinstance(error, ShippingError)
        logger.warning(
            "what a program has left stays: %s", error, exc_info=None if known else error
        )
        done()

    Aside(loop, tree.remove, lambda _: done(), failed)
