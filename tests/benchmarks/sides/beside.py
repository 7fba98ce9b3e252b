"""Round trips while a gigantic value goes from this process to the other, on another channel."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from serve import serve

from constellation import Pid, Receiver, Sender, WouldBlock, init, join, spawn

AFTER = 3.0
"""Seconds that are measured after the value has come: memory is given back meanwhile."""


def far(parent: Pid, keeps: bool) -> None:
    kept = []

    def receive() -> None:
        with (
            Receiver[Any](parent, name="value") as values,
            Sender[int](parent, name="came") as came,
        ):
            for value in values:
                came.send(len(value)).block()
                if keeps:
                    kept.append(value)  # to drop it takes Python long: that is its user's
                del value

    thread = threading.Thread(target=receive)
    thread.start()
    with Sender[int](parent) as pongs, Receiver[int](parent) as pings:
        for number in pings:
            pongs.send(number).block()
    thread.join()


def beside(kind: str, size: int) -> float:
    """The longest round trip, in seconds. Lent is what goes to a process that has had arrays."""
    value: Any = b"x" * size if kind == "bytes" else np.ones(size // 8)
    pid = spawn(far, kind != "lent").block()
    pings, pongs = Sender[int](pid), Receiver[int](pid)
    values, came = Sender[Any](pid, name="value"), Receiver[int](pid, name="came")
    for _ in range(10):
        if kind == "lent":
            values.send(value[: 1 << 17]).block()
            assert came.recv().block() == 1 << 17
        join(pings.send(0), pongs.recv()).block()
    begin = threading.Event()

    def send() -> None:
        begin.wait()
        values.send(value).block()

    thread = threading.Thread(target=send)
    thread.start()
    end = None
    longest = 0.0
    last = time.perf_counter()
    begin.set()
    while end is None or last < end:
        pings.send(0).block()
        pongs.recv().block()
        now = time.perf_counter()
        longest = max(longest, now - last)
        last = now
        try:
            if came.try_recv() != len(value):
                raise RuntimeError("the value is not as it was")
        except WouldBlock:
            pass
        else:
            end = now + AFTER
    thread.join()
    for channel in (pings, values):
        channel.close()
    return longest


def main() -> None:
    init()
    serve({"beside": beside})


if __name__ == "__main__":
    main()
