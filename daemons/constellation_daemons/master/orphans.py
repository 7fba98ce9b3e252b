"""Programs whose bridge is gone. Pure.

A bridge that was only cut off comes back, and its programs go on; one that is started anew says by
that what has ended. But the machine of a bridge may be gone for good. Then whoever runs something
of its programs ends that, since it hears nothing of the bridge either. So a program has ended when
its bridge has stayed away, and nothing of it runs any more.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["Orphans"]


class Orphans:
    """Those that may still come back.

    Args:
        patience: Seconds that a bridge has to come back at least.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._since)

    def add(self, program: str, now: float) -> None:
        """The bridge of a program is not there."""
        self._since.setdefault(program, now)

    def remove(self, program: str) -> None:
        """It is there again, or the program has ended."""
        self._since.pop(program, None)

    def over(self, running: Collection[str], now: float) -> list[str]:
        """Those that have ended.

        Args:
            running: The programs of which some process runs.
            now: Monotonic seconds.
        """
        return [
            program
            for program, since in self._since.items()
            if now >= since + self._patience and program not in running
        ]
