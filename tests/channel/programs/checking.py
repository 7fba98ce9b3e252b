"""What the programs beside this one are made of: checks, each a function that runs in the initial
process and spawns what it needs.

`python sending.py` runs all, `python sending.py NAME 50` one of them fifty times.
"""

import os
import signal
import sys
import traceback

from constellation import ProcessExited, Receiver, Sender, init, pid, spawn

CHECKS = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


def main():
    init()
    names = sys.argv[1:2] or list(CHECKS)
    times = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    failed = 0
    for name in names * times:
        try:
            CHECKS[name]()
        except SystemExit:
            raise
        except BaseException:  # noqa: BLE001 - the next check runs all the same
            print(f"{name}:", file=sys.stderr)
            traceback.print_exc()
            failed += 1
    print(len(names), "checks")
    sys.exit(failed > 0)


class Raises:
    """As pytest's, for programs."""

    def __init__(self, kind, text=None):
        self.kind, self.text = kind, text

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            raise AssertionError(f"{self.kind.__name__} was not raised")
        if not issubclass(kind, self.kind):
            return False
        self.error = error
        if self.text is not None:
            assert str(error) == self.text, f"{str(error)!r} is not {self.text!r}"
        return True


def wait(parent):
    """A process that does nothing, until it is told to end."""
    Receiver(parent, name="end").recv().block()


class Waiting:
    """A process that waits while the block runs, having run `start(parent)` before."""

    def __init__(self, start=None, *args):
        self.start, self.args = start, args

    def __enter__(self):
        self.pid = spawn(_run, self.start, self.args).block()
        return self.pid

    def __exit__(self, kind, error, trace):
        try:
            Sender(self.pid, name="end").send(None).block()
            gone(self.pid)
        except ProcessExited:
            if kind is None:
                raise


raises = Raises
waiting = Waiting


def _run(parent, start, args):
    kept = start(parent, *args) if start else None
    wait(parent)
    return kept


def gone(remote):
    """Waits until a process has ended, and gives its status."""
    try:
        while True:
            Receiver(remote, name="gone").recv().block()
    except ProcessExited as error:
        return error.status


def die():
    os.kill(os.getpid(), signal.SIGKILL)


__all__ = ["check", "die", "gone", "main", "pid", "raises", "wait", "waiting"]
