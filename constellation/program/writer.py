"""A blob on its way into a store: measured and hashed while it is written."""

from __future__ import annotations

import contextlib
import hashlib
import os
from types import TracebackType
from typing import TYPE_CHECKING

from constellation.program.disk import create_locked, explained, write_all
from constellation.program.errors import BlobError
from constellation.program.manifest import File

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Writer"]


class Writer:
    """A blob on its way into the store.

    In a ``with``, what was not committed is removed at its end.

    Args:
        file: What it is the content of.
        path: Where it is to be found.
        incoming: The directory that it is written in.

    Raises:
        StoreError: Nothing can be written there.
    """

    def __init__(self, file: File, path: str, incoming: str) -> None:
        self._file = file
        self._final = path
        self._incoming = incoming
        self._sha256 = hashlib.sha256()
        self._size = 0
        with explained(incoming):
            self._descriptor, self._path = create_locked(incoming)

    def write(self, data: bytes) -> None:
        """Add to it.

        Raises:
            BlobError: That is more than it should have. Nothing of it is kept.
            StoreError: It cannot be written, as where the disk is full. Nothing of it is kept.
        """
        self._size += len(data)
        if self._size > self._file.size:
            self.abandon()
            raise BlobError(
                self._file.sha256, f"has more than the {self._file.size} bytes that it should have"
            )
        try:
            with explained(self._incoming):
                write_all(self._descriptor, data)
        except BaseException:  # also an interrupt: half a file is none
            self.abandon()
            raise
        self._sha256.update(data)

    def commit(self) -> None:
        """Let it be found under its digest.

        Raises:
            BlobError: It is not what it should be. Nothing of it is kept.
            StoreError: It cannot be kept.
        """
        file = self._file
        if self._size != file.size:
            self.abandon()
            raise BlobError(file.sha256, f"has {self._size} bytes instead of {file.size}")
        if self._sha256.digest() != file.sha256:
            self.abandon()
            raise BlobError(file.sha256, f"has the digest {self._sha256.hexdigest()[:12]}")
        try:
            with explained(self._incoming):
                os.makedirs(os.path.dirname(self._final), mode=0o700, exist_ok=True)
                os.rename(self._path, self._final)
        except BaseException:  # also an interrupt: half a file is none
            self.abandon()
            raise
        os.close(self._descriptor)
        self._descriptor = -1

    def abandon(self) -> None:
        """Keep nothing of it. After a commit that does nothing."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abandon()
