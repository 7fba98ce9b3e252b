"""What a new process is given, from the message that asks for its fork."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from constellation.control.messages import Fork, ToProcess
from constellation.control.stream import MessageStream
from constellation.pid import Pid
from constellation.process import descriptors
from constellation.process.identity import Newborn

if TYPE_CHECKING:
    from constellation.process.deployed import Deployed
    from constellation.transport.network import Network

_to_process = msgspec.msgpack.Decoder(ToProcess)


def take(
    fork: Fork, stream: MessageStream[Any], directory: str, deployed: Deployed | None
) -> tuple[Newborn, int, int | None]:
    """Take what has come with the message.

    Args:
        fork: The message.
        stream: Where it has come.
        directory: The program's runtime directory.
        deployed: What a program has that runs on a cluster; None: it runs natively.

    Returns:
        The process, the descriptor of its monitor's control stream, and that of what becomes its
        standard input, or None.

    Raises:
        ControlError: Fewer descriptors have come.
    """
    listener, control, monitor_control, *rest = stream.take_descriptors(3 + fork.near + fork.stdin)
    near = rest.pop(0) if fork.near else None
    newborn = Newborn(
        Pid(fork.key, fork.endpoint),
        fork.initial,
        descriptors.adopt_socket(listener),
        MessageStream(descriptors.adopt_socket(control), _to_process),
        network=None if near is None else _network(near, directory, deployed),
    )
    return newborn, monitor_control, rest[0] if rest else None


def _network(listener: int, directory: str, deployed: Deployed | None) -> Network:
    from constellation.transport.network import Network  # native programs go without

    security = None if deployed is None else deployed.security
    return Network(directory, descriptors.adopt_socket(listener), security)
