"""Both ends of a transfer with what they need: a store to write to, and something to read from.

The rules are those of :mod:`~constellation.program.transfer`. What goes between the ends is for the
owner to carry: each end takes the other's messages, and gives what is to be sent. The receiving one
is asked again (:meth:`Fetching.ask`) after a cut, or when nothing has come for some time.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from constellation.program.errors import BlobError, ShippingError
from constellation.program.manifest import File, Manifest
from constellation.program.receiving import BlobReceiver, Complete, Step, Write
from constellation.program.sending import BlobSender
from constellation.program.store import Store
from constellation.program.transfer import (
    Chunk,
    Done,
    Failed,
    Progress,
    Room,
    ToReceiver,
    ToSender,
    Want,
)
from constellation.program.writer import Writer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Fetching", "Serving", "Source"]


class Source(Protocol):
    """Where blobs are read: a :class:`~constellation.program.pack.Package`, or a store."""

    def read(self, file: File, offset: int, size: int) -> bytes:
        """Read from the content of a file: fewer bytes where there are no more.

        Raises:
            ShippingError: It cannot be read.
        """
        ...


class Serving:
    """The end that sends.

    Args:
        manifest: The program.
        source: Where its blobs are.
    """

    def __init__(self, manifest: Manifest, source: Source) -> None:
        self._sender = BlobSender(manifest)
        self._source = source

    @property
    def done(self) -> bool:
        """Whether the other end has everything."""
        return self._sender.done

    @property
    def progress(self) -> Progress:
        """What was sent of what was asked for."""
        return self._sender.progress

    def receive(self, message: ToSender) -> None:
        """Take a message of the other end.

        Raises:
            TransferError: It may not be.
        """
        self._sender.receive(message)

    def next(self) -> Chunk | Failed | None:
        """What is to be sent now, which is read first; None: nothing until something comes."""
        read = self._sender.next()
        if read is None:
            return None
        try:
            data = self._source.read(read.file, read.offset, read.size)
        except ShippingError as error:
            return self._sender.failed(str(error))
        return self._sender.loaded(read, data)


class Fetching:
    """The end that receives into a store, where the program is pinned.

    In a ``with``, what is there of a blob that is not complete is removed at the end.

    Args:
        manifest: The program.
        store: Where what is missing of it goes.
        after: The number of the last request to the same sender, if there was one before this.
    """

    def __init__(self, manifest: Manifest, store: Store, *, after: int = 0) -> None:
        self._store = store
        self._receiver = BlobReceiver(store.missing(manifest), after=after)
        self._writer: Writer | None = None  # of the blob that is coming

    @property
    def done(self) -> bool:
        """Whether nothing is missing any more."""
        return self._receiver.done

    @property
    def requests(self) -> int:
        """The number of the last request."""
        return self._receiver.requests

    @property
    def progress(self) -> Progress:
        """What has come of what was missing."""
        return self._receiver.progress

    def ask(self) -> list[ToSender]:
        """Begin, or begin again. Gives what is to be sent.

        Raises:
            StoreError: The store cannot be written.
        """
        return self._take(self._receiver.ask())

    def receive(self, message: ToReceiver) -> list[ToSender]:
        """Take a message of the other end. Gives what is to be sent.

        Raises:
            TransferError: It may not be, or the other end cannot go on.
            StoreError: The store cannot be written, as where the disk is full.
        """
        return self._take(self._receiver.receive(message))

    def _take(self, steps: list[Step]) -> list[ToSender]:
        send: list[ToSender] = []
        ahead = deque(steps)
        while ahead:
            step = ahead.popleft()
            match step:
                case Write(file, data):
                    self._writing(file).write(data)
                case Complete(file):
                    ahead += self._complete(file)
                case Want() | Room() | Done():
                    send.append(step)
        return send

    def _writing(self, file: File) -> Writer:
        if self._writer is None:
            self._writer = self._store.write(file)
        return self._writer

    def _complete(self, file: File) -> list[Step]:
        # Blobs come one after the other, and those without content before the others.
        writer = self._writing(file) if file.size else self._store.write(file)
        if file.size:
            self._writer = None
        try:
            writer.commit()
        except BlobError:
            return self._receiver.spoiled(file)
        return self._receiver.kept(file)

    def close(self) -> None:
        """Keep nothing of a blob that is not complete."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
