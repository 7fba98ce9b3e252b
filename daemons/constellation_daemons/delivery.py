"""A program's files on their way to a service: into its store, and from there into a directory."""

from __future__ import annotations

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

__all__ = ["Delivery", "serve"]

_encode = msgspec.msgpack.Encoder().encode


class Delivery:
    """Brings what a store lacks of a program, and keeps all of it there until `close`.

    Args:
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
        store: Store,
        manifest: Manifest,
        send: Callable[[bytes], None],
        arrived: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._send = send
        self._arrived = arrived
        self._failed = failed
        self._fetching: Fetching | None = None
        self._pin = store.pin(manifest)

    def start(self) -> None:
        """Ask for what is missing. Where nothing is, everything is there before this returns."""
        fetching = self._fetching = Fetching(self._manifest, self._store)
        self._guarded(fetching, fetching.ask)

    def hear(self, data: bytes) -> None:
        """Take a message of where the files are."""
        fetching = self._fetching
        if fetching is not None:
            self._guarded(fetching, lambda: fetching.receive(decode_for_receiver(data)))

    def lay_out(self, parent: str) -> Tree | None:
        """Make a directory of the program; None: something was damaged, and is fetched again.

        Raises:
            StoreError: It cannot be written.
        """
        try:
            return lay_out(self._manifest, self._store, parent)
        except BlobsMissing:
            self.start()
            return None

    def close(self) -> None:
        """Keep nothing any more for the program."""
        self._stop()
        self._pin.release()

    def _guarded(self, fetching: Fetching, steps: Callable[[], Iterable[ToSender]]) -> None:
        try:
            for message in steps():
                self._send(_encode(message))
        except ShippingError as error:
            self._stop()
            self._failed(str(error))
            return
        if fetching.done:
            self._stop()
            self._arrived()

    def _stop(self) -> None:
        if self._fetching is not None:
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
