from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from constellation.transport.kernel import unanswered, wait_for_reader

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
    silence = unanswered(end.fileno())
    assert silence is not None
    assert silence < 1.0


def test_a_window_that_is_closed_is_no_silence(ends: tuple[socket.socket, socket.socket]) -> None:
    end, _ = ends
    fill(end)
    for _ in range(60):
        time.sleep(0.1)
        silence = unanswered(end.fileno())
        assert silence is not None
        assert silence < 3.0, "not each question is answered, but soon one is"


@pytest.mark.parametrize("waits", [False, True])
def test_a_reader_that_is_stopped_is_waited_for(
    ends: tuple[socket.socket, socket.socket], waits: bool
) -> None:
    end, _ = ends
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000)
    if waits:
        wait_for_reader(end.fileno())
    fill(end)
    time.sleep(4.0)
    assert broken(end) is not waits


def test_what_is_no_connection_is_not_known() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert unanswered(one.fileno()) is None
        wait_for_reader(one.fileno())
    assert unanswered(-1) is None
    wait_for_reader(-1)
    number = os.open("/dev/null", os.O_RDONLY)
    try:
        assert unanswered(number) is None
        wait_for_reader(number)
    finally:
        os.close(number)
    assert unanswered(number) is None, "it is closed"
    wait_for_reader(number)
