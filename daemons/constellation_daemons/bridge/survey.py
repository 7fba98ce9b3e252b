"""What a program's initial process needs: found out by running the program up to `init()`."""

from __future__ import annotations

import os
from collections.abc import Callable

from constellation.control.deployment import Deploy
from constellation.control.messages import FromNewborn, Needs, Survey
from constellation.session.loop import Loop
from constellation.units import Cpu, Mem
from constellation_daemons.environment import environment_here
from constellation_daemons.guards import Guards
from constellation_daemons.start import Failure, Program, Start

__all__ = ["LIMIT", "survey"]

LIMIT = 10.0
"""Seconds that a program may take to reach `init()`, unless told otherwise."""


def survey(
    loop: Loop,
    directory: str,
    request: Deploy,
    limit: float,
    told: Callable[[Needs], None],
    failed: Callable[[Failure], None],
    guards: Guards,
) -> Start:
    """Run a program up to `init()`, and kill it and all that it has started.

    Args:
        loop: The service's.
        directory: Where the program is laid out.
        request: How it is to be run.
        limit: Seconds that it may take.
        told: Called with what it needs.
        failed: Called in place of that.
        guards: The service's.

    Raises:
        OSError: It cannot be started.
    """

    def answered(message: FromNewborn) -> None:
        # It is the user's code that could say something else.
        if isinstance(message, Needs) and _possible(message):
            told(message)
        else:
            failed(Failure(f"the program needs what cannot be: {message}"))

    program = Program(
        directory,
        [os.fsdecode(each) for each in request.arguments],
        environment_here(os.environ, request.environ),
    )
    return Start(
        loop,
        program,
        Survey(nonce=b""),
        limit=limit,
        cure="move what takes long after init(), or give --recce more seconds, or --mem and --cpu",
        told=answered,
        failed=failed,
        guards=guards,
    )


def _possible(needs: Needs) -> bool:
    try:
        Mem(needs.mem)
        Cpu(needs.cpu)
    except ValueError:
        return False
    return True
