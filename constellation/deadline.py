"""One moment by which a wait of several steps must be over."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock, or never.

    Make one at the start of a wait, and give each step of it what then remains.

    Attributes:
        at: Seconds of :func:`time.monotonic`; None for never.
    """

    at: float | None

    NEVER: ClassVar[Deadline]
    """The deadline that does not come."""

    @classmethod
    def after(cls, seconds: float | None) -> Deadline:
        """The moment ``seconds`` from now; None is never.

        Nothing left, zero or less, is a deadline that has passed: a caller that computes its
        timeout may come out a little below zero.

        Raises:
            ValueError: ``seconds`` is not a number (NaN).
            TypeError: ``seconds`` is something else.
        """
        if seconds is None:
            return cls.NEVER
        if not isinstance(seconds, (int, float)):
            raise TypeError(
                f"a timeout is a number of seconds or None, not {type(seconds).__name__}"
            )
        if math.isnan(seconds):
            raise ValueError("a timeout is a number of seconds or None, not NaN")
        if seconds == math.inf:
            return cls.NEVER
        return cls(time.monotonic() + max(0.0, seconds))

    def remaining(self) -> float | None:
        """The seconds that are left, never below zero; None where the deadline never comes."""
        if self.at is None:
            return None
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the moment has come."""
        return self.at is not None and time.monotonic() >= self.at


Deadline.NEVER = Deadline(None)
