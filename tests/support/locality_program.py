"""A program whose processes and monitors write down what they call: see `locality_lists.py`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from constellation import (
    ChannelClosed,
    Pid,
    ProcessExited,
    Receiver,
    Resources,
    Sender,
    init,
    spawn,
)
from constellation.process import locality, monitor
from constellation.process.origin import Origin
from constellation.transport.reactor import Reactor

SMALL = Resources(mem="20 MiB", cpu=0.001)
IDLE = 0.3  # seconds, in which a process does all that it does by itself

called: dict[CodeType, None] = {}
exit_now = os._exit


def record(frame: FrameType, event: str, argument: object) -> None:
    if event == "call":
        called.setdefault(frame.f_code)


def names() -> dict[CodeType, str]:
    found = {}
    for name, module in list(sys.modules.items()):
        if name.startswith("constellation."):
            classes = [each for each in vars(module).values() if isinstance(each, type)]
            for space in (module, *(each for each in classes if each.__module__ == name)):
                for value in list(vars(space).values()):
                    function = locality.unwrapped(value)
                    if function is not None and function.__module__ == name:
                        found[function.__code__] = f"{name}:{function.__qualname__}"
    return found


NAMES = names()


def begin(role: str) -> None:
    """Record from here to the exit."""

    def leave(code: int) -> None:
        sys.setprofile(None)
        lines = [f"{role} {NAMES[each]}\n" for each in list(called) if each in NAMES]
        with open(sys.argv[1], "a") as file:
            file.write("".join(lines))
        exit_now(code)

    called.clear()
    os._exit = leave  # type: ignore[assignment]
    sys.setprofile(record)


def after(call: Callable[..., Any], first: Callable[[], None]) -> Callable[..., Any]:
    """A call with something before it."""

    def both(*arguments: Any) -> Any:
        first()
        return call(*arguments)

    return both


def idle(parent: Pid) -> None:
    Sender[tuple[int, int]](parent).send((os.getpid(), os.getppid())).block()
    Receiver[None](parent).recv().block()


def work(parent: Pid) -> None:
    idle(parent)
    # What follows is not run by each process, but by many.
    look_at(spawn(idle, resources=SMALL).block())


def look_at(child: Pid) -> None:
    Receiver[tuple[int, int]](child).recv().block()
    time.sleep(IDLE)
    Sender[None](child).send(None).block()
    while True:
        try:
            Receiver[None](child).recv().block()
        except ChannelClosed:
            continue
        except ProcessExited:
            return


def main() -> None:
    record_here = lambda: sys.setprofile(record)  # noqa: E731 - of the thread that it is called in
    monitor._watch_over = after(monitor._watch_over, lambda: begin("monitor"))
    Reactor._run = after(Reactor._run, record_here)  # type: ignore[method-assign]
    resume = Origin.resume

    def resumed(origin: Origin) -> None:
        resume(origin)  # it sets what the program had at `init()`
        record_here()

    Origin.resume = resumed  # type: ignore[method-assign]
    os.register_at_fork(after_in_child=lambda: begin("process"))
    init()
    sys.setprofile(None)
    os._exit = exit_now
    look_at(spawn(work, resources=SMALL).block())


if __name__ == "__main__":
    main()
