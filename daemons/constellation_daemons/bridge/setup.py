"""What a bridge is told by its node."""

from __future__ import annotations

from constellation.control.messages import Message

__all__ = ["BridgeSetup"]


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
