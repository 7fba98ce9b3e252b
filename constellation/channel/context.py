"""What channels need of their process: `init()` sets it, every handle asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from constellation.errors import InitError
from constellation.uncaught import show_users_frames

if TYPE_CHECKING:
    from constellation.channel.byvalue import ImageRecord
    from constellation.transport.transport import Transport

__all__ = ["Context", "current", "install"]


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """The transport of this process, and what its values are pickled against."""

    transport: Transport
    image: ImageRecord


_context: Context | None = None


def install(context: Context) -> None:
    """Set the context of this process."""
    global _context
    _context = context


def current() -> Context:
    """The context of this process.

    Raises:
        InitError: `init()` was not called yet.
    """
    if _context is None:
        show_users_frames()
        raise InitError("call constellation.init() first, early in main()")
    return _context
