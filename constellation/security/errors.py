"""What can be wrong with the key of a cluster.

::

    ConstellationError
    `-- ClusterKeyError        the key of the cluster cannot be used
        |-- KeyFileError       its file is missing, open to others, or holds no key
        |   |-- KeyFileExists  a file is there already, where a new one was to be made
        |   `-- KeyFileNotMade it cannot be made
        `-- NoClusterKey       there is none, and without one nobody may listen here

Each says what to do. None of them shows any part of a key.
"""

from __future__ import annotations

from constellation.errors import ConstellationError

__all__ = ["ClusterKeyError", "KeyFileError", "KeyFileExists", "KeyFileNotMade", "NoClusterKey"]


class ClusterKeyError(ConstellationError):
    """The key of the cluster cannot be used.

    Attributes:
        exit_code: Of a command that fails for it: 2, where its user has to see to the key first.
    """

    exit_code = 2


class KeyFileError(ClusterKeyError):
    """A key file cannot be used as it is, or cannot be made.

    Attributes:
        path: Which.
        reason: Why, and what would mend it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"key file {self.path}: {self.reason}"


class KeyFileExists(KeyFileError):
    """There is a file already where a new key was to be made. It was left as it is.

    Attributes:
        fingerprint: Of the key that is in it; None where that was not read.
    """

    exit_code = 1

    def __init__(self, path: str, fingerprint: str | None = None) -> None:
        super().__init__(path, "")
        self.args = path, fingerprint
        self.fingerprint = fingerprint

    def __str__(self) -> str:
        known = "" if self.fingerprint is None else f", with the fingerprint {self.fingerprint}"
        return (
            f"key file {self.path}: there is one already{known}, which was left as it is; "
            "--force puts a new key in its place, and everything that has the old one then needs "
            "the new one"
        )


class KeyFileNotMade(KeyFileError):
    """The system does not let a key file be made there."""

    exit_code = 1


class NoClusterKey(ClusterKeyError):
    """There is no key of a cluster, and what was asked for needs one.

    Attributes:
        path: The file that was looked for.
        asking: Whether a service is asked that has its key already, on this machine.
    """

    def __init__(self, path: str, asking: bool = False) -> None:
        super().__init__(path, asking)
        self.path = path
        self.asking = asking

    def __str__(self) -> str:
        if self.asking:
            return (
                f"there is no key of the cluster ({self.path}): a service that is started on "
                "loopback makes one for its user; --key-file names one that is elsewhere, and "
                "--insecure says that the cluster has none"
            )
        return (
            "there is no key of the cluster, and beyond loopback nobody listens or connects "
            f"without one; `constellation keygen` makes one ({self.path}), which every machine of "
            "the cluster needs a copy of; --key-file names one that is elsewhere"
        )
