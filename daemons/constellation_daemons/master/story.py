"""What a scheduler was told last, and what it answered: for errors, and to replay as a test."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from constellation_daemons.master.events import Event
from constellation_daemons.master.instructions import Instruction

_LENGTH: Final = 200
_SHOWN: Final = 8  # instructions of one event; a node that is lost has thousands


class Story:
    """The last 200 events. Their text is made only when it is asked for."""

    __slots__ = ("_chapters", "add")

    def __init__(self) -> None:
        self._chapters: deque[tuple[float, Event | None, Sequence[Instruction]]]
        self._chapters = deque(maxlen=_LENGTH)
        self.add = self._chapters.append

    def events(self) -> list[tuple[float, Event | None]]:
        """The moments and the events of it; None is a tick."""
        return [(moment, event) for moment, event, _ in self._chapters]

    def lines(self) -> tuple[str, ...]:
        """A line for each event (``<``), and one for each instruction that it led to (``>``)."""
        lines = []
        for moment, event, instructions in self._chapters:
            lines.append(f"{moment:.3f} < {'tick' if event is None else repr(event)}")
            lines += [f"{moment:.3f} > {instruction!r}" for instruction in instructions[:_SHOWN]]
            if len(instructions) > _SHOWN:
                lines.append(f"{moment:.3f} > and {len(instructions) - _SHOWN} more")
        return tuple(lines)
