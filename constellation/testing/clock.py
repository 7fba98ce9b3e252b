"""A clock that stands still."""

from __future__ import annotations

__all__ = ["ManualClock"]


class ManualClock:
    """A clock that goes on only when it is told to.

    Args:
        now: The time that it shows at first, in seconds.

    Attributes:
        now: The time that it shows, in seconds.
    """

    __slots__ = ("now",)

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ValueError: Time does not go back.
        """
        if seconds < 0:
            raise ValueError(f"time does not go back, not by {-seconds} seconds")
        self.now += seconds

    def __repr__(self) -> str:
        return f"ManualClock({self.now})"
