"""What can go wrong with the files of a program.

::

    ConstellationError
    `-- ShippingError
        |-- PackError        the program's directory cannot be shipped as it is: its owner mends it
        |-- ManifestError    bytes that are no manifest, or one that must not be laid out
        |-- TransferError    the other end of a transfer has sent what it may not, or gives up
        |-- BlobError        content that is not what its digest says
        |-- BlobsMissing     blobs that are needed now and are not in the store
        `-- StoreError       the disk, or the limit of the store, has no room or no access
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

from constellation.errors import ConstellationError

__all__ = [
    "BlobError",
    "BlobsMissing",
    "ManifestError",
    "PackError",
    "ShippingError",
    "StoreError",
    "TransferError",
]

_FULL = {errno.ENOSPC, errno.EDQUOT}


class ShippingError(ConstellationError):
    """The base of the errors that have to do with a program's files."""


class PackError(ShippingError):
    """The program's directory cannot be shipped as it is. The text says what would be right.

    Attributes:
        exit_code: Of a command that fails for it.
    """

    exit_code = 2


class ManifestError(ShippingError):
    """Bytes that are no manifest, or a manifest whose tree must not be laid out.

    Attributes:
        reason: What is wrong, and where.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not a program's manifest: {self.reason}"


class TransferError(ShippingError):
    """The other end of a transfer has sent what it may not send, or says that it cannot go on."""


class BlobError(ShippingError):
    """Content that is not what its digest says. Nothing of it was kept.

    Attributes:
        sha256: The digest that it should have.
        reason: What it is instead.
    """

    def __init__(self, sha256: bytes, reason: str) -> None:
        super().__init__(sha256, reason)
        self.sha256 = sha256
        self.reason = reason

    def __str__(self) -> str:
        return f"what came for the content {self.sha256.hex()[:12]} {self.reason}"


class BlobsMissing(ShippingError):
    """Blobs that are needed now are not in the store, or were found damaged and removed.

    Attributes:
        digests: Their SHA-256 digests.
    """

    def __init__(self, digests: Sequence[bytes]) -> None:
        super().__init__(digests)
        self.digests = tuple(digests)

    def __str__(self) -> str:
        more = f" and {len(self.digests) - 1} more" if len(self.digests) > 1 else ""
        return f"the store lacks the content {self.digests[0].hex()[:12]}{more}"


class StoreError(ShippingError):
    """A directory cannot take or give what it should.

    Attributes:
        path: What could not be read or written.
        reason: Why not, and what would help.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    @classmethod
    def of(cls, path: str, error: OSError) -> StoreError:
        """What an error of the system means for ``path``."""
        reason = str(error.strerror)
        if error.errno in _FULL:
            reason += ": nothing of it was kept; make room there, or choose another directory"
        return cls(path, reason)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
