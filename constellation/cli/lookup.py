"""Looking up a host name, which Ctrl-C ends."""

from __future__ import annotations

import threading

from constellation.address import Address
from constellation.errors import ConstellationError

__all__ = ["endpoints_of"]


def endpoints_of(address: Address) -> list[str]:
    """Where an address is, as ZeroMQ writes it: numeric ones.

    Raises:
        UnknownHost: The host name stands for nothing.
    """
    if not address.is_name:
        return [address.endpoint]
    found: list[Address] = []
    failed: list[ConstellationError] = []

    def look_up() -> None:
        try:
            found.extend(address.resolve())
        except ConstellationError as error:
            failed.append(error)

    # The system's own look-up heeds no signals, and waits for a name service that is not there for
    # many seconds. A thread that is waited for can be left.
    thread = threading.Thread(target=look_up, name="cst-lookup", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return [each.endpoint for each in found]
