"""The file that says which machines a cluster has: nodes.toml.

::

    [[nodes]]
    fabric_addr = "10.0.0.1:9999"     # where the node listens
    bridge_bind = "10.0.0.1:8888"     # run a bridge here
    mem = "100 GiB"                   # what programs may be given of this machine;
    cpu = 16                          # what it has, where this is left out
    enforce = "pressure"              # what becomes of who takes more memory than it asked for
    port_range = "40000-40999"        # where its processes listen; at any free port otherwise
    advertise = "203.0.113.7:9999"    # where others reach the node, if not where it listens

Only ``fabric_addr`` must be there.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from constellation.address import Address, UnknownHost
from constellation.errors import ConstellationError
from constellation_daemons.node_config import Node, Problem, Problems, nodes_of, spelled
from constellation_daemons.toml_lines import Path, key_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Config", "ConfigError", "load"]

logger = logging.getLogger(__name__)

_MOST: Final = 64 << 20
"""Bytes of the largest file that is read: far more than ten thousand nodes take."""

_MOST_TOLD: Final = 19
"""How many problems are told besides the first: one mistake may be in all of many tables."""

_AT_ONCE: Final = 16
"""Names that are looked up at the same time."""

_PLACE: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


class ConfigError(ConstellationError):
    """The file is not what it should be.

    Attributes:
        file: Which.
        line: On which line; None where that is not known.
        key: What it is about, such as ``nodes[1].mem``; "" where it is about the whole file.
        problem: What was expected, and what there is.
        others: What else is wrong with it, further down.
    """

    exit_code = 2

    def __init__(
        self,
        file: str,
        line: int | None,
        key: str,
        problem: str,
        others: Sequence[ConfigError] = (),
    ) -> None:
        super().__init__(file, line, key, problem, others)
        self.file = file
        self.line = line
        self.key = key
        self.problem = problem
        self.others = others

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        lines = [": ".join(part for part in (place, self.key, self.problem) if part)]
        lines += map(str, self.others[:_MOST_TOLD])
        if len(self.others) > _MOST_TOLD:
            lines.append(f"{self.file}: and {len(self.others) - _MOST_TOLD} more")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Config:
    """What nodes.toml says.

    Attributes:
        nodes: The machines, in the order of the file.
    """

    nodes: tuple[Node, ...]

    @property
    def addresses(self) -> Iterator[Address]:
        """Every address that is in it."""
        for node in self.nodes:
            for address in (node.fabric_addr, node.bridge_bind, node.advertise):
                if address is not None:
                    yield address

    @property
    def hidden_bridges(self) -> list[Node]:
        """Nodes with a bridge that nodes on other machines cannot connect to."""
        away = [node for node in self.nodes if not node.reached_at.is_loopback]
        return [
            node
            for node in self.nodes
            if node.bridge_bind is not None and node.bridge_bind.is_loopback
            if any(other is not node for other in away)
        ]

    @property
    def loopback_only(self) -> bool:
        """Whether none of it can be reached from other machines."""
        return all(address.is_loopback for address in self.addresses)


def load(
    file: str | os.PathLike[str], look_up: Callable[[Address], object] | None = None
) -> Config:
    """Read and check a file.

    Args:
        file: Its path.
        look_up: Raises UnknownHost for an address whose host name has none; None: names are not
            looked up. Where the name service cannot say it is logged.

    Raises:
        ConfigError: It cannot be read, or is not as it should be.
    """
    name = os.fspath(file)
    text = _text(name)
    document = _document(name, text)
    try:
        config = Config(nodes_of(document))
    except Problems as problems:
        raise _error(name, text, problems.found) from None
    if look_up is not None:
        _check_names(name, text, config.nodes, look_up)
    return config


def _error(name: str, text: str, problems: Iterable[Problem]) -> ConfigError:
    """What is wrong, in the order of the file."""
    lines = key_lines(text)
    errors = []
    for problem in problems:
        told = problem.text
        if problem.other in lines:
            told += f" (line {lines[problem.other]})"
        place = _line(lines, problem.path)
        errors.append(ConfigError(name, place, spelled(problem.path), told))
    first, *others = sorted(errors, key=lambda error: error.line or 0)
    first.others = others
    return first


def _check_names(
    name: str, text: str, nodes: Iterable[Node], look_up: Callable[[Address], object]
) -> None:
    """See that others can be reached by their names: all that the cluster connects to."""

    def unknown(address: Address) -> UnknownHost | None:
        try:
            look_up(address)
        except UnknownHost as error:
            return error
        return None

    named: dict[Path, Address] = {}
    for index, node in enumerate(nodes):
        reached = "fabric_addr" if node.advertise is None else "advertise"
        for key, address in ((reached, node.reached_at), ("bridge_bind", node.bridge_bind)):
            if address is not None and address.is_name:
                named["nodes", index, key] = address
    hosts = {address.host: address for address in named.values()}
    with ThreadPoolExecutor(_AT_ONCE) as executor:
        found = dict(zip(hosts, executor.map(unknown, hosts.values()), strict=True))
    wrong: list[Problem] = []
    for path, address in named.items():
        error = found[address.host]
        if error is None:
            continue
        problem = Problem(path, f"expected a host that can be found, but {error}")
        if error.temporary:
            logger.warning("%s; it is tried again", _error(name, text, [problem]))
        else:
            wrong.append(problem)
    if wrong:
        raise _error(name, text, wrong)


def _line(lines: dict[Path, int], path: Path) -> int | None:
    """The line of what is under a path, or of the table that should have it."""
    while path not in lines:
        if not path:
            return None
        path = path[:-1]
    return lines[path]


def _text(name: str) -> str:
    expected = "expected a file with tables [[nodes]]"
    try:
        with open(name, "rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise ConfigError(name, None, "", f"{expected}, got none: {error.strerror}") from None
    if len(data) > _MOST:
        raise ConfigError(name, None, "", f"{expected}, got one of more than {_MOST >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"the byte 0x{data[error.start]:02x}"
        raise ConfigError(name, line, "", f"expected text in UTF-8, got {byte}") from None


def _document(name: str, text: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = tomllib.loads(text)
        return document
    except ValueError as error:  # of the library, or of Python about a number of 5000 digits
        problem, line = str(error), None
        match = _PLACE.fullmatch(problem)
        if match is not None:
            problem = match[1]
            line = int(match[2] or text.rstrip("\n").count("\n") + 1)
            problem += f" (column {match[3]})" if match[3] else " before the end of the file"
        raise ConfigError(name, line, "", f"this is no TOML: {problem}") from None
    except RecursionError:
        raise ConfigError(name, None, "", "arrays and tables are nested too deeply") from None
