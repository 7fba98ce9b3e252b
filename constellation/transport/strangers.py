"""What is told of strangers, pure: little however many they are, and in little memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["Report", "Sight", "StrangerLog", "Tally"]

INTERVAL: Final = 10.0
"""Seconds between two lines, at least."""

_MOST_COUNTED: Final = 8
"""How many addresses, each with its place, are counted one by one; the rest together."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Strangers that were turned away.

    Attributes:
        address: Where they came from, as text; "" where that is not known; None: from several
            addresses that are not counted one by one.
        place: Where they knocked; "" where that is not known.
        why: What was wrong with the first of them.
        count: How many.
    """

    address: str | None
    place: str
    why: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be told.

    Attributes:
        sights: Of whom, the most frequent first.
        seconds: In what time they came; None: they are the first, and told of at once.
    """

    sights: tuple[Sight, ...]
    seconds: float | None = None


class Tally:
    """Counts strangers, and says when to tell of them: once in `interval` seconds, at most.

    The first is told at once. Those that come sooner than that are counted by address and place,
    and told together. Memory is bounded, since strangers choose how often they come.

    Args:
        interval: Seconds.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._told_at: float | None = None
        self._sights: dict[tuple[str | None, str], Sight] = {}
        self._others: Sight | None = None

    def seen(self, sight: Sight, now: float) -> Report | None:
        """Strangers were turned away. Gives what to tell now, or None.

        Args:
            sight: Of whom.
            now: Seconds of the monotonic clock.
        """
        if self._told_at is None or (now >= self._told_at + self._interval and not self._sights):
            self._told_at = now
            return Report((sight,))
        key = sight.address, sight.place
        if key in self._sights:
            self._sights[key] = _more(self._sights[key], sight)
        elif len(self._sights) < _MOST_COUNTED:
            self._sights[key] = sight
        else:
            self._others = _together(self._others, sight)
        return self.told(now)

    @property
    def deadline(self) -> float | None:
        """When :meth:`told` has something to tell; None where nobody waits to be told of."""
        if self._told_at is None or not self._sights:
            return None
        return self._told_at + self._interval

    def told(self, now: float) -> Report | None:
        """What to tell of those who were only counted, if it is time for it; or None."""
        deadline = self.deadline
        return None if deadline is None or now < deadline else self._report(now)

    def last(self, now: float) -> Report | None:
        """The same where nothing will be told any more, whether it is time for it or not."""
        return self._report(now) if self._sights else None

    def _report(self, now: float) -> Report:
        counted = sorted(self._sights.values(), key=lambda each: (-each.count, each.address or ""))
        sights = counted if self._others is None else [*counted, self._others]
        seconds = now - (self._told_at or 0.0)
        self._told_at = now
        self._sights.clear()
        self._others = None
        return Report(tuple(sights), seconds)


class StrangerLog:
    """Turns what is seen of strangers into lines for a log, at most one in `interval` seconds.

    Args:
        interval: Seconds.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._tally = Tally(interval)

    def seen(
        self, address: str | None, why: str, now: float, *, place: str = "", count: int = 1
    ) -> str | None:
        """Strangers were turned away. Gives the line to log now, or None.

        Args:
            address: Where they came from, as text; "" where that is not known; None: several.
            why: What was wrong with them, as text.
            now: Seconds of the monotonic clock.
            place: Where they knocked, such as ``port 9999``; "" where that is not known.
            count: How many.
        """
        if address is not None:
            address = _readable(address, "an unknown address")
        sight = Sight(address, place, _readable(why), count)
        return _line(self._tally.seen(sight, now))

    @property
    def deadline(self) -> float | None:
        """When :meth:`told` has something to tell; None where nobody waits to be told of."""
        return self._tally.deadline

    def told(self, now: float) -> str | None:
        """The line about those who were only counted, if it is time for it; or None."""
        return _line(self._tally.told(now))

    def last(self, now: float) -> str | None:
        """The line about those who were only counted, where nothing will be told any more."""
        return _line(self._tally.last(now))


def _more(known: Sight, sight: Sight) -> Sight:
    return Sight(known.address, known.place, known.why, known.count + sight.count)


def _together(others: Sight | None, sight: Sight) -> Sight:
    if others is None:
        return Sight(None, sight.place, sight.why, sight.count)
    place = others.place if others.place == sight.place else ""
    return Sight(None, place, others.why, others.count + sight.count)


def _line(report: Report | None) -> str | None:
    if report is None:
        return None
    if report.seconds is None:
        (sight,) = report.sights
        whom = sight.address or "elsewhere"
        if sight.count > 1 or sight.address is None:
            whom = f"{sight.count} from {whom}"
        return f"turned away {whom}{_at(sight.place)}: {sight.why}"
    places = {sight.place for sight in report.sights}
    common = places.pop() if len(places) == 1 else None
    parts = [
        f"{sight.count} from {sight.address or 'elsewhere'}"
        + (_at(sight.place) if common is None else "")
        for sight in report.sights
    ]
    total = sum(sight.count for sight in report.sights)
    place = _at(common or "")
    return f"turned away {total} more{place} in {report.seconds:.0f} s: {', '.join(parts)}"


def _at(place: str) -> str:
    return f" at {place}" if place else ""


def _readable(text: str, otherwise: str = "") -> str:
    """A text so that it breaks no line, and is not long."""
    if not text:
        return otherwise
    return text if text.isprintable() and len(text) <= 120 else repr(text)[:120]
