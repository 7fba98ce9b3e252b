"""For tests, of this library and of what is built on it: time and networks that obey.

Nothing here starts a thread, opens a socket or reads a clock.
"""

from __future__ import annotations

from constellation.testing.clock import ManualClock
from constellation.testing.network import End, Route, SimulatedNetwork

__all__ = ["End", "ManualClock", "Route", "SimulatedNetwork"]
