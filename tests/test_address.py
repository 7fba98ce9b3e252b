from __future__ import annotations

import copy
import ipaddress
import pickle
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.address import Address, PortRange, UnknownHost

labels = st.from_regex(r"[a-z_]([a-z0-9_-]{0,20}[a-z0-9_])?", fullmatch=True)
hosts = st.one_of(
    st.ip_addresses().map(str), st.lists(labels, min_size=1, max_size=5).map(".".join)
)
addresses = st.builds(Address, hosts, st.integers(0, 65535))


@given(addresses)
def test_what_is_written_is_read_back(address: Address) -> None:
    assert Address.parse(str(address)) == address
    assert Address.parse(f"{address}") == address
    assert address.endpoint == f"tcp://{address}"
    assert eval(repr(address).replace("Address(", "Address.parse(")) == address


@given(addresses)
def test_addresses_are_values(address: Address) -> None:
    again = Address(address.host, address.port)
    assert hash(again) == hash(address)
    assert pickle.loads(pickle.dumps(address)) == copy.deepcopy(address) == address
    with pytest.raises(AttributeError):
        address.port = 1  # type: ignore[misc]


@given(st.ip_addresses(v=6), st.integers(0, 65535))
def test_an_address_is_the_same_however_it_is_written(
    number: ipaddress.IPv6Address, port: int
) -> None:
    long = Address.parse(f"[{number.exploded.upper()}]:{port}")
    assert long == Address(str(number), port)
    assert len({long, Address(number.compressed, port)}) == 1


@given(st.text())
def test_any_text_is_an_address_or_an_error_that_shows_one(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError as error:
        assert '"10.0.0.2:9999"' in str(error)
        assert "\n" not in str(error)
    else:
        assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "host", "port", "written"),
    [
        ("10.0.0.2:9999", "10.0.0.2", 9999, "10.0.0.2:9999"),
        ("[fd00::1]:9999", "fd00::1", 9999, "[fd00::1]:9999"),
        ("[FE80::1%eth0]:1", "fe80::1%eth0", 1, "[fe80::1%eth0]:1"),
        ("node7.example:9999", "node7.example", 9999, "node7.example:9999"),
        ("Node7.Example.:80", "node7.example", 80, "node7.example:80"),
        ("my_host-2:65535", "my_host-2", 65535, "my_host-2:65535"),
        ("localhost:0", "localhost", 0, "localhost:0"),
        ("7up.example:007", "7up.example", 7, "7up.example:7"),
    ],
)
def test_addresses(text: str, host: str, port: int, written: str) -> None:
    address = Address.parse(text)
    assert (address.host, address.port, str(address)) == (host, port, written)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it has no port"),
        ("10.0.0.2", "it has no port"),
        ("[fd00::1]", "it has no port"),
        (":9999", "it has no host"),
        ("[]:9999", "only an IPv6 address is written in brackets"),
        ("[10.0.0.2]:9999", "only an IPv6 address is written in brackets"),
        ("fd00::1:9999", "an IPv6 address is written in brackets"),
        ("[fd00::g]:9999", "'fd00::g' is no IPv6 address"),
        ("[fe80::1%a/b]:9999", "is no IPv6 address"),
        ("tcp://10.0.0.2:9999", "the name of a protocol"),
        ("*:9999", '"0.0.0.0"'),
        ("10.0.0.2:", "its port is ''"),
        ("10.0.0.2:http", "its port is 'http'"),
        ("10.0.0.2:-1", "its port is '-1'"),
        ("10.0.0.2:65536", "65536 is no port"),
        ("10.0.0.2:999999", "its port is '999999'"),
        ("10.0.0.2: 9999", "its port is ' 9999'"),
        ("10.0.0.2:٣", "its port is '٣'"),
        ("10.0.0:9999", "'10.0.0' is no IPv4 address"),
        ("10.0.0.256:9999", "'10.0.0.256' is no IPv4 address"),
        ("1.2.3.4.5:9999", "is no IPv4 address"),
        ("-x:9999", "'-x' is no host name"),
        ("a..b:9999", "'a..b' is no host name"),
        ("two words:9999", "is no host name"),
        ("host\n:9999", "is no host name"),
        ("h" * 64 + ":9999", "is no host name"),
        ("x." * 200 + "y:9999", "is no host name"),
        ("x" * 100_000, "it is too long"),
    ],
)
def test_what_is_no_address_is_told_what_is_wrong_and_a_right_one(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:
        Address.parse(text)
    assert why in str(caught.value)
    assert 'one looks like "10.0.0.2:9999"' in str(caught.value)
    assert len(str(caught.value)) < 1200


@pytest.mark.parametrize("port", [-1, 65536, True, 1.5, "80", None])
def test_what_is_no_port(port: object) -> None:
    with pytest.raises(ValueError, match="from 0 to 65535"):
        Address("10.0.0.2", port)  # type: ignore[arg-type]


@pytest.mark.parametrize("host", [None, b"10.0.0.2", 10])
def test_what_is_no_host(host: object) -> None:
    with pytest.raises(ValueError, match="is no host"):
        Address(host, 80)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "loopback", "wildcard"),
    [
        ("127.0.0.1", True, False),
        ("127.9.9.9", True, False),
        ("::1", True, False),
        ("::ffff:127.0.0.1", True, False),
        ("localhost", True, False),
        ("a.localhost", True, False),
        ("localhost.example", False, False),
        ("notlocalhost", False, False),
        ("0.0.0.0", False, True),
        ("::", False, True),
        ("::ffff:0.0.0.0", False, True),
        ("10.0.0.2", False, False),
        ("fd00::1", False, False),
        ("::ffff:10.0.0.1", False, False),
    ],
)
def test_what_can_be_reached_from_where(host: str, loopback: bool, wildcard: bool) -> None:
    address = Address(host, 9999)
    assert (address.is_loopback, address.is_wildcard) == (loopback, wildcard)
    assert address.is_ipv6 == (":" in host)


