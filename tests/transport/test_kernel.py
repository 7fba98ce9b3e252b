from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from constellation.transport.kernel import connection, peer_host, unanswered, wait_for_reader

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of connections")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    with one, other:
        yield one, other


def fill(end: socket.socket) -> None:
    """Send more than the other end takes, which does not read."""
    end.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            end.send(bytes(1 << 16))


def broken(end: socket.socket) -> bool:
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def test_a_machine_answers_for_a_process_that_does_not(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    end, _ = ends
    time.sleep(1.2)
    end.send(b"is anybody there?")
    time.sleep(0.1)
    silence = unanswered(connection(end.fileno()))
    assert silence is not None
    assert silence < 1.0


def test_a_window_that_is_closed_is_no_silence(ends: tuple[socket.socket, socket.socket]) -> None:
    end, _ = ends
    fill(end)
    for _ in range(60):
        time.sleep(0.1)
        silence = unanswered(connection(end.fileno()))
        assert silence is not None
        assert silence < 3.0, "not each question is answered, but soon one is"


@pytest.mark.parametrize("waits", [False, True])
def test_a_reader_that_is_stopped_is_waited_for(
    ends: tuple[socket.socket, socket.socket], waits: bool
) -> None:
    end, _ = ends
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000)
    if waits:
        wait_for_reader(connection(end.fileno()))
    fill(end)
    time.sleep(4.0)
    assert broken(end) is not waits


def test_the_machine_at_the_other_end_has_an_address(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    end, _ = ends
    there = connection(end.fileno())
    assert peer_host(there) == "127.0.0.1"
    end.close()
    assert peer_host(there) == ""


def test_what_is_no_connection_is_not_known() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_host(connection(one.fileno())) == ""
        assert unanswered(connection(one.fileno())) is None
        wait_for_reader(connection(one.fileno()))
    assert connection(-1) is None
    assert unanswered(None) is None
    assert peer_host(None) == ""
    wait_for_reader(None)
    number = os.open("/dev/null", os.O_RDONLY)
    try:
        there = connection(number)
        assert there is not None
        assert unanswered(there) is None
        wait_for_reader(there)
    finally:
        os.close(number)
    assert connection(number) is None, "it is closed"
    assert unanswered(there) is None
    wait_for_reader(there)


def test_another_that_has_its_number_now_is_let_be(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    end, another = ends
    another.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000)
    number = end.fileno()
    before = connection(number)
    assert before is not None
    assert before.open
    end.close()
    os.dup2(another.fileno(), number)
    try:
        assert not before.open
        assert unanswered(before) is None
        wait_for_reader(before)
        assert another.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000
        now = connection(number)
        assert unanswered(now) is not None
        wait_for_reader(now)
        assert another.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
    finally:
        os.close(number)
