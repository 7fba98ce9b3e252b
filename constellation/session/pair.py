"""A session between two services in one process."""

from __future__ import annotations

import os

from constellation.session.loop import Loop
from constellation.session.sessions import Owner, Session
from constellation.wire.frames import Buffer

__all__ = ["pair"]


class _Near(Session):
    """One end."""

    def __init__(self, loop: Loop, owner: Owner, name: str) -> None:
        # Nothing of what goes over a network is here.
        self.key = os.urandom(16)
        self.name = name
        self.open = True
        self.patient = True
        self.lenient = False
        self.given_up = False
        self.replaced = False
        self._loop = loop
        self._owner = owner
        self.other: _Near = self

    def send(self, message: Buffer) -> None:
        """Send a message."""
        if self.open:
            data = bytes(message)
            self._loop.after(0, lambda: self.other._heard(data))

    def close(self) -> None:
        """Send nothing more."""
        if self.open:
            self.open = False
            self._loop.after(0, self.other._closed)

    @property
    def unreceived(self) -> int:
        """Everything is received."""
        return 0

    def silent(self, now: float) -> float:
        """It is never."""
        return 0.0

    def _heard(self, data: bytes) -> None:
        if self.open:
            self._owner.heard(self, data)

    def _closed(self) -> None:
        if self.open:
            self.open = False
            self._owner.ended(self, None)


def pair(loop: Loop, one: Owner, other: Owner, name: str) -> Session:
    """Open a session from one to the other. Gives the end of the first, which sends first.

    Args:
        loop: Of both.
        one: Whose end is given.
        other: Is told of the session as of one that somebody else has opened.
        name: What it is called at both ends.
    """
    near, far = _Near(loop, one, name), _Near(loop, other, name)
    near.other, far.other = far, near
    loop.after(0, lambda: other.opened(far))
    return near