@pytest.mark.parametrize(
    ("text", "vague"),
    [
        ("0.0.0.0:80", "all addresses of this machine"),
        ("[::]:0", "all addresses of this machine"),
        ("[::ffff:0.0.0.0]:80", "all addresses of this machine"),
        ("10.0.0.1:0", "any free port of this machine"),
        ("node7:0", "any free port of this machine"),
        ("10.0.0.1:80", ""),
        ("node7:80", ""),
    ],
)
def test_whether_one_can_connect_to_it(text: str, vague: str) -> None:
    address = Address.parse(text)
    assert address.vague == vague
    assert address.is_remote == (not vague)
    if vague:
        with pytest.raises(ValueError, match="is where one can listen, and not connect to; one"):
            Address.parse_remote(text)
    else:
        assert Address.parse_remote(text) == address


def test_a_name_stands_for_addresses() -> None:
    found = Address("localhost", 9999).resolve()
    assert found
    assert all(address.is_loopback and not address.is_name for address in found)
    assert {address.port for address in found} == {9999}
    assert len(set(found)) == len(found)


def test_a_number_stands_for_itself() -> None:
    address = Address("10.0.0.2", 9999)
    assert address.resolve() == [address]
    assert not address.is_name


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(
        UnknownHost, match=r"the host name 'no.example' has no known address: Name or"
    ) as caught:
        Address("no.example", 9999).resolve()
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_the_same_host_with_another_port() -> None:
    assert Address("::1", 9999).with_port(80) == Address.parse("[::1]:80")


ports = st.integers(1, 65535)


@given(ports, ports)
def test_a_range_of_ports(one: int, other: int) -> None:
    first, last = sorted([one, other])
    made = PortRange(first, last)
    assert PortRange.parse(str(made)) == PortRange.parse(f" {first} - {last}\n") == made
    assert first in made
    assert last in made
    assert first - 1 not in made
    assert last + 1 not in made
    assert len(made) == last - first + 1
    assert next(iter(made)) == first


def test_all_ports_of_a_range() -> None:
    assert list(PortRange(40000, 40002)) == [40000, 40001, 40002]


@pytest.mark.parametrize(
    "text", ["", "40000", "40000-", "40001-40000", "0-10", "1-65536", "a-b", "1-2-3", "1:2", "-1-5"]
)
def test_what_is_no_range_of_ports(text: str) -> None:
    with pytest.raises(ValueError, match=r'"40000-40999"'):
        PortRange.parse(text)
