"""The files of the agent's program: fetched from the bridge, and laid out for this deployment."""

from __future__ import annotations

import logging
from collections.abc import Callable

from constellation.program.errors import ShippingError
from constellation.program.manifest import Manifest
from constellation.program.store import Store
from constellation.program.tree import Tree, sweep
from constellation.session.loop import Loop
from constellation_daemons.aside import Aside
from constellation_daemons.delivery import Delivery, remove

__all__ = ["Files"]

logger = logging.getLogger(__name__)


class Files:
    """The program's files on this node.

    Args:
        loop: The agent's.
        store: The directory of the node's store.
        limit: Its size in bytes.
        parent: The directory in which programs are laid out.
        send: Sends a message about them to the bridge.
    """

    def __init__(
        self, loop: Loop, store: str, limit: int, parent: str, send: Callable[[bytes], None]
    ) -> None:
        self._loop = loop
        self._directory = store
        self._limit = limit
        self._parent = parent
        self._send = send
        self._delivery: Delivery | None = None
        self._tree: Tree | None = None
        self._aside = 0  # what is done in threads
        self._ready: Callable[[str], None] = lambda path: None
        self._failed: Callable[[str], None] = lambda reason: None

    def begin(
        self, manifest: bytes, ready: Callable[[str], None], failed: Callable[[str], None]
    ) -> None:
        """Fetch what is lacking, and lay the program out.

        Args:
            manifest: What it consists of.
            ready: Called with its directory.
            failed: Called in place of that, with the reason.
        """
        self._ready, self._failed = ready, failed
        self._aside += 1
        Aside(self._loop, lambda: sweep(self._parent), lambda _: self._done(), self._not_swept)
        try:
            self._delivery = Delivery(
                self._loop,
                Store(self._directory, self._limit),
                Manifest.decode(manifest),
                self._send,
                self._lay_out,
                failed,
            )
        except ShippingError as error:
            failed(str(error))
            return
        self._delivery.start()

    def hear(self, data: bytes) -> None:
        """Take a message of the bridge about them."""
        if self._delivery is not None:
            self._delivery.hear(data)

    @property
    def busy(self) -> bool:
        """Whether something is being laid out, though nobody may want it any more, or removed."""
        return self._aside > 0 or (self._delivery is not None and self._delivery.busy)

    def close(self) -> None:
        """Remove what was laid out, or will have been. Again it does nothing."""
        if self._delivery is not None:
            self._delivery.close()
        tree, self._tree = self._tree, None
        if tree is not None:
            self._aside += 1
            remove(self._loop, tree, self._done)

    def _done(self) -> None:
        self._aside -= 1

    def _not_swept(self, error: Exception) -> None:
        logger.warning("what a program has left stays: %s", error)
        self._done()

    def _lay_out(self) -> None:
        assert self._delivery is not None
        self._delivery.lay_out(self._parent, self._laid_out)

    def _laid_out(self, tree: Tree) -> None:
        self._tree = tree
        self._ready(tree.path)
