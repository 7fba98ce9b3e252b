"""What a node has promised, and what of it runs. Pure.

A placement is *held* from when the master has placed it until its process is dead, or it was
withdrawn, or its program has left the node. Its master is told of each change once; one that
comes late, or twice, is answered as it is now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from constellation.control.messages import Status
from constellation_daemons.messages import Exited, FromNode, Held, Place, Started, Withdraw

__all__ = ["Ledger"]


@dataclass(slots=True)
class _Placement:
    place: Place
    pid: bytes | None = None


class Ledger:
    """The accounts of a node."""

    def __init__(self) -> None:
        self._programs: dict[bytes, dict[int, _Placement]] = {}

    def place(self, place: Place) -> bool:
        """Hold this. Whether it is new: a later attempt takes the place of an earlier one."""
        program = self._programs.setdefault(place.program, {})
        known = program.get(place.number)
        if known is not None and known.place.attempt >= place.attempt:
            return False
        program[place.number] = _Placement(place, None if known is None else known.pid)
        return known is None

    def running(self, program: bytes, number: int, pid: bytes) -> list[FromNode]:
        """A process exists. Gives what the master is told."""
        placement = self._find(program, number)
        if placement is None:
            return []
        placement.pid = pid
        return [Started(program, number, placement.place.attempt, pid)]

    def name(self, program: bytes, number: int) -> str:
        """What a process is called, for people: its Pid, where it is known."""
        placement = self._find(program, number)
        if placement is None or placement.pid is None:
            return f"number {number}"
        return placement.pid.hex()[:7]

    def dead(self, program: bytes, number: int, status: Status) -> list[FromNode]:
        """A process is dead, or will not be. Gives what the master is told."""
        placement = self._programs.get(program, {}).pop(number, None)
        if placement is None:
            return []
        if not self._programs[program]:
            del self._programs[program]
        return [Exited(program, number, placement.place.attempt, status)]

    def gone(self, program: bytes, reason: str, *, stays: bool = False) -> list[FromNode]:
        """A program has left the node. Gives what the master is told.

        Args:
            program: Which.
            reason: Why.
            stays: Whether what was not started is still held, for the program's next agent.
        """
        status = Status(lost=reason)
        placements = self._programs.pop(program, {})
        kept = {number: each for number, each in placements.items() if stays and each.pid is None}
        if kept:
            self._programs[program] = kept
        return [
            Exited(program, number, placement.place.attempt, status)
            for number, placement in placements.items()
            if number not in kept
        ]

    def unstarted(self, program: bytes) -> dict[int, Place]:
        """What of a program is held, and is no process yet."""
        placements = self._programs.get(program, {}).items()
        return {number: each.place for number, each in placements if each.pid is None}

    def withdraw(self, message: Withdraw) -> tuple[bool, list[FromNode]]:
        """The master wants something ended.

        Returns:
            Whether a process is to be killed for it, and what the master is told.
        """
        program, number, attempt = message.program, message.number, message.attempt
        placement = self._find(program, number)
        if placement is None:
            return False, [Exited(program, number, attempt)]
        if placement.place.attempt > attempt:
            return False, []
        if placement.pid is not None:
            return True, []
        # The agent may be making it right now: it is killed if it comes into being.
        return True, self.dead(program, number, Status(lost="withdrawn"))

    def holds(self, program: bytes) -> bool:
        """Whether something of a program is held."""
        return program in self._programs

    def held(self) -> Iterator[Held]:
        """All that is held, for a master that asks."""
        for program in self._programs.values():
            for placement in program.values():
                place = placement.place
                yield Held(
                    place.program,
                    place.number,
                    place.attempt,
                    place.mem,
                    place.cpu,
                    placement.pid,
                    place.bridge,
                )

    def _find(self, program: bytes, number: int) -> _Placement | None:
        return self._programs.get(program, {}).get(number)
