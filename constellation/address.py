"""Where services and processes listen, as people write it: ``10.0.0.2:9999``, ``40000-40999``."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from constellation.errors import ConstellationError

__all__ = ["Address", "PortRange", "UnknownHost"]

_EXAMPLE: Final = 'one looks like "10.0.0.2:9999", "[fd00::1]:9999" or "node7.example:9999"'

# More than any address needs: 253 characters of name and a port.
_LONGEST_TEXT: Final = 512
_LONGEST_NAME: Final = 253

_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_RANGE: Final = re.compile(r"([0-9]{1,5})\s*-\s*([0-9]{1,5})", re.ASCII)
_ZONE: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)


class UnknownHost(ConstellationError):
    """A host name has no address that is known.

    Attributes:
        host: The name.
        reason: What the name service says.
        temporary: Whether it could not say: it may know another time.
        exit_code: Of a command that fails for it: 2, where the name is wrong.
    """

    def __init__(self, host: str, reason: str, temporary: bool = False) -> None:
        super().__init__(host, reason, temporary)
        self.host = host
        self.reason = reason
        self.temporary = temporary
        self.exit_code = 1 if temporary else 2

    def __str__(self) -> str:
        return f"the host name {self.host!r} has no known address: {self.reason}"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A host and a port of TCP. Immutable, hashable and ordered.

    The same host is the same value however it was written: ``[FD00:0::1]`` is ``[fd00::1]``, and
    names are lower case. ``Address.parse(str(address)) == address`` always.

    Attributes:
        host: An IPv4 address, an IPv6 address without brackets, or a host name.
        port: 0 to 65535. 0 is any free port, and only of use to listen at.

    Raises:
        ValueError: The host is none, or the port is out of range.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        if isinstance(self.port, bool) or not isinstance(self.port, int):
            raise ValueError(f"{self.port!r} is no port; one is a number from 0 to 65535")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"{self.port} is no port; one is a number from 0 to 65535")
        object.__setattr__(self, "host", _normal(self.host))

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address.

        Raises:
            ValueError: It is none. The text says what is wrong with it, and shows a right one.
        """
        try:
            host, port = _split(text)
            return cls(host, port)
        except ValueError as error:
            shown = text if len(text) <= _LONGEST_TEXT else text[:40] + "..."
            raise ValueError(f"{shown!r} is no address: {error}; {_EXAMPLE}") from None

    @classmethod
    def parse_remote(cls, text: str) -> Address:
        """Read an address that is to be connected to.

        Raises:
            ValueError: It is none, or one can only listen there: at all addresses of a machine, or
                at any free port.
        """
        address = cls.parse(text)
        if not address.is_remote:
            raise ValueError(f"{address} is where one can listen, and not connect to; {_EXAMPLE}")
        return address

    @property
    def endpoint(self) -> str:
        """The address as ZeroMQ writes it: ``tcp://[fd00::1]:9999``."""
        return f"tcp://{self}"

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address. Of a name that is not known without asking."""
        return ":" in self.host

    @property
    def is_name(self) -> bool:
        """Whether the host is a name, and no number."""
        return _number(self.host) is None

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it.

        Of the names only ``localhost``, and those that end in it, are known to be; see
        :meth:`resolve` for others.
        """
        number = _number(self.host)
        if number is None:
            return self.host == "localhost" or self.host.endswith(".localhost")
        return _unmapped(number).is_loopback

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for all addresses of the machine (``0.0.0.0``, ``[::]``).

        One can listen there, and not connect to it.
        """
        number = _number(self.host)
        return number is not None and _unmapped(number).is_unspecified

    @property
    def is_remote(self) -> bool:
        """Whether others can connect to it: it says which machine it is, and which port."""
        return not self.vague

    @property
    def vague(self) -> str:
        """What keeps others from connecting to it, in words; empty if nothing does."""
        if self.is_wildcard:
            return "all addresses of this machine"
        return "" if self.port else "any free port of this machine"

    def resolve(self) -> list[Address]:
        """The numeric addresses that the host name stands for, without repeats.

        May take as long as the name service does. A numeric address is the only one of its own.

        Raises:
            UnknownHost: The name service knows no address of the name.
        """
        if not self.is_name:
            return [self]
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            temporary = error.errno == socket.EAI_AGAIN
            raise UnknownHost(self.host, error.strerror or str(error), temporary) from None
        hosts = (str(sockaddr[0]) for _, _, _, _, sockaddr in found)
        return list(dict.fromkeys(Address(host, self.port) for host in hosts))

    def with_port(self, port: int) -> Address:
        """The same host with another port.

        Raises:
            ValueError: The port is out of range.
        """
        return Address(self.host, port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f'Address("{self}")'

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports that processes may listen at, the last one included. Immutable and hashable.

    Attributes:
        first: 1 to 65535.
        last: The same; not below `first`.

    Raises:
        ValueError: It is no such range.
    """

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 < self.first <= self.last <= 65535:
            raise ValueError(
                f"{self} is no range of ports; they are from 1 to 65535, and the last is not below "
                'the first, as in "40000-40999"'
            )

    @classmethod
    def parse(cls, text: str) -> PortRange:
        """Read a range: ``40000-40999``.

        Raises:
            ValueError: It is none.
        """
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'{text!r:.80} is no range of ports; one looks like "40000-40999"')
        return cls(int(match[1]), int(match[2]))

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __contains__(self, port: object) -> bool:
        return port in range(self.first, self.last + 1)

    def __len__(self) -> int:
        return self.last + 1 - self.first

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def _split(text: str) -> tuple[str, int]:
    if len(text) > _LONGEST_TEXT:
        raise ValueError("it is too long")
    if "://" in text:
        raise ValueError("it begins with the name of a protocol, which is left out")
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        raise ValueError("it has no port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise ValueError("only an IPv6 address is written in brackets")
    elif ":" in host:
        raise ValueError("an IPv6 address is written in brackets, before the port")
    if not _PORT.fullmatch(port):
        raise ValueError(f"its port is {port!r}, and no number from 0 to 65535")
    return host, int(port)


def _normal(host: object) -> str:
    """The one way to write this host. Raises ValueError where it is none."""
    if not isinstance(host, str):
        raise ValueError(f"{host!r} is no host; one is text, such as '10.0.0.2'")
    if not host:
        raise ValueError("it has no host")
    if host == "*":
        raise ValueError('all addresses of a machine are "0.0.0.0", or "[::]" with those of IPv6')
    number = _number(host)
    if number is not None:
        return str(number)
    if ":" in host:
        raise ValueError(f"{host!r} is no IPv6 address")
    return _normal_name(host)


def _normal_name(host: str) -> str:
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    # A name whose last part is a number would be taken for an IPv4 address by some, not by others.
    if labels[-1].isdigit():
        raise ValueError(f"{host!r} is no IPv4 address")
    if len(name) > _LONGEST_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError(f"{host!r} is no host name")
    return name


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return None
    # The zone names an interface of this machine, of which `ipaddress` takes any text.
    if number.version == 6 and number.scope_id is not None and not _ZONE.fullmatch(number.scope_id):
        return None
    return number


def _unmapped(
    number: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 address wraps, or the address itself."""
    if number.version == 6 and number.ipv4_mapped is not None:
        return number.ipv4_mapped
    return number
