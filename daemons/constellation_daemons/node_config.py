"""What nodes.toml says of each node, and the rules for it, pure: from what TOML holds to values."""

from __future__ import annotations

import difflib
import enum
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from constellation.address import Address, PortRange
from constellation.units import Cpu, Mem, TooMuch
from constellation_daemons.toml_lines import Path

__all__ = ["Enforce", "Node", "Problem", "Problems", "nodes_of", "spelled"]


class Enforce(str, enum.Enum):
    """What becomes of a process that takes more memory than it asked for."""

    PRESSURE = "pressure"
    """It is stopped when the machine is short of memory, the worst one first."""
    STRICT = "strict"
    """It is stopped at once."""
    OFF = "off"
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of the cluster.

    Attributes:
        fabric_addr: Where its node listens.
        bridge_bind: Where a bridge listens there; None: there is no bridge.
        mem: What programs may be given of its memory; None: what the machine has.
        cpu: The same of its processor.
        enforce: What becomes of who takes more memory than it asked for.
        port_range: Where its processes listen; None: at any free port.
        advertise: Where others reach its node; None: where it listens.
    """

    fabric_addr: Address
    bridge_bind: Address | None = None
    mem: Mem | None = None
    cpu: Cpu | None = None
    enforce: Enforce = Enforce.PRESSURE
    port_range: PortRange | None = None
    advertise: Address | None = None

    @property
    def reached_at(self) -> Address:
        """Where others reach the node."""
        return self.fabric_addr if self.advertise is None else self.advertise


class Problems(Exception):
    """The file is not as it should be.

    Attributes:
        found: All that is wrong with it.
    """

    def __init__(self, found: Sequence[Problem]) -> None:
        super().__init__(found)
        self.found = found


class Problem(Exception):
    """Something in the file is not as it should be.

    Attributes:
        path: Where.
        text: What was expected there, and what there is.
        other: A second place that the text is about, and ends with; () where there is none.
    """

    def __init__(self, path: Path, text: str, other: Path = ()) -> None:
        super().__init__(path, text, other)
        self.path = path
        self.text = text
        self.other = other


def nodes_of(document: dict[str, Any]) -> tuple[Node, ...]:
    """The nodes of a file.

    Args:
        document: What was read from it.

    Raises:
        Problems: It is not what nodes.toml should be.
    """
    found = list(_unknown_keys((), document, ["nodes"]))
    if found and "nodes" not in document:
        raise Problems(found)  # a key that was mistyped is missing too, and is one mistake
    nodes: dict[int, Node] = {}
    try:
        for index, table in enumerate(_tables(document)):
            node = _node(("nodes", index), table, found)
            if node is not None:
                nodes[index] = node
    except Problem as problem:
        found.append(problem)
    found += _not_apart(nodes)
    if found:
        raise Problems(found)
    return tuple(nodes.values())


def _tables(document: dict[str, Any]) -> list[object]:
    tables = document.get("nodes")
    if isinstance(tables, dict):
        raise Problem(
            ("nodes",), "expected an array of tables, [[nodes]] with two brackets, got one table"
        )
    if tables is None or tables == []:
        raise Problem(("nodes",), "expected a table [[nodes]] for each node, got none")
    if not isinstance(tables, list):
        raise Problem(("nodes",), f"expected tables [[nodes]], got {_shown(tables)}")
    return tables


def _node(path: Path, table: object, found: list[Problem]) -> Node | None:
    """What a table says; None if something is wrong with it, which is added to what was found."""
    if not isinstance(table, dict):
        found.append(Problem(path, f"expected a table, got {_shown(table)}"))
        return None
    before = len(found)
    found += _unknown_keys(path, table, _READERS)
    if not difflib.get_close_matches("fabric_addr", table, 1):  # a mistyped one is told of above
        found.append(Problem(path, f"expected a key fabric_addr, {_AN_ADDRESS}, got none"))
    values = {}
    for key, value in table.items():
        if key in _READERS:
            try:
                values[key] = _READERS[key]((*path, key), value)
            except Problem as problem:
                found.append(problem)
    if len(found) > before:
        return None
    node = Node(**values)
    found += _inconsistent(path, node)
    return node


def _inconsistent(path: Path, node: Node) -> Iterator[Problem]:
    """What does not go together in one table."""
    if node.advertise is None and node.fabric_addr.is_wildcard:
        yield Problem(
            (*path, "fabric_addr"),
            f"expected an address that others can connect to, or a key advertise with one, "
            f"got {_shown(str(node.fabric_addr))}",
        )
    if node.bridge_bind is not None and _clash(node.bridge_bind, node.fabric_addr):
        yield Problem(
            (*path, "bridge_bind"),
            f"expected another port than that of fabric_addr, got {_shown(str(node.bridge_bind))}",
        )
    yield from _in_range(path, node)


def _in_range(path: Path, node: Node) -> Iterator[Problem]:
    """No process takes the port of a service, which would find it in use when it is started again.

    Processes listen at the host of their node.
    """
    if node.port_range is None:
        return
    for key, address in (("fabric_addr", node.fabric_addr), ("bridge_bind", node.bridge_bind)):
        if address is None or address.port not in node.port_range:
            continue
        if _clash(address, node.fabric_addr.with_port(address.port)):
            yield Problem(
                (*path, "port_range"),
                f"expected a range without the port of {key}, got {_shown(str(node.port_range))}",
            )


def _unknown_keys(path: Path, table: dict[str, Any], known: Collection[str]) -> Iterator[Problem]:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            expected = near[0] if near else ", ".join(known)
            question = f"did you mean {expected}?" if near else f"expected one of {expected}"
            yield Problem((*path, key), f"there is no such key; {question}")


def _not_apart(nodes: dict[int, Node]) -> Iterator[Problem]:
    """No two nodes are reached, and no two bridges listen, at one address."""
    reached: dict[Address, Path] = {}
    bridges: dict[tuple[Address, str], Path] = {}
    for index, node in nodes.items():
        key = "fabric_addr" if node.advertise is None else "advertise"
        yield from _put(reached, node.reached_at, node.reached_at, ("nodes", index, key))
        bridge = node.bridge_bind
        if bridge is not None:
            # All addresses of one machine are not those of another.
            machine = node.reached_at.host if bridge.is_wildcard else ""
            yield from _put(bridges, (bridge, machine), bridge, ("nodes", index, "bridge_bind"))


_Key = TypeVar("_Key")


def _put(taken: dict[_Key, Path], key: _Key, address: Address, path: Path) -> Iterator[Problem]:
    other = taken.setdefault(key, path)
    if other is not path:
        yield Problem(
            path,
            f"expected an address of its own, got {_shown(str(address))}, "
            f"which {spelled(other)} has as well",
            other,
        )


def _clash(one: Address, other: Address) -> bool:
    if one.port != other.port:
        return False
    return one.host == other.host or one.is_wildcard or other.is_wildcard


# -- values ---------------------------------------------------------------------------------------

_AN_ADDRESS: Final = 'an address such as "10.0.0.1:9999"'
_A_SIZE: Final = 'a size such as "100 GiB"'
_CORES: Final = "a number of cores such as 16 or 0.5"
_PORTS: Final = 'a range of ports such as "40000-40999"'
_CHOICES: Final = '"pressure", "strict" or "off"'

_Value = TypeVar("_Value")


def _wrong(path: Path, expected: str, value: object) -> Problem:
    return Problem(path, f"expected {expected}, got {_shown(value)}")


def _from_text(read: Callable[[str], _Value], expected: str) -> Callable[[Path, object], _Value]:
    def reader(path: Path, value: object) -> _Value:
        if not isinstance(value, str):
            raise _wrong(path, expected, value)
        try:
            return read(value)
        except ValueError:
            raise _wrong(path, expected, value) from None

    return reader


def _amount(
    make: Callable[[Any], _Value], expected: str, most: str
) -> Callable[[Path, object], _Value]:
    def reader(path: Path, value: object) -> _Value:
        try:
            amount = make(value)
        except TooMuch:
            raise _wrong(path, f"{expected}, {most}", value) from None
        except (ValueError, TypeError):
            raise _wrong(path, expected, value) from None
        if not amount:  # no process could be placed there
            raise _wrong(path, f"{expected}, above 0", value)
        return amount

    return reader


def _listened_at(text: str) -> Address:
    address = Address.parse(text)
    if address.port == 0:  # nobody would know which it is
        raise ValueError(text)
    return address


_READERS: Final[dict[str, Callable[[Path, object], Any]]] = {
    "fabric_addr": _from_text(_listened_at, _AN_ADDRESS),
    "bridge_bind": _from_text(_listened_at, 'an address such as "10.0.0.1:8888"'),
    "mem": _amount(Mem, _A_SIZE, "less than 16 EiB"),
    "cpu": _amount(Cpu, _CORES, "at most 4503599"),
    "enforce": _from_text(Enforce, _CHOICES),
    "port_range": _from_text(PortRange.parse, _PORTS),
    "advertise": _from_text(Address.parse_remote, _AN_ADDRESS),
}


def _shown(value: object) -> str:
    """A value about as TOML writes it, on one line and not long."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "an array"
        case str():
            text = json.dumps(value, ensure_ascii=not value.isprintable())
            return text if len(text) <= 60 else f'{text[:50]}..."'
        case _:
            return f"{value!s:.60}"


def spelled(path: Path) -> str:
    """A path as people write it: ``nodes[1].mem``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if step.isidentifier() else json.dumps(step)
            text += f".{name}" if text else name
    return text
