"""Waiting on descriptors: epoll on Linux, kqueue on macOS, and wake-ups from other threads.

Besides: whether the process may have more of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import sys

__all__ = ["Poller", "Wakeup", "explained", "require"]


def require(count: int, fd: int) -> None:
    """See that the process may have so many more descriptors than it has now.

    Args:
        count: How many.
        fd: Any that is open.

    Raises:
        OSError: It may not.
    """
    taken: list[int] = []
    try:
        taken.extend(os.dup(fd) for _ in range(count))
    finally:
        for each in taken:
            os.close(each)


def explained(error: OSError) -> str:
    """What an error of the system says; of a limit also how to raise it."""
    match error.errno:
        case errno.EMFILE:
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            return f"{error.strerror}: the limit is {limit}, `ulimit -n` raises it"
        case errno.EAGAIN:
            return f"{error.strerror}: {TOO_MANY}"
        case _:
            return str(error.strerror)


TOO_MANY = "the user or the control group may not have so many processes and threads"


if sys.platform == "linux":

    class Poller:
        """A set of descriptors to wait on for input; itself a descriptor that can be waited on."""

        def __init__(self) -> None:
            self._epoll = select.epoll()

        def fileno(self) -> int:
            """The descriptor that becomes readable."""
            return self._epoll.fileno()

        def add(self, fd: int) -> None:
            """Wait on this descriptor too."""
            self._epoll.register(fd, select.EPOLLIN)

        def remove(self, fd: int) -> None:
            """Do not wait on this descriptor any more."""
            self._epoll.unregister(fd)

        def arm(self, fd: int, wanted: bool) -> None:
            """Take a descriptor of the set into account, or leave it out for now."""
            self._epoll.modify(fd, select.EPOLLIN if wanted else 0)

        def wait(self, timeout: float | None) -> list[int]:
            """The descriptors with input, after at most ``timeout`` seconds (None: no limit)."""
            found = self._epoll.poll(timeout)
            return [fd for fd, _ in found] if found else []

        def close(self) -> None:
            """Close it."""
            self._epoll.close()

else:

    class Poller:
        """A set of descriptors to wait on for input; itself a descriptor that can be waited on."""

        def __init__(self) -> None:
            self._queue = select.kqueue()

        def fileno(self) -> int:
            """The descriptor that becomes readable."""
            return self._queue.fileno()

        def _change(self, fd: int, flags: int) -> None:
            self._queue.control([select.kevent(fd, select.KQ_FILTER_READ, flags)], 0)

        def add(self, fd: int) -> None:
            """Wait on this descriptor too."""
            self._change(fd, select.KQ_EV_ADD)

        def remove(self, fd: int) -> None:
            """Do not wait on this descriptor any more."""
            self._change(fd, select.KQ_EV_DELETE)

        def arm(self, fd: int, wanted: bool) -> None:
            """Take a descriptor of the set into account, or leave it out for now."""
            self._change(fd, select.KQ_EV_ENABLE if wanted else select.KQ_EV_DISABLE)

        def wait(self, timeout: float | None) -> list[int]:
            """The descriptors with input, after at most ``timeout`` seconds (None: no limit)."""
            return [event.ident for event in self._queue.control(None, 16, timeout)]

        def close(self) -> None:
            """Close it."""
            self._queue.close()


class Wakeup:
    """A descriptor that any thread, signal handler or finalizer makes readable. Takes no lock.

    Attributes:
        pending: Whether it may be readable.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self.pending = False

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._read

    def set(self) -> None:
        """Make it readable."""
        # A full pipe is a wake-up already.
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"\0")
        # After that: a byte without the flag would be there for ever.
        self.pending = True

    def clear(self) -> None:
        """Take the wake-ups; costs a system call only if there were any."""
        if self.pending:
            self.pending = False
            # Another thread may have taken the byte of a wake-up that it saw before its flag.
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 4096)

    def close(self) -> None:
        """Close it."""
        os.close(self._read)
        os.close(self._write)
