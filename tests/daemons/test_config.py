from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation import Cpu, Mem
from constellation.address import Address, PortRange, UnknownHost
from constellation_daemons.config import Config, ConfigError, load
from constellation_daemons.node_config import Enforce, Node

SEED = """\
[[nodes]]
fabric_addr = "10.0.0.1:9999"   # where the node listens
bridge_bind = "10.0.0.1:8888"   # run a bridge here (optional)
mem = "100 GiB"                 # what programs may be given of this machine
cpu = 16

[[nodes]]
fabric_addr = "10.0.0.2:9999"
"""

ALL = """\
[[nodes]]
fabric_addr = "[::]:9999"
bridge_bind = "0.0.0.0:8888"
mem = 1024
cpu = 0.5
enforce = "strict"
port_range = "40000-40999"
advertise = "node7.example:19999"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("nodes.toml")


def read(file: Path, text: str) -> Config:
    file.write_text(text)
    return load(file)


def error(file: Path, text: str | bytes) -> str:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load(file)
    told = str(caught.value)
    assert all(line.startswith("nodes.toml") for line in told.split("\n")), "a value breaks no line"
    assert str(pickle.loads(pickle.dumps(caught.value))) == told
    return told


def test_the_file_of_the_documents(file: Path) -> None:
    first, second = read(file, SEED).nodes
    assert first == Node(
        Address("10.0.0.1", 9999), Address("10.0.0.1", 8888), Mem("100 GiB"), Cpu(16)
    )
    assert second == Node(Address("10.0.0.2", 9999))
    assert (second.enforce, second.port_range) == (Enforce.PRESSURE, None)
    assert second.reached_at == second.fabric_addr


def test_everything_that_can_be_said(file: Path) -> None:
    [node] = read(file, ALL).nodes
    assert node == Node(
        fabric_addr=Address("::", 9999),
        bridge_bind=Address("0.0.0.0", 8888),
        mem=Mem("1 KiB"),
        cpu=Cpu(0.5),
        enforce=Enforce.STRICT,
        port_range=PortRange(40000, 40999),
        advertise=Address("node7.example", 19999),
    )
    assert node.reached_at == node.advertise


@pytest.mark.parametrize(
    "text",
    [
        'nodes = [{ fabric_addr = "10.0.0.1:9999" }]',
        "\ufeff[[nodes]]\nfabric_addr = '10.0.0.1:9999'",
        '[[nodes]]\r\n"fabric_addr" = """10.0.0.1:9999"""\r\n',
        '[[ "nodes" ]]\nfabric_addr = "10.0.0.1:9999"',
    ],
)
def test_other_ways_to_write_it(file: Path, text: str) -> None:
    assert read(file, text).nodes == (Node(Address("10.0.0.1", 9999)),)


@pytest.mark.parametrize("file_type", [str, Path, os.fspath])
def test_the_file_is_named_in_any_way(file: Path, file_type: type) -> None:
    file.write_text(SEED)
    assert len(load(file_type(file)).nodes) == 2


@pytest.mark.parametrize(
    ("addresses", "loopback"),
    [
        (["127.0.0.1:1", "127.0.0.2:2", "[::1]:3", "localhost:4"], True),
        (["127.0.0.1:1", "10.0.0.1:1"], False),
        (["127.0.0.1:1", "somewhere:1"], False),
    ],
)
def test_whether_it_can_be_reached_from_elsewhere(
    file: Path, addresses: list[str], loopback: bool
) -> None:
    text = "".join(f'[[nodes]]\nfabric_addr = "{address}"\n' for address in addresses)
    config = read(file, text)
    assert config.loopback_only == loopback
    assert list(config.addresses) == list(map(Address.parse, addresses))


def test_a_bridge_or_an_advertisement_may_be_what_can(file: Path) -> None:
    for key in ("bridge_bind", "advertise"):
        text = f'[[nodes]]\nfabric_addr = "127.0.0.1:1"\n{key} = "10.0.0.1:2"'
        assert not read(file, text).loopback_only


# -- what is wrong --------------------------------------------------------------------------------

NODE = '[[nodes]]\nfabric_addr = "10.0.0.1:9999"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            NODE + '\n[[nodes]]\nfabric_addr = "10.0.0.2:9999"\n\nmem = "lots"',
            'nodes.toml:7: nodes[1].mem: expected a size such as "100 GiB", got "lots"',
        ),
        (
            NODE + "mem = true",
            'nodes.toml:3: nodes[0].mem: expected a size such as "100 GiB", got true',
        ),
        (
            NODE + "mem = -1",
            'nodes.toml:3: nodes[0].mem: expected a size such as "100 GiB", got -1',
        ),
        (
            NODE + "mem = [1]",
            'nodes.toml:3: nodes[0].mem: expected a size such as "100 GiB", got an array',
        ),
        (
            NODE + "mem.gib = 1",
            'nodes.toml:3: nodes[0].mem: expected a size such as "100 GiB", got a table',
        ),
        (
            NODE + 'mem = "0 GiB"',
            'nodes.toml:3: nodes[0].mem: expected a size such as "100 GiB", above 0, got "0 GiB"',
        ),
        (
            NODE + 'mem = "900 EiB"',
            (
                'nodes.toml:3: nodes[0].mem: expected a size such as "100 GiB", less than 16 EiB, '
                'got "900 EiB"'
            ),
        ),
        (
            NODE + "cpu = 1e9",
            (
                "nodes.toml:3: nodes[0].cpu: expected a number of cores such as 16 or 0.5, "
                "at most 4503599, got 1000000000.0"
            ),
        ),
        (
            NODE + "cpu = 0",
            (
                "nodes.toml:3: nodes[0].cpu: expected a number of cores such as 16 or 0.5, "
                "above 0, got 0"
            ),
        ),
        (
            NODE + "cpu = 1e-12",
            (
                "nodes.toml:3: nodes[0].cpu: expected a number of cores such as 16 or 0.5, "
                "above 0, got 1e-12"
            ),
        ),
        (
            NODE + 'port_range = "9000-9999"',
            (
                "nodes.toml:3: nodes[0].port_range: expected a range without the port of "
                'fabric_addr, got "9000-9999"'
            ),
        ),
        (
            NODE + 'port_range = "8000-8999"\nbridge_bind = "0.0.0.0:8888"',
            (
                "nodes.toml:3: nodes[0].port_range: expected a range without the port of "
                'bridge_bind, got "8000-8999"'
            ),
        ),
        (
            NODE + 'cpu = "many"',
            'nodes.toml:3: nodes[0].cpu: expected a number of cores such as 16 or 0.5, got "many"',
        ),
        (
            NODE + "cpu = nan",
            "nodes.toml:3: nodes[0].cpu: expected a number of cores such as 16 or 0.5, got nan",
        ),
        (
            NODE + "cpu = 1979-05-27",
            (
                "nodes.toml:3: nodes[0].cpu: expected a number of cores such as 16 or 0.5, "
                "got 1979-05-27"
            ),
        ),
        (
            NODE + 'enforce = "never"',
            'nodes.toml:3: nodes[0].enforce: expected "pressure", "strict" or "off", got "never"',
        ),
        (
            NODE + "enforce = false",
            'nodes.toml:3: nodes[0].enforce: expected "pressure", "strict" or "off", got false',
        ),
        (
            NODE + "port_range = 40000",
            (
                "nodes.toml:3: nodes[0].port_range: expected a range of ports such as "
                '"40000-40999", got 40000'
            ),
        ),
        (
            NODE + "port_range = '2-1'",
            (
                "nodes.toml:3: nodes[0].port_range: expected a range of ports such as "
                '"40000-40999", got "2-1"'
            ),
        ),
        (
            NODE + 'bridge_bind = "8888"',
            (
                "nodes.toml:3: nodes[0].bridge_bind: expected an address such as "
                '"10.0.0.1:8888", got "8888"'
            ),
        ),
        (
            NODE + 'advertise = "0.0.0.0:9999"',
            (
                "nodes.toml:3: nodes[0].advertise: expected an address such as "
                '"10.0.0.1:9999", got "0.0.0.0:9999"'
            ),
        ),
        (
            "[[nodes]]\nfabric_addr = 9999",
            (
                "nodes.toml:2: nodes[0].fabric_addr: expected an address such as "
                '"10.0.0.1:9999", got 9999'
            ),
        ),
        (
            '[[nodes]]\nfabric_addr = "10.0.0.1:0"',
            (
                "nodes.toml:2: nodes[0].fabric_addr: expected an address such as "
                '"10.0.0.1:9999", got "10.0.0.1:0"'
            ),
        ),
        (
            '[[nodes]]\nfabric_addr = "0.0.0.0:9999"',
            (
                "nodes.toml:2: nodes[0].fabric_addr: expected an address that others can connect "
                'to, or a key advertise with one, got "0.0.0.0:9999"'
            ),
        ),
        (
            NODE + '[[nodes]]\nmem = "1 GiB"',
            (
                "nodes.toml:3: nodes[1]: expected a key fabric_addr, an address such as "
                '"10.0.0.1:9999", got none'
            ),
        ),
        (
            NODE.replace("fabric_addr", "fabric_adr"),
            "nodes.toml:2: nodes[0].fabric_adr: there is no such key; did you mean fabric_addr?",
        ),
        (
            NODE + "colour = 1",
            (
                "nodes.toml:3: nodes[0].colour: there is no such key; expected one of fabric_addr, "
                "bridge_bind, mem, cpu, enforce, port_range, advertise"
            ),
        ),
        (
            NODE + '"a\\nb" = 1',
            (
                'nodes.toml:3: nodes[0]."a\\nb": there is no such key; expected one of '
                "fabric_addr, bridge_bind, mem, cpu, enforce, port_range, advertise"
            ),
        ),
        (
            "node_timeout = 5\n" + NODE,
            "nodes.toml:1: node_timeout: there is no such key; expected one of nodes",
        ),
        ("[[node]]\n", "nodes.toml:1: node: there is no such key; did you mean nodes?"),
        (
            "# x\n[nodes]\nfabric_addr = '10.0.0.1:9999'",
            (
                "nodes.toml:2: nodes: expected an array of tables, [[nodes]] with two brackets, "
                "got one table"
            ),
        ),
        ("nodes = 1", "nodes.toml:1: nodes: expected tables [[nodes]], got 1"),
        ("\nnodes = [{}, 1]", None),
        ("\nnodes = [1]", "nodes.toml:2: nodes[0]: expected a table, got 1"),
        ("nodes = []", "nodes.toml:1: nodes: expected a table [[nodes]] for each node, got none"),
        ("", "nodes.toml: nodes: expected a table [[nodes]] for each node, got none"),
        ("# none\n", "nodes.toml: nodes: expected a table [[nodes]] for each node, got none"),
        (
            NODE + NODE,
            (
                "nodes.toml:4: nodes[1].fabric_addr: expected an address of its own, got "
                '"10.0.0.1:9999", which nodes[0].fabric_addr has as well (line 2)'
            ),
        ),
        (
            NODE + NODE.replace("10.0.0.1", "10.0.0.2") + "advertise = '10.0.0.1:9999'",
            (
                "nodes.toml:5: nodes[1].advertise: expected an address of its own, got "
                '"10.0.0.1:9999", which nodes[0].fabric_addr has as well (line 2)'
            ),
        ),
        (
            NODE
            + "bridge_bind = '10.0.0.1:8888'\n"
            + NODE.replace("0.1", "0.2")
            + "bridge_bind = '10.0.0.1:8888'",
            (
                "nodes.toml:6: nodes[1].bridge_bind: expected an address of its own, got "
                '"10.0.0.1:8888", which nodes[0].bridge_bind has as well (line 3)'
            ),
        ),
        (
            NODE + "bridge_bind = '10.0.0.1:9999'",
            (
                "nodes.toml:3: nodes[0].bridge_bind: expected another port than that of "
                'fabric_addr, got "10.0.0.1:9999"'
            ),
        ),
        (
            NODE + "bridge_bind = '0.0.0.0:9999'",
            (
                "nodes.toml:3: nodes[0].bridge_bind: expected another port than that of "
                'fabric_addr, got "0.0.0.0:9999"'
            ),
        ),
        (
            NODE + "mem = '" + "x" * 100 + "'",
            'nodes.toml:3: nodes[0].mem: expected a size such as "100 GiB", got "'
            + "x" * 49
            + '..."',
        ),
        (
            NODE + 'mem = "{}\\n"',
            'nodes.toml:3: nodes[0].mem: expected a size such as "100 GiB", got "{}\\n"',
        ),
        (
            "nodes = [\n{ fabric_addr = '10.0.0.1:9999' },\n{ fabric_addr = '10.0.0.2' },\n]",
            (
                "nodes.toml:3: nodes[1].fabric_addr: expected an address such as "
                '"10.0.0.1:9999", got "10.0.0.2"'
            ),
        ),
        (
            NODE + "mem 5",
            (
                "nodes.toml:3: this is no TOML: Expected '=' after a key in a key/value pair "
                "(column 5)"
            ),
        ),
        (
            NODE + "mem = \n",
            "nodes.toml:3: this is no TOML: Invalid value (column 7)",
        ),
        (NODE + "mem = 1\nmem = 2", None),
        (NODE + 'mem = "1', None),
        (NODE + "mem = [1,", None),
        (NODE + "mem = " + "9" * 5000, None),
        (NODE + "mem = " + "[" * 10_000, None),
        (b"# \n# \xff", "nodes.toml:2: expected text in UTF-8, got the byte 0xff"),
        (b"\x00", None),
        (b"\x7fELF\x02\x01", None),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    file: Path, text: str | bytes, told: str | None
) -> None:
    actual = error(file, text)
    if told is not None:
        assert actual == told
    assert actual.startswith("nodes.toml:")


def test_all_that_is_wrong_is_told_at_once_in_the_order_of_the_file(file: Path) -> None:
    text = (
        NODE
        + 'mem = "lots"\nport_range = "9000-9999"\n'
        + '[[nodes]]\nmem = "900 EiB"\ncolour = "red"\n'
        + '[[nodes]]\nfabric_addr = "10.0.0.3:9999"\nport_range = "9000-9999"\n'
        + '[[nodes]]\nfabric_addr = "10.0.0.3:9999"\ncpu = 1\n'
        + "[other]\n"
    )
    assert error(file, text).split("\n") == [
        'nodes.toml:3: nodes[0].mem: expected a size such as "100 GiB", got "lots"',
        (
            "nodes.toml:5: nodes[1]: expected a key fabric_addr, an address such as "
            '"10.0.0.1:9999", got none'
        ),
        (
            'nodes.toml:6: nodes[1].mem: expected a size such as "100 GiB", less than 16 EiB, '
            'got "900 EiB"'
        ),
        (
            "nodes.toml:7: nodes[1].colour: there is no such key; expected one of fabric_addr, "
            "bridge_bind, mem, cpu, enforce, port_range, advertise"
        ),
        (
            "nodes.toml:10: nodes[2].port_range: expected a range without the port of fabric_addr, "
            'got "9000-9999"'
        ),
        (
            "nodes.toml:12: nodes[3].fabric_addr: expected an address of its own, got "
            '"10.0.0.3:9999", which nodes[2].fabric_addr has as well (line 9)'
        ),
        "nodes.toml:14: other: there is no such key; expected one of nodes",
    ]


def test_a_mistake_in_every_table_fills_no_screen(file: Path) -> None:
    told = error(file, "".join(f'[[nodes]]\nfabric_addr = "{each}"\n' for each in range(100)))
    lines = told.split("\n")
    assert len(lines) == 21
    assert lines[-1] == "nodes.toml: and 80 more"


def test_two_bridges_at_all_addresses_are_on_two_machines(file: Path) -> None:
    bridge = "bridge_bind = '0.0.0.0:8888'\n"
    assert len(read(file, NODE + bridge + NODE.replace("0.1", "0.2") + bridge).nodes) == 2
    told = error(file, NODE + bridge + NODE.replace("9999", "9998") + bridge)
    assert told.startswith("nodes.toml:6: nodes[1].bridge_bind: expected an address of its own")


def test_two_nodes_may_have_one_address_in_networks_of_their_own(file: Path) -> None:
    text = NODE + "advertise = '203.0.113.7:1'\n" + NODE + "advertise = '203.0.113.7:2'\n"
    assert len(read(file, text).nodes) == 2


def test_there_is_no_file(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load("no/nodes.toml")
    assert str(caught.value) == (
        "no/nodes.toml: expected a file with tables [[nodes]], got none: No such file or directory"
    )
    assert caught.value.exit_code == 2
    with pytest.raises(ConfigError, match="got none: Is a directory"):
        load(".")


def test_a_file_that_is_far_too_large(file: Path) -> None:
    with file.open("wb") as sparse:
        sparse.truncate((64 << 20) + 1)
    with pytest.raises(ConfigError, match="got one of more than 64 MiB"):
        load(file)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_whatever_is_in_the_file_the_error_is_ours(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        load(file)


# -- host names -----------------------------------------------------------------------------------

NAMED = """\
[[nodes]]
fabric_addr = "0.0.0.0:9999"
advertise = "known.test:9999"

