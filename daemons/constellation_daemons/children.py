"""How a service starts the processes that are a part of it."""

from __future__ import annotations

import subprocess
import sys

from constellation.process import signals

__all__ = ["start_part"]


def start_part(
    module: str, descriptor: int, *arguments: str, apart: bool = False
) -> subprocess.Popen[bytes]:
    """Run a module of ours.

    It begins with all signals blocked, and lets them come when it has what takes them: a Ctrl-C
    goes to each process of a terminal's job, and would come up within its imports.

    Args:
        module: What is run.
        descriptor: What it inherits, and has as its first argument.
        arguments: Further ones.
        apart: Whether it is to have a session of its own, which no terminal sends signals to.

    Raises:
        OSError: It cannot be started.
    """
    mask = signals.block_all()
    try:
        return subprocess.Popen(
            [sys.executable, "-m", module, str(descriptor), *arguments],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            cwd="/",
            start_new_session=apart,
        )
    finally:
        signals.restore_mask(mask)
