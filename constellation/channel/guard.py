"""Who may touch the batch of a Sender: one thread at a time, as with a lock, and at less cost.

To take a lock for each value would cost a seventh of what a small value costs. Nearly every Sender
is used by one thread, so the first that sends has a *lease*: it comes in without the lock, by
saying that it is inside. Whoever has the lock shuts the door first, and then looks whether somebody
is inside; the one with the lease says that it is inside first, and then looks at the door. So both
are never in, and of two that come at once one at least sees the other:

| the door | somebody is inside | the one with the lease | who has the lock |
| --- | --- | --- | --- |
| open | no | comes in | - |
| open | yes | is in | - |
| shut | no | takes the lock, as all others | is in |
| shut | yes | leaves, or has just come in | gives up, or waits until it has left |

Who waits for it takes the lease back for good: then several threads send, and all take the lock.
What one thread has set the others see at once, since the interpreter has a lock of its own, the
GIL; where it runs without, nobody gets the lease.

A signal handler may run between any two calls, in the thread that is inside too. It is refused, as
where its thread has the lock. What it raises leaves nothing shut, and nobody inside.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from constellation.transport.lock import Entry, refuse

__all__ = ["ANYBODY", "NOBODY", "Guard"]

T = TypeVar("T")

ANYBODY, NOBODY = -1, -2
"""Who has the lease, where it is no thread: the next that asks gets it, or none does."""

_LEASES = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether there are leases."""

_get_ident = threading.get_ident


class Guard:
    """The guard of a batch.

    Attributes:
        lease: The thread that may come in without the lock, while `shut` is not set. To do so it
            sets `inside` in a `try`, and then looks whether `shut` is set. In its `finally` it sets
            `inside` to 0, and then calls `let_in` if there is a `gate`.
        inside: The thread that did so; 0 if none did.
        shut: Whether who has the lock is in.
        gate: What who has the lock waits on.
    """

    __slots__ = ("_entry", "_lock", "_owned", "_trial", "gate", "inside", "lease", "shut")

    def __init__(self, lease: int = ANYBODY) -> None:
        lock: Any = threading.RLock()
        self._lock = lock
        self._owned: Callable[[], bool] = lock._is_owned
        self._entry = Entry(lock)
        self._trial = Entry(lock, blocking=False)
        self.lease = lease
        self.inside = 0
        self.shut = False
        self.gate: threading.Lock | None = None

    def held(self) -> bool:
        """Whether the calling thread is in."""
        return self._owned() or self.inside == _get_ident()

    def run(self, action: Callable[[], T]) -> T:
        """Do something when nobody else is in. For a thread that is not."""
        with self._entry:
            try:
                self.shut = True
                if self.inside:
                    self._await_leaving()
                return action()
            finally:
                self.shut = False

    def admit(self, action: Callable[[], T], must_not_wait: Callable[[], bool]) -> T:
        """As `run`, and give the calling thread the lease if nobody has had it.

        Raises:
            RuntimeError: Another thread is in, and this one must not wait for it.
        """
        got = True
        try:
            with self._trial as free:
                if not free:
                    got = False
                    if must_not_wait():
                        refuse()
                    self._lock.acquire()
                    got = True
                try:
                    self.shut = True
                    if self.inside:
                        if must_not_wait():
                            refuse()
                        self._await_leaving()
                    if self.lease == ANYBODY and _LEASES:
                        self.lease = _get_ident()
                    return action()
                finally:
                    self.shut = False
        except RuntimeError as error:
            if got:
                raise
            # What was raised without the lock; `with` has failed to release it after that.
            raise (error.__context__ or error) from None

    def attempt(self, action: Callable[[], object]) -> bool:
        """Do something if nobody is in; says whether it was done."""
        if self.held():
            return False
        got = True
        try:
            with self._trial as free:
                if not free:
                    got = False
                else:
                    try:
                        self.shut = True
                        if self.inside:
                            return False
                        action()
                    finally:
                        self.shut = False
        except RuntimeError as error:
            if got:
                raise
            # Since `with` has failed to release what it has not got.
            if error.__context__ is not None:
                raise error.__context__ from None
        return got

    def let_in(self) -> None:
        """The one with the lease has left: let in who waits for that."""
        gate, self.gate = self.gate, None
        if gate is not None:
            gate.release()

    def _await_leaving(self) -> None:
        self.lease = NOBODY
        gate = threading.Lock()
        gate.acquire()
        while True:
            self.gate = gate
            if not self.inside:
                break
            gate.acquire()
        self.gate = None
