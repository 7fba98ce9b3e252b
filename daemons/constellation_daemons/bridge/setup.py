"""What a bridge is told by its node."""

from __future__ import annotations

import msgspec

from constellation.control.messages import Message

__all__ = ["BridgeSetup", "FromNode", "MoveLog", "Rest", "from_node"]


class BridgeSetup(Message, frozen=True):
    """Be a bridge.

    Attributes:
        bind: The address to listen at.
        endpoint: Where agents reach it.
        master: Where the master is reached.
        timeout: Seconds of silence after which somebody is lost.
        store: The directory of the node's store, which it shares.
        store_limit: Its size in bytes.
        trees: The directory in which programs are laid out.
        public: The public key of the cluster, if connections are secured.
        secret: The secret one.
    """

    bind: str
    endpoint: str
    master: str
    timeout: float
    store: str
    store_limit: int
    trees: str
    public: bytes | None
    secret: bytes | None


class Rest(Message, frozen=True):
    """End as soon as nobody uses you, since there is no master.

    Attributes:
        wanted: Whether that is so; or it is not so any more.
    """

    wanted: bool


class MoveLog(Message, frozen=True):
    """Log to the descriptor that comes with this.

    Attributes:
        level: From which level on.
        form: How.
    """

    level: int
    form: str


FromNode = BridgeSetup | Rest | MoveLog

from_node = msgspec.msgpack.Decoder(FromNode)
