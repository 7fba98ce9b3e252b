"""What a master and its own node say to each other over the lifeline.

That is little: what matters is that it ends when one of them does.
"""

from __future__ import annotations

import platform

import msgspec

from constellation.control.messages import Message
from constellation.version import VERSION

__all__ = [
    "TAKEN",
    "FromMaster",
    "NodeSetup",
    "Serves",
    "Tie",
    "Tied",
    "ToMaster",
    "Unfit",
    "from_master",
    "misfit",
    "to_master",
]

TAKEN = 75
"""The exit code of a node whose place another one has."""


class NodeSetup(Message, frozen=True):
    """Be a node; this is your lifeline.

    Attributes:
        listens: Where the master listens, and by that where the node does for all others.
        host: The first address of that in numbers.
        store: The directory of the store.
        store_limit: Its size in bytes.
        trees: The directory in which programs are laid out.
        seats: The directory in which it has its place.
        public: The public key of the cluster, if connections are secured.
        secret: The secret one.
    """

    listens: str
    host: str
    store: str
    store_limit: int
    trees: str
    seats: str
    public: bytes | None
    secret: bytes | None


class Tie(Message, frozen=True):
    """I am the master now that listens where you do. With it comes my standard error.

    Attributes:
        version: Of constellation.
        python: Of Python.
        public: The public key of the cluster, if connections are secured.
        level: From which level on messages are logged.
        form: How they are.
    """

    version: str
    python: str
    public: bytes | None
    level: int
    form: str


class Tied(Message, frozen=True):
    """I take you for my master, and a session."""


class Unfit(Message, frozen=True):
    """I cannot serve you.

    Attributes:
        reason: Why.
    """

    reason: str


class Serves(Message, frozen=True):
    """I have a master that lives."""


FromMaster = NodeSetup | Tie
ToMaster = Tied | Unfit | Serves

from_master = msgspec.msgpack.Decoder(FromMaster)
to_master = msgspec.msgpack.Decoder(ToMaster)


def misfit(tie: Tie, public: bytes | None) -> str | None:
    """Why the node in this process, which has this key, cannot serve a master; None: it can."""
    own = platform.python_version()
    if tie.version != VERSION:
        return f"it has constellation {VERSION}, and this master {tie.version}"
    if tie.python.split(".")[:2] != own.split(".")[:2]:
        return f"it has Python {own}, and this master {tie.python}"
    if tie.public != public:
        return "it has another key of the cluster than this master"
    return None
