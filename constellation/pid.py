"""The name of a process."""

from __future__ import annotations

import os
import re
from typing import Final

import msgspec

KEY_SIZE: Final = 16
"""Bytes in the key of a :class:`Pid`."""

_EXAMPLE: Final = "3fecd01b7a5f4c0e9d2846b15c7e80aa@tcp://10.0.0.2:40001"
_URI: Final = re.compile(r"([0-9a-fA-F]{32})@(.+)", re.DOTALL)
_IPC: Final = "ipc://"
_ENDPOINT: Final = re.compile(r"tcp://[^/:@\s]+:(\d{1,5})|tcp://\[[^/\]\s]+\]:(\d{1,5})")


# A msgspec struct, since Pids are the keys of the transport's tables: hashing and comparing one
# takes 30 to 50 ns, where a frozen dataclass takes 100 to 120.
class Pid(msgspec.Struct, frozen=True, order=True, weakref=True):
    """The name of a process, unique in the whole cluster for all time.

    Pids are immutable, hashable, ordered and picklable, and may be sent over any channel.
    ``str(pid)`` is short, for people. :attr:`uri` is complete, for other programs.

    Attributes:
        key: 16 random bytes. They alone would name the process.
        endpoint: Where the process listens, as ZeroMQ writes it: ``tcp://10.0.0.2:40001`` or
            ``ipc:///run/some/path``.

    Raises:
        ValueError: The key has not 16 bytes, or the endpoint is not one.
    """

    key: bytes
    endpoint: str

    def __post_init__(self) -> None:
        if not isinstance(self.key, bytes) or len(self.key) != KEY_SIZE:
            raise ValueError(f"the key of a Pid is {KEY_SIZE} bytes, not {self.key!r}")
        if not _is_endpoint(self.endpoint):
            raise ValueError(
                f"{self.endpoint!r} is no endpoint of a process; "
                'one looks like "tcp://10.0.0.2:40001" or "ipc:///tmp/cst-x/p"'
            )

    @classmethod
    def new(cls, endpoint: str) -> Pid:
        """Make the Pid of a new process that listens at ``endpoint``."""
        # The operating system's randomness: a forked process must not repeat its parent's keys.
        return cls(os.urandom(KEY_SIZE), endpoint)

    @classmethod
    def parse(cls, uri: str) -> Pid:
        """Read the full form of a Pid back: ``Pid.parse(pid.uri) == pid``.

        Raises:
            ValueError: ``uri`` is not the full form of a Pid.
            TypeError: It is no text.
        """
        if not isinstance(uri, str):
            raise TypeError(
                f"Pid.parse() takes the full form of a Pid as text, such as {_EXAMPLE!r}, "
                f"not {uri!r}"
            )
        match = _URI.fullmatch(uri)
        if match is None or not _is_endpoint(match[2]):
            raise ValueError(
                f"{uri!r} is not the full form of a Pid; one (pid.uri) looks like {_EXAMPLE!r}"
            )
        return cls(bytes.fromhex(match[1]), match[2])

    @property
    def hex(self) -> str:
        """The whole key, as 32 hexadecimal digits."""
        return self.key.hex()

    @property
    def uri(self) -> str:
        """The full form, ``<32 hex digits>@<endpoint>``, which :meth:`parse` reads."""
        return f"{self.key.hex()}@{self.endpoint}"

    def __str__(self) -> str:
        return self.key.hex()[:7]

    def __repr__(self) -> str:
        return f"Pid({self})"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def _is_endpoint(text: object) -> bool:
    # Printable, so that a Pid never breaks a line of a log, and always encodes as UTF-8.
    if not isinstance(text, str) or not text.isprintable():
        return False
    if text.startswith(_IPC):
        return len(text) > len(_IPC)
    match = _ENDPOINT.fullmatch(text)
    return match is not None and 0 < int(match[1] or match[2]) < 65536
