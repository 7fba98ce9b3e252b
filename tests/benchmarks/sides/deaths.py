"""How long it takes until a process knows of the end of its peer."""

from __future__ import annotations

import os
import signal
import statistics
import sys
import time

from serve import serve

from constellation import Pid, ProcessExited, Receiver, Resources, Sender, init, pid, spawn

SMALL = Resources(mem="20 MiB", cpu=0.001)


class Peers:
    """Peers that exchange a message with this process, and then wait.

    Args:
        elsewhere: Whether they have to be on another node.
    """

    def __init__(self, *, elsewhere: bool) -> None:
        self._elsewhere = elsewhere
        self._receiver: Receiver[int] | None = None

    def start(self) -> int:
        """Start one. Gives the id that the system knows it by."""
        peer = spawn(idle, resources=SMALL).block()
        if self._elsewhere and host(peer) == host(pid()):
            raise AssertionError(f"{peer} is on the node of {pid()}")
        self._receiver = Receiver[int](peer)
        return self._receiver.recv().block()

    def lose(self) -> float:
        """When the end of the one that was started is known, on the monotonic clock."""
        assert self._receiver is not None
        try:
            self._receiver.recv().block()
        except ProcessExited:
            return time.monotonic()
        raise AssertionError("a value has come, of which there is none")

    def kill(self, count: int) -> float:
        """Milliseconds from the kill of a process to the knowledge of it, median."""
        times = []
        for _ in range(count):
            process = self.start()
            start = time.monotonic()
            os.kill(process, signal.SIGKILL)
            times.append(self.lose() - start)
        return statistics.median(times) * 1e3


def host(of: Pid) -> str:
    return of.endpoint.rpartition(":")[0]


def idle(parent: Pid) -> None:
    with Sender[int](parent) as sender:
        sender.send(os.getpid()).block()
        Receiver[None](parent).recv().block()


def main() -> None:
    init()
    peers = Peers(elsewhere="elsewhere" in sys.argv)
    serve({"start": peers.start, "lose": peers.lose, "kill": peers.kill})


if __name__ == "__main__":
    main()
