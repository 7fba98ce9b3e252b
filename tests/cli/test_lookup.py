from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from constellation.address import Address, UnknownHost
from constellation.cli.lookup import endpoints_of

# What is waited for here is not interrupted: a lock of the C library that is taken already.
HANGING = """
import ctypes, socket, sys
from constellation.cli.main import main

def hang(*_, **__):
    libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(256)
    libc.pthread_mutex_lock(lock)
    print("looking up", flush=True)
    libc.pthread_mutex_lock(lock)

socket.getaddrinfo = hang
sys.argv = ["constellation", "status", "node7.example:9999", "--insecure"]
main()
"""


def test_numbers_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert endpoints_of(Address.parse("[fd00::1]:9999")) == ["tcp://[fd00::1]:9999"]
    found = [(0, 0, 0, "", (host, 9999)) for host in ("fd00::1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    expected = ["tcp://[fd00::1]:9999", "tcp://10.0.0.1:9999"]
    assert endpoints_of(Address.parse("node7.example:9999")) == expected


def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(UnknownHost, match=r"node7\.example.*no such name"):
        endpoints_of(Address.parse("node7.example:9999"))


def test_ctrl_c() -> None:
    if sys.platform == "darwin":
        return  # its locks are not zero where nobody has them
    with subprocess.Popen(
        [sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"looking up\n"
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 130
    assert told == b""
