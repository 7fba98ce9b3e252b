"""What is told of strangers, pure: few lines however many they are, and little memory."""

from __future__ import annotations

from typing import Final

__all__ = ["StrangerLog"]

INTERVAL: Final = 10.0
"""Seconds between two lines, at least."""

_MOST_ADDRESSES: Final = 8
"""How many addresses are counted one by one; the rest are counted together."""


class StrangerLog:
    """Turns what is seen of strangers into lines for a log, at most one in `interval` seconds.

    The first is told at once. Those that come sooner than the next line may are counted by address,
    and told together. Memory is bounded, since strangers choose how often they come.

    Args:
        interval: Seconds.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._told_at: float | None = None
        self._counts: dict[str, int] = {}
        self._others = 0

    def seen(self, address: str, why: str, now: float) -> str | None:
        """A stranger was turned away. Gives the line to log now, or None.

        Args:
            address: Where it came from, as text; "" where that is not known.
            why: What was wrong with it.
            now: Seconds of the monotonic clock.
        """
        if self._told_at is None or (now >= self._told_at + self._interval and not self._pending):
            self._told_at = now
            return f"turned away {_readable(address)}: {why}"
        address = _readable(address)
        if address in self._counts or len(self._counts) < _MOST_ADDRESSES:
            self._counts[address] = self._counts.get(address, 0) + 1
        else:
            self._others += 1
        return self.told(now)

    @property
    def deadline(self) -> float | None:
        """When :meth:`told` has something to tell; None where nobody waits to be told of."""
        if self._told_at is None or not self._pending:
            return None
        return self._told_at + self._interval

    def told(self, now: float) -> str | None:
        """The line about those who were only counted, if it is time for it; or None."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return None
        return self._summary(now)

    def last(self, now: float) -> str | None:
        """The line about those who were only counted, where nothing will be told any more."""
        return self._summary(now) if self._pending else None

    @property
    def _pending(self) -> bool:
        return bool(self._counts)

    def _summary(self, now: float) -> str:
        counts = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        parts = [f"{count} from {address}" for address, count in counts]
        if self._others:
            parts.append(f"{self._others} from elsewhere")
        total = sum(self._counts.values()) + self._others
        since = now - (self._told_at or 0.0)
        self._told_at = now
        self._counts.clear()
        self._others = 0
        return f"turned away {total} more in {since:.0f} s: {', '.join(parts)}"


def _readable(address: str) -> str:
    if not address:
        return "an unknown address"
    # Whatever it is, it is short and breaks no line.
    return address if address.isprintable() and len(address) <= 64 else repr(address)[:64]
