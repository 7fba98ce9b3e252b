"""What the program's process had at `init()` that a fork loses or must not keep.

One :class:`Origin` is made in `init()`, right before the first fork. Roles of ours shed what is the
user's with :meth:`Origin.shed`; a process of the user's gets it back with :meth:`Origin.restore`.
"""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from constellation.process import signals, system
from constellation.process.signals import Handlers

_monitoring: Any = getattr(sys, "monitoring", None)  # since Python 3.12
_TOOLS = range(6)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


class Origin:
    """The program at `init()`. Making it blocks all signals and stops garbage collection."""

    def __init__(self) -> None:
        # They stay with the process that set them, which becomes the bridge. First of all: what one
        # of them has sent by now is handled here, and not by who unblocks signals later.
        self._timers = [(timer, signal.setitimer(timer, 0)) for timer in _TIMERS]
        self._mask = signals.block_all()
        self._handlers = Handlers()
        self._name = system.name()
        self._trace = sys.gettrace()
        self._profile: Any = sys.getprofile()
        self._of_threads = threading.gettrace(), threading.getprofile()
        self._monitors = _take_callbacks()
        # A fork reseeds it; the initial process goes on with what the program may have seeded.
        self._random = random.getstate()
        self._collects = gc.isenabled()
        gc.disable()

    def shed(self, *, catch: Iterable[int] = (), ignore: Iterable[int] = ()) -> None:
        """Become a role of ours: none of the user's handlers and hooks runs here from now on.

        Args:
            catch: Signals that the role's loop is told of.
            ignore: Signals that nothing shall come of.
        """
        sys.settrace(None)
        sys.setprofile(None)
        threading.settrace(None)
        threading.setprofile(None)
        self._handlers.clear(catch=catch, ignore=ignore)

    def restore(self, *, initial: bool, fresh: bool) -> None:
        """Become a process of the user's.

        Args:
            initial: Whether this is the initial process, which goes on where the program was, or a
                spawned one, which has random numbers of its own.
            fresh: Whether this is no fork.
        """
        self._handlers.restore()
        if initial:
            random.setstate(self._random)
            self._start_timers()
        else:
            if fresh:
                random.seed()  # as a fork does by itself
            reseed: Callable[[], None] | None = getattr(
                sys.modules.get("numpy.random"), "seed", None
            )
            if reseed is not None:
                reseed()

    def give_up(self) -> None:
        """Go on as if nothing had been: `init()` has failed."""
        self._start_timers()
        self.resume()

    def _start_timers(self) -> None:
        for timer, (first, interval) in self._timers:
            if first or interval:  # no first one: it has just run out
                signal.setitimer(timer, first or interval, interval)

    def resume(self) -> None:
        """Let the user's code run, as the last step: collect, trace and take signals again."""
        system.set_name(self._name)
        if self._collects:
            gc.enable()
        if self._profile is None or callable(self._profile):
            sys.setprofile(self._profile)
        else:
            self._profile.enable()  # cProfile's, before Python 3.12: Python code cannot set it
        if self._of_threads != (None, None):
            trace, profile = self._of_threads
            threading.settrace(trace)
            threading.setprofile(profile)
        for tool, event, callback in self._monitors:
            _monitoring.register_callback(tool, event, callback)
        sys.settrace(self._trace)
        signals.restore_mask(self._mask)


def _take_callbacks() -> list[tuple[int, int, Any]]:
    """Take away what tools have registered with `sys.monitoring`, for which events.

    No role of ours is to run it, whatever the tool has switched on, and for which code.
    """
    tools = [tool for tool in _TOOLS if _monitoring.get_tool(tool)] if _monitoring else []
    if not tools:
        return []
    values = [value for value in vars(_monitoring.events).values() if isinstance(value, int)]
    events = sorted({value for value in values if value.bit_count() == 1})
    taken = [
        (tool, event, _monitoring.register_callback(tool, event, None))
        for tool in tools
        for event in events
    ]
    return [each for each in taken if each[2] is not None]
