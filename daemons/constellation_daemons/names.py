"""Host names are looked up aside: the name service may take longer than a service may be silent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from constellation.address import Address, UnknownHost
from constellation.session.loop import Loop
from constellation_daemons.aside import Aside

__all__ = ["Names"]

_AT_ONCE = 8


class Names:
    """Looks up host names, a few at once.

    Args:
        loop: The service's.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._busy = 0
        self._waiting: deque[Callable[[], None]] = deque()

    def find(
        self,
        address: Address,
        found: Callable[[list[Address]], None],
        unknown: Callable[[UnknownHost], None],
    ) -> None:
        """Find the numeric addresses that an address stands for.

        Args:
            address: One with a name or a number.
            found: Called with them; at once where nothing is to be looked up. There is one or more.
            unknown: Called in place of that.
        """
        if not address.is_name:
            found([address])
            return

        def failed(error: Exception) -> None:
            self._done()
            known = isinstance(error, UnknownHost)
            unknown(error if known else UnknownHost(address.host, str(error)))  # type: ignore[arg-type]

        def done(addresses: list[Address]) -> None:
            self._done()
            found(addresses)

        self._waiting.append(lambda: _start(self._loop, address, done, failed))
        self._next()

    def _done(self) -> None:
        self._busy -= 1
        self._next()

    def _next(self) -> None:
        while self._waiting and self._busy < _AT_ONCE:
            self._busy += 1
            self._waiting.popleft()()


def _start(
    loop: Loop,
    address: Address,
    done: Callable[[list[Address]], None],
    failed: Callable[[Exception], None],
) -> None:
    Aside(loop, address.resolve, done, failed)
