"""What agents have left that were killed: their programs' directories, pins and sockets."""

from __future__ import annotations

import logging
import tempfile

from constellation.process.directory import sweep as sweep_sockets
from constellation.program.store import Store
from constellation.program.tree import sweep as sweep_trees
from constellation.session.loop import Loop
from constellation_daemons.aside import Aside

__all__ = ["Remains"]

logger = logging.getLogger(__name__)

_AGAIN = 1.0
_TIMES = 3
"""Seconds until it is done again, and how often: what an agent ran dies after it, and may write
until then."""


class Remains:
    """Removes what dead agents have left. What living ones have is locked, and stays.

    Args:
        loop: The node's.
        store: The directory of its store.
        limit: The size of that in bytes.
        trees: The directory in which programs are laid out.
    """

    def __init__(self, loop: Loop, store: str, limit: int, trees: str) -> None:
        self._loop = loop
        self._store = store
        self._limit = limit
        self._trees = trees
        self._left = 0
        self._busy = False

    @property
    def busy(self) -> bool:
        """Whether something is being removed."""
        return self._busy

    def remove(self) -> None:
        """An agent was killed."""
        self._left = _TIMES
        self._start()

    def _start(self) -> None:
        if not self._busy:
            self._busy = True
            Aside(self._loop, self._sweep, self._done, self._failed)

    def _sweep(self) -> None:
        sweep_trees(self._trees)
        Store(self._store, self._limit)  # which is swept when it is opened
        for parent in {tempfile.gettempdir(), "/tmp"}:
            sweep_sockets(parent)

    def _done(self, _result: None) -> None:
        self._busy = False
        self._left -= 1
        if self._left > 0:
            self._loop.after(_AGAIN, self._start)

    def _failed(self, error: Exception) -> None:
        # Somebody may still write to it; the last time it stays until the node starts again.
        if self._left <= 1:
            logger.warning("what an agent has left stays: %s", error)
        self._done(None)
