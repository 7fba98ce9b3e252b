"""Whether a loop of asyncio waits for nothing but channels and spawns."""

from __future__ import annotations

from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ["is_idle", "thread_of"]


def thread_of(loop: asyncio.AbstractEventLoop) -> int | None:
    """The thread in which a loop runs; None: in none, or that is not known."""
    ident: int | None = getattr(loop, "_thread_id", None)
    return ident


def is_idle(loop: asyncio.AbstractEventLoop, frame: FrameType, descriptor: int) -> bool:
    """Whether a loop sleeps until its transport wakes it.

    So it is if it has nothing to run, no timer, and no other descriptors. Then whatever its tasks
    wait for, an event or one another, comes only after one of the operations that some of them
    are suspended in. Of loops that are not asyncio's own nothing is known.

    Args:
        loop: It runs, in another thread.
        frame: The innermost frame of that thread.
        descriptor: That of the transport.
    """
    # Imported by whoever made the loop; this module is in every process.
    from asyncio import base_events, unix_events

    if type(loop) is not unix_events.SelectorEventLoop or frame.f_back is None:
        return False
    own: Any = loop
    selector = own._selector
    # The two innermost frames say that it is the loop that waits, and no task or handler in it.
    select = getattr(type(selector).select, "__code__", None)
    turn: Any = base_events.BaseEventLoop
    if frame.f_code is not select or frame.f_back.f_code is not turn._run_once.__code__:
        return False
    if own._ready or own._stopping:
        return False
    if any(not timer.cancelled() for timer in list(own._scheduled)):
        return False
    watched = selector.get_map()
    return len(watched) == 2 and own._ssock in watched and descriptor in watched
