from __future__ import annotations

import errno
import os
import pickle
import socket as sockets
import time
from collections.abc import Iterator

import pytest
import zmq

from constellation.address import Address, PortRange, UnknownHost
from constellation.security.keypair import Keypair
from constellation_daemons.binding import ListenError, bind


class Bench:
    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sockets: list[zmq.Socket[bytes]] = []

    def socket(self) -> zmq.Socket[bytes]:
        made = self.context.socket(zmq.ROUTER)
        made.linger = 0
        self.sockets.append(made)
        return made

    def bind(self, address: str | Address, ports: PortRange | None = None) -> list[Address]:
        if isinstance(address, str):
            address = Address.parse(address)
        return bind(self.socket(), address, keypair=None, zap=None, ports=ports)

    def close(self) -> None:
        for made in self.sockets:
            made.close(0)
        self.context.term()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def connects(address: Address) -> bool:
    family = sockets.AF_INET6 if address.is_ipv6 else sockets.AF_INET
    with sockets.socket(family) as stranger:
        return stranger.connect_ex((address.host, address.port)) == 0


def free_range(size: int) -> PortRange:
    """Ports of which the first is free, and the rest about as surely."""
    with sockets.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        first = probe.getsockname()[1]
    return PortRange(min(first, 65536 - size), min(first, 65536 - size) + size - 1)


@pytest.fixture(scope="module")
def ipv6() -> bool:
    """Whether this machine has IPv6."""
    try:
        with sockets.socket(sockets.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_any_free_port(bench: Bench) -> None:
    [address] = bench.bind("127.0.0.1:0")
    assert address.port > 0
    assert connects(address)


def test_a_port_that_is_asked_for(bench: Bench) -> None:
    address = Address("127.0.0.1", free_range(1).first)
    assert bench.bind(address) == [address]
    assert connects(address)


def test_ipv6(bench: Bench, ipv6: bool) -> None:
    if not ipv6:
        with pytest.raises(ListenError, match=r"cannot listen at \[::1\]:0: "):
            bench.bind("[::1]:0")
        return
    [address] = bench.bind("[::1]:0")
    assert address.host == "::1"
    assert connects(address)
    assert not connects(Address("127.0.0.1", address.port))


def test_all_addresses(bench: Bench, ipv6: bool) -> None:
    [address] = bench.bind("0.0.0.0:0")
    assert connects(Address("127.0.0.1", address.port))
    if ipv6:
        [both] = bench.bind("[::]:0")
        assert connects(Address("127.0.0.1", both.port))
        assert connects(Address("::1", both.port))


def test_a_name(bench: Bench) -> None:
    found = bench.bind("localhost:0")
    assert found
    assert all(address.is_loopback and connects(address) for address in found)
    assert len({address.port for address in found}) == 1


def resolving(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> Address:
    resolve = Address.resolve

    def found(self: Address) -> list[Address]:
        return [Address(host, self.port) for host in hosts] if self.is_name else resolve(self)

    monkeypatch.setattr(Address, "resolve", found)
    return Address("node7.example", 0)


def test_a_name_of_several_addresses(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    found = bench.bind(resolving(monkeypatch, "127.0.0.1", "127.0.0.2"))
    assert [address.host for address in found] == ["127.0.0.1", "127.0.0.2"]
    assert found[0].port == found[1].port
    assert all(map(connects, found))


def test_a_name_of_which_one_address_is_elsewhere(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = bench.bind(resolving(monkeypatch, "192.0.2.7", "127.0.0.1"))
    assert [address.host for address in found] == ["127.0.0.1"]
    assert caplog.messages == [
        "node7.example stands for 192.0.2.7 too, which this machine does not have"
    ]


def test_a_name_that_is_not_known(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise sockets.gaierror(sockets.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(sockets, "getaddrinfo", unknown)
    with pytest.raises(UnknownHost, match=r"'node7\.example'"):
        bench.bind("node7.example:0")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_is_taken(bench: Bench, host: str) -> None:
    [address] = bench.bind(f"{host}:0")
    with pytest.raises(ListenError) as caught:
        bench.bind(address)
    assert str(caught.value) == f"cannot listen at {address}: something listens there already"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_port_that_is_taken_at_one_of_several_addresses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    [taken] = bench.bind("127.0.0.2:0")
    name = resolving(monkeypatch, "127.0.0.1", "127.0.0.2").with_port(taken.port)
    with pytest.raises(ListenError, match=rf"127\.0\.0\.2:{taken.port}: something listens there"):
        bench.bind(name)
    limit = time.monotonic() + 20  # libzmq closes what listens there when it comes to it
    while connects(Address("127.0.0.1", taken.port)):
        assert time.monotonic() < limit


def test_an_address_that_the_machine_does_not_have(bench: Bench) -> None:
    with pytest.raises(ListenError) as caught:
        bench.bind("192.0.2.7:9999")
    told = str(caught.value)
    assert told.startswith(
        "cannot listen at 192.0.2.7:9999: this machine does not have the address 192.0.2.7; it has "
    )
    assert "127.0.0.1" in told


@pytest.mark.parametrize(
    ("number", "port", "reason"),
    [
        (errno.EACCES, 80, "ports below 1024 need a right that this user does not have"),
        (errno.EPERM, 1023, "ports below 1024 need a right that this user does not have"),
        (errno.EACCES, 8080, os.strerror(errno.EACCES)),
        (errno.EAFNOSUPPORT, 80, os.strerror(errno.EAFNOSUPPORT)),
    ],
)
def test_other_reasons(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, number: int, port: int, reason: str
) -> None:
    def refused(self: object, endpoint: str) -> None:
        raise zmq.ZMQError(number)

    monkeypatch.setattr(zmq.Socket, "bind", refused)
    with pytest.raises(ListenError, match=rf"cannot listen at 127\.0\.0\.1:{port}: {reason}"):
        bench.bind(f"127.0.0.1:{port}")


def test_the_first_free_port_of_a_range(bench: Bench) -> None:
    ports = free_range(8)
    found = [bench.bind("127.0.0.1:0", ports)[0] for _ in range(3)]
    assert len(set(found)) == 3
    assert all(address.port in ports and connects(address) for address in found)


def test_a_range_without_a_free_port(bench: Bench) -> None:
    [taken] = bench.bind("127.0.0.1:0")
    ports = PortRange(taken.port, taken.port)
    with pytest.raises(ListenError, match=f"all of the ports {ports} are in use"):
        bench.bind("127.0.0.1:0", ports)


def test_a_key_without_who_says_who_is_let_in(bench: Bench) -> None:
    with pytest.raises(ValueError, match="needs a ZAP handler"):
        bind(bench.socket(), Address("127.0.0.1", 0), keypair=Keypair.new(), zap=None)
