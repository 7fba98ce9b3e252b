"""A monitor between two processes: one that has nothing left to watch over can serve again.

Making a monitor takes about as long as making a process: both are forks of the program's image. So
one whose process is over, and has left nothing behind, says that it is idle, and its host gives it
the next process to fork. What it has from the zygote is as it was, since no code of the user's has
run in it.

That it does not become idle memory is seen to by both: the host keeps a few, and a monitor that has
waited for long says so, after which it is let go. It cannot go by itself, as a process may be on
its way to it.
"""

from __future__ import annotations

import os
import select
from typing import Any

from constellation.control.messages import Fork, Idle
from constellation.control.stream import ControlError, MessageStream
from constellation.process.signals import Wakeup

LIMIT = 1.0
"""Seconds after which a monitor says that it has waited for long."""


def await_fork(
    stream: MessageStream[Any], wakeup: Wakeup, lifeline: int, zygote: int
) -> Fork | None:
    """In a monitor whose process is over: wait for another one.

    Args:
        stream: Its control stream.
        wakeup: Tells of signals.
        lifeline: The descriptor that reaches its end when the zygote dies.
        zygote: The zygote's process id.

    Returns:
        The process to fork, whose descriptors are to be taken from the stream; None: there is none,
        and the monitor is not wanted any more.
    """
    poll = select.poll()
    for descriptor in (stream.fileno(), lifeline, wakeup.fileno()):
        poll.register(descriptor, select.POLLIN)
    limit: float | None = LIMIT * 1000
    try:
        stream.post(Idle())
        while True:
            ready = poll.poll(limit)
            if not ready:
                limit = None
                stream.post(Idle())
            for descriptor, _ in ready:
                if descriptor == lifeline:
                    return None
                if descriptor == wakeup.fileno():
                    wakeup.take()
                    if os.getppid() != zygote:
                        return None
                    continue
                for message in stream.receive():
                    # What else there is, an end too, was meant for the process that is over, by who
                    # did not know that yet.
                    if isinstance(message, Fork):
                        return message
    except (EOFError, ConnectionError, ControlError):
        return None
