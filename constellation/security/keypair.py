"""A CURVE keypair, and how it is handed to a child process."""

from __future__ import annotations

import hashlib
import os
import struct
from typing import Final, NoReturn

import zmq
from zmq.utils import z85

__all__ = ["Keypair", "receive_key", "send_key"]

_TEXT_SIZE: Final = 40
"""Characters of a key as Z85 writes it, which is 32 bytes."""

_MARK: Final = b"constellation-keypair-1\n"
"""What a keypair begins with where it is handed over, so that nothing else is taken for one."""


class Keypair:
    """A public key and the secret key that belongs to it. Immutable; compares by value.

    Neither half is ever shown: a peer has to know the public key of a service to talk to it, so in
    a cluster whose members share one keypair that is a secret as well. It does not pickle either,
    since what pickles gets into messages.

    Attributes:
        public: The public key, as Z85 text of 40 characters.
        secret: The secret key, the same way.

    Raises:
        ValueError: These are no keys, or do not belong together.
    """

    __slots__ = ("public", "secret")

    public: bytes
    secret: bytes

    def __init__(self, public: bytes, secret: bytes) -> None:
        _check_text(public, "public")
        _check_text(secret, "secret")
        if zmq.curve_public(secret) != public:
            raise ValueError("the public key is not that of the secret key")
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "secret", secret)

    @classmethod
    def new(cls) -> Keypair:
        """Make a keypair that nobody else has."""
        return cls(*zmq.curve_keypair())

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits by which people can tell keypairs apart. Gives nothing away."""
        return hashlib.sha256(b"constellation fingerprint " + self.public).hexdigest()[:16]

    @property
    def public_bytes(self) -> bytes:
        """The 32 bytes of the public key, as a peer that proves to have it is announced."""
        return z85.decode(self.public)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Keypair is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Keypair is immutable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Keypair):
            return NotImplemented
        return self.public == other.public

    def __hash__(self) -> int:
        return hash(self.public)

    def __repr__(self) -> str:
        return f"<Keypair {self.fingerprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Keypair does not pickle: keys are handed on by a descriptor (send_key)")


def send_key(descriptor: int, keypair: Keypair) -> None:
    """Write a keypair to a pipe or socket that one process reads: a child that inherits it.

    The descriptor blocks, stays open and is the caller's; an empty pipe takes it at once.

    Raises:
        OSError: Nobody reads there any more.
    """
    left = memoryview(_MARK + keypair.public + keypair.secret)
    while left:
        left = left[os.write(descriptor, left) :]


def receive_key(descriptor: int) -> Keypair:
    """Read the keypair that ``send_key`` wrote, and nothing beyond it.

    The descriptor blocks, stays open and is the caller's.

    Raises:
        EOFError: The other end was closed before the keypair was complete.
        ValueError: What came is none.
    """
    size = len(_MARK) + 2 * _TEXT_SIZE
    data = b""
    while len(data) < size:
        more = os.read(descriptor, size - len(data))
        if not more:
            raise EOFError(
                f"the descriptor {descriptor} ended after {len(data)} of the {size} bytes of a key"
            )
        data += more
        if not data.startswith(_MARK[: len(data)]):
            raise ValueError(f"what came over the descriptor {descriptor} is no key")
    keys = data.removeprefix(_MARK)
    return Keypair(keys[:_TEXT_SIZE], keys[_TEXT_SIZE:])


def _check_text(key: object, which: str) -> None:
    # What was given is no part of the errors: it may be most of a key.
    if not isinstance(key, bytes) or len(key) != _TEXT_SIZE:
        raise ValueError(f"a {which} key is {_TEXT_SIZE} characters of Z85 text")
    try:
        z85.decode(key)
    except (KeyError, struct.error):
        raise ValueError(f"the {which} key has characters that Z85 text has not") from None
