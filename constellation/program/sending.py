"""The end of a transfer where the blobs are: what to read, and what to send. Pure.

The rules are those of :mod:`~constellation.program.transfer`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from constellation.program.errors import TransferError
from constellation.program.manifest import File, Manifest, shown
from constellation.program.transfer import (
    CHUNK,
    WINDOW,
    Chunk,
    Done,
    Failed,
    Progress,
    Room,
    ToSender,
    Want,
)

__all__ = ["BlobSender", "Read"]


@dataclass(frozen=True, slots=True)
class Read:
    """The sender's owner is to read this, and give it to :meth:`BlobSender.loaded`."""

    file: File
    offset: int
    size: int


class BlobSender:
    """The end where the blobs are. It serves one receiver.

    Args:
        manifest: The program that they belong to.
        window: How far it may be ahead, which both have to agree on.
        chunk: Bytes of the largest chunk: half of the window at most, or both could wait for ever.
    """

    def __init__(self, manifest: Manifest, *, window: int = WINDOW, chunk: int = CHUNK) -> None:
        assert chunk <= window // 2
        self._blobs = manifest.blobs
        self._window = window
        self._chunk = chunk
        self._transfer = 0
        self._wanted: list[File] = []  # what has yet to be sent, the first one partly
        self._offset = 0  # bytes of the first one that were sent or skipped
        self._position = 0  # the same in the row
        self._received = 0  # of the row, as the receiver says
        self._reading: Read | None = None
        self._hash = _Hash()
        self._total: int | None = None
        self._done = False
        self._failed = False

    @property
    def done(self) -> bool:
        """Whether the receiver has everything."""
        return self._done

    @property
    def progress(self) -> Progress:
        """What was sent of all that was first asked for; nothing is known before that."""
        total = self._total or 0
        left = 0 if self._done else sum(file.size for file in self._wanted) - self._offset
        return Progress(max(total - left, 0), total)

    def receive(self, message: ToSender) -> None:
        """Take what the receiver has sent.

        Raises:
            TransferError: It may not be. Nothing has changed.
        """
        if message.transfer < self._transfer:
            return
        if type(message) is Want:
            if message.transfer > self._transfer:
                self._begin(message)
        elif type(message) is Done:
            self._done = True
            self._wanted, self._offset, self._reading = [], 0, None
        elif type(message) is Room:
            if message.transfer > self._transfer or message.received > self._position:
                raise TransferError(
                    f"the receiver has received {message.received} bytes of request "
                    f"{message.transfer}; {self._position} of {self._transfer} were sent"
                )
            self._received = max(self._received, message.received)

    def _begin(self, want: Want) -> None:
        unknown = [sha256 for sha256 in want.blobs if sha256 not in self._blobs]
        if unknown:
            raise TransferError(f"the receiver wants {unknown[0].hex()[:12]}, not of this program")
        if len(set(want.blobs)) != len(want.blobs):
            raise TransferError("the receiver wants the same content twice")
        wanted = [self._blobs[sha256] for sha256 in want.blobs]
        if want.skip and (not wanted or want.skip >= wanted[0].size):
            raise TransferError(f"the receiver has {want.skip} bytes of what has no more than that")
        self._wanted = wanted
        self._transfer = want.transfer
        self._offset = self._position = self._received = want.skip
        self._reading = None
        self._failed = False
        if self._total is None:
            self._total = sum(file.size for file in self._wanted) - want.skip
        self._skip_empty()

    def next(self) -> Read | None:
        """What is to be read and sent now; None: nothing, until something is received."""
        if self._reading is None and self._wanted and not self._failed:
            file = self._wanted[0]
            size = min(self._chunk, file.size - self._offset)
            if self._position + size - self._received <= self._window:
                self._reading = Read(file, self._offset, size)
        return self._reading

    def loaded(self, read: Read, data: bytes) -> Chunk | Failed | None:
        """What was to be read.

        Args:
            read: What :meth:`next` said.
            data: What there was: fewer bytes if the file has become shorter.

        Returns:
            What is to be sent; None: the receiver has asked for something else in the meantime.
        """
        if read is not self._reading:
            return None
        if len(data) != read.size or not self._hash.agrees(read, data):
            return self.failed(
                f"{shown(read.file.path)} has changed since it was looked at; deploy it again"
            )
        chunk = Chunk(self._transfer, self._position, data)
        self._reading = None
        self._position += len(data)
        self._offset += len(data)
        if self._offset == read.file.size:
            del self._wanted[0]
            self._offset = 0
            self._skip_empty()
        return chunk

    def failed(self, reason: str) -> Failed:
        """It cannot go on. Gives what is to be sent, which says why.

        If the receiver asks again, since that was lost, it is tried again.
        """
        self._failed = True
        self._reading = None
        return Failed(self._transfer, reason)

    def _skip_empty(self) -> None:
        while self._wanted and not self._wanted[0].size:
            del self._wanted[0]


class _Hash:
    """The digest of what is sent, as far as it was sent from the beginning and in order."""

    def __init__(self) -> None:
        self._file: File | None = None
        self._sha256 = hashlib.sha256()
        self._size = 0

    def agrees(self, read: Read, data: bytes) -> bool:
        """Add what was read. False if that is the end, and the whole is not what it should be."""
        if read.offset == 0:
            self._file, self._sha256, self._size = read.file, hashlib.sha256(), 0
        if self._file is not read.file or self._size != read.offset:
            self._file = None  # the rest of what was cut: the receiver will see
            return True
        self._sha256.update(data)
        self._size += len(data)
        return self._size < read.file.size or self._sha256.digest() == read.file.sha256
