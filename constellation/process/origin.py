"""What the program's process had at `init()` that a fork loses or must not keep.

One :class:`Origin` is made in `init()`, right before the first fork. Roles of ours shed what is the
user's with :meth:`Origin.shed`; a process of the user's gets it back with :meth:`Origin.restore`.
"""

from __future__ import annotations

import gc
import random
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

from constellation.process import signals, system
from constellation.process.signals import Handlers


class Origin:
    """The program at `init()`. Making it blocks all signals and stops garbage collection."""

    def __init__(self) -> None:
        self._mask = signals.block_all()
        self._handlers = Handlers()
        self._name = system.name()
        self._trace = sys.gettrace()
        self._profile: Any = sys.getprofile()
        # A fork reseeds it; the initial process goes on with what the program may have seeded.
        self._random = random.getstate()
        # A timer stays with the process that set it, which becomes the bridge.
        self._timer = signal.setitimer(signal.ITIMER_REAL, 0)
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
            if self._timer[0]:
                signal.setitimer(signal.ITIMER_REAL, *self._timer)
        else:
            if fresh:
                random.seed()  # as a fork does by itself
            reseed: Callable[[], None] | None = getattr(
                sys.modules.get("numpy.random"), "seed", None
            )
            if reseed is not None:
                reseed()

    def resume(self) -> None:
        """Let the user's code run, as the last step: collect, trace and take signals again."""
        system.set_name(self._name)
        if self._collects:
            gc.enable()
        if self._profile is None or callable(self._profile):
            sys.setprofile(self._profile)
        else:
            self._profile.enable()  # cProfile's, before Python 3.12: Python code cannot set it
        sys.settrace(self._trace)
        signals.restore_mask(self._mask)
