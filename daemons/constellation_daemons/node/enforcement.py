"""Sees to it, on the node's loop, that programs do not leave the machine without memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol

from constellation.session.loop import Loop, Timer
from constellation_daemons.agent.limits import Use
from constellation_daemons.agent.messages import Weighed
from constellation_daemons.node.memory import memories
from constellation_daemons.node.pressure import Ask, Instruction, Kill, Memory, Pressure

__all__ = ["Agents", "Enforcement"]

logger = logging.getLogger(__name__)

_LOOK_AGAIN = 1.0
"""Seconds until the memory is looked at again that could not be."""


class Agents(Protocol):
    """The agents of a node."""

    def programs(self) -> Iterable[bytes]:
        """Those that have one."""

    def weigh(self, program: bytes, question: int) -> None:
        """Ask one for its worst process."""

    def condemn(self, program: bytes, number: int, cause: str) -> None:
        """Have one kill a process."""


class Enforcement:
    """Enforcement under pressure.

    Args:
        loop: The node's.
        node: What it is called.
        agents: Its agents.
        memories: How the memory stands.
    """

    def __init__(
        self,
        loop: Loop,
        node: str,
        agents: Agents,
        memories: Callable[[], Iterable[Memory]] = memories,
    ) -> None:
        self._loop = loop
        self._node = node
        self._agents = agents
        self._memories = memories
        self._pressure = Pressure()
        self._timer: Timer | None = None
        self._closed = False

    def wake(self) -> None:
        """There is an agent: look from now on."""
        if self._timer is None and not self._closed:
            self._timer = self._loop.at(self._pressure.deadline, self._pass_time)

    def weighed(self, program: bytes, message: Weighed) -> None:
        """An agent has answered."""
        use = None
        if message.number is not None:
            use = Use(message.number, message.used, message.mem)
        self._do(self._pressure.weighed(program, message.question, use, monotonic()))

    def dead(self, program: bytes, number: int) -> None:
        """A process is dead."""
        self._pressure.dead(program, number, monotonic())
        self._renew()

    def gone(self, program: bytes) -> None:
        """A program's agent is gone."""
        self._do(self._pressure.gone(program, monotonic()))

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass_time(self) -> None:
        self._timer = None
        programs = list(self._agents.programs())
        if not programs:
            return  # until there is one
        now = monotonic()
        if self._pressure.looking:
            try:
                memories = list(self._memories())
            except OSError as error:  # strangers may have taken all descriptors
                logger.warning("the memory cannot be looked at: %s", error.strerror)
                self._timer = self._loop.after(_LOOK_AGAIN, self._pass_time)
                return
            self._do(self._pressure.look(memories, programs, now))
        else:
            self._do(self._pressure.pass_time(now))
        self.wake()

    def _do(self, instructions: Iterable[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Ask(program, number):
                    self._agents.weigh(program, number)
                case Kill(program, use):
                    cause = use.cause(self._node, pressure=True)
                    self._agents.condemn(program, use.number, cause)
        self._renew()

    def _renew(self) -> None:
        """There may be something to do at another time than it was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.wake()