[[nodes]]
fabric_addr = "other.test:9999"
bridge_bind = "bridge.test:8888"
"""


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("known.test", "nodes.toml:3: nodes[0].advertise"),
        ("other.test", "nodes.toml:6: nodes[1].fabric_addr"),
        ("bridge.test", "nodes.toml:7: nodes[1].bridge_bind"),
    ],
)
def test_a_name_that_nobody_knows(
    file: Path, name: str, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []
    temporary = False

    def look_up(address: Address) -> None:
        asked.append(address.host)
        if address.host == name:
            raise UnknownHost(name, "no such name", temporary)

    def nobody_knows(address: Address) -> None:
        raise UnknownHost(address.host, "no such name", False)

    file.write_text(NAMED)
    with pytest.raises(ConfigError) as caught:
        load(file, look_up)
    expected = (
        f"{place}: expected a host that can be found, but the host name '{name}' has no known "
        f"address: no such name"
    )
    assert str(caught.value) == expected
    assert caught.value.exit_code == 2
    assert sorted(asked) == ["bridge.test", "known.test", "other.test"]
    with pytest.raises(ConfigError) as caught:
        load(file, nobody_knows)
    assert len(caught.value.others) == 2
    assert expected in str(caught.value)
    temporary = True
    assert len(load(file, look_up).nodes) == 2
    assert expected in caplog.text
