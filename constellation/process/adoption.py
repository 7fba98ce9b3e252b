"""How a process that was made ahead learns for whom it is.

Forking a process takes far longer than telling it what to run. So a process is forked, adapted and
connected first, and *then* waits for the word of the bridge that somebody wants it:
:class:`~constellation.control.messages.Adopt`. Mostly that word is there already. But once a
program has spawned, its bridge has one more process made while nothing is being spawned: the
*spare*, which the next spawn adopts (see `constellation.process.host`).

Until then nothing of the user's runs in it and all signals are blocked. Its monitor watches over it
as over any other, so it ends with the program at the latest.
"""

from __future__ import annotations

import os
import select

from constellation.control.messages import Adopt
from constellation.pid import Pid
from constellation.process.identity import Identity, Newborn
from constellation.resources import Resources


def adoption(parent: Pid | None, resources: Resources) -> Adopt:
    """What makes a launched process one of the program's.

    Args:
        parent: The process that spawned it; None for the initial process.
        resources: What it is given.
    """
    return Adopt(
        parent_key=None if parent is None else parent.key,
        parent_endpoint="" if parent is None else parent.endpoint,
        mem=int(resources.mem),
        cpu=float(resources.cpu),
    )


def await_adoption(newborn: Newborn) -> Identity:
    """Wait until the bridge says for whom this process is. Without a bridge it exits.

    Args:
        newborn: This process.
    """
    control = newborn.control
    try:
        while not (messages := control.receive()):
            poll = select.poll()
            poll.register(control.fileno(), select.POLLIN)
            poll.poll()
    except EOFError:
        os._exit(0)
    (adopt,) = messages
    assert isinstance(adopt, Adopt), "nothing else is said to a process that is nobody's"
    parent = None
    if adopt.parent_key is not None:
        parent = Pid(adopt.parent_key, adopt.parent_endpoint)
    return Identity(newborn.pid, parent, adopt.mem, adopt.cpu)
