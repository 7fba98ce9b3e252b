"""Where a node keeps things."""

from __future__ import annotations

import errno
import logging
import os
from dataclasses import dataclass

from constellation.errors import ConstellationError
from constellation.program.disk import own_directory
from constellation.program.errors import StoreError
from constellation.program.store import Store
from constellation.program.tree import sweep
from constellation.user_places import cache_directory

__all__ = ["STORE_LIMIT", "Places", "UnusableCache", "default_places"]

logger = logging.getLogger(__name__)

STORE_LIMIT = 10 << 30


class UnusableCache(ConstellationError):
    """The directory in which a node keeps things cannot be used.

    Attributes:
        path: What of it.
        reason: Why not.
        exit_code: Of a command that fails for it.
    """

    exit_code = 2

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"the cache directory cannot be used: {self.path}: {self.reason}; let this user write "
            f"there, or say with XDG_CACHE_HOME where else"
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Where a node keeps things.

    Attributes:
        store: The directory of its store.
        store_limit: Its size in bytes.
        trees: The directory in which programs are laid out.
        seats: The directory in which nodes of masters have their places.
    """

    store: str
    store_limit: int
    trees: str
    seats: str

    def prepare(self) -> None:
        """Make the directories, and remove what killed services have left there.

        Raises:
            UnusableCache: That cannot be, or nothing could be kept there.
        """
        for path in (self.store, self.trees, self.seats):
            try:
                own_directory(path)
                if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
                    raise PermissionError(errno.EACCES, "it cannot be written to", path)
            except StoreError as error:
                raise UnusableCache(error.path, error.reason) from error
            except OSError as error:
                raise UnusableCache(str(error.filename or path), str(error.strerror)) from error
        try:
            Store(self.store, self.store_limit)  # which is swept when it is opened
        except StoreError as error:
            raise UnusableCache(error.path, error.reason) from error
        try:
            sweep(self.trees)
        except StoreError as error:
            logger.warning("what a program has left stays: %s", error)


def default_places(limit: int = STORE_LIMIT) -> Places:
    """Where things are kept, unless somebody says otherwise.

    Raises:
        UnusableCache: The user has no home directory.
    """
    cache = cache_directory()
    if cache is None:
        raise UnusableCache("~/.cache/constellation", "this user has no home directory")
    store, trees, seats = (os.path.join(cache, each) for each in ("store", "programs", "seats"))
    return Places(store, limit, trees, seats)
