from __future__ import annotations

import contextlib
import os
import socket

import pytest

from constellation.process.ports import Ports


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def free_ports(count: int) -> int:
    """The first of so many ports next to each other, outside of those that the system gives out."""
    for first in range(20_000 + os.getpid() * 7 % 10_000, 32_000):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    raise AssertionError("no ports are free")


def test_any_free_port() -> None:
    ports = Ports("127.0.0.1", "10.1.2.3")
    with contextlib.ExitStack() as stack:
        found = set()
        for _ in range(5):
            endpoint, listener = ports.listen()
            stack.enter_context(listener)
            port = listener.getsockname()[1]
            assert endpoint == f"tcp://10.1.2.3:{port}"
            socket.create_connection(("127.0.0.1", port), 5).close()
            found.add(port)
    assert len(found) == 5


def test_a_range_is_used_by_turns_and_what_is_taken_left_out() -> None:
    first = free_ports(3)
    ports = Ports("127.0.0.1", "127.0.0.1", first, first + 2)
    with socket.create_server(("127.0.0.1", first + 1)), contextlib.ExitStack() as stack:
        found = []
        for _ in range(2):
            _, listener = ports.listen()
            stack.enter_context(listener)
            found.append(listener.getsockname()[1])
        assert found == [first, first + 2]
        with pytest.raises(OSError, match=f"all ports from {first} to {first + 2} are in use"):
            ports.listen()
    _, listener = ports.listen()
    listener.close()


def test_a_port_is_used_again_at_once() -> None:
    port = free_port()
    ports = Ports("127.0.0.1", "127.0.0.1", port, port)
    for _ in range(3):
        _, listener = ports.listen()
        with listener, socket.create_connection(("127.0.0.1", port), 5) as connection:
            accepted, _ = listener.accept()
            accepted.close()  # first, so that the port is in TIME_WAIT
            assert connection.recv(1) == b""


def test_an_ipv6_address_is_in_brackets() -> None:
    endpoint, listener = Ports("::1", "::1").listen()
    with listener:
        assert endpoint == f"tcp://[::1]:{listener.getsockname()[1]}"


def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(OSError):
        Ports("192.0.2.1", "192.0.2.1").listen()
