"""The command while nobody welcomes it: what comes later is tested with whole clusters."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from constellation.control import cluster
from constellation.session.loop import Loop
from constellation.session.sessions import Session, Sessions
from constellation.transport.router import Router

AT_ONCE = 3.0
"""Seconds, on a machine that has other things to do; unanswered, the command tries for ten."""


class Silent:
    """Welcomes nobody."""

    def __init__(self) -> None:
        self.called = threading.Event()

    def opened(self, session: Session) -> None:
        self.called.set()

    def heard(self, session: Session, message: bytes) -> None: ...

    def ended(self, session: Session, reason: str | None) -> None: ...


@contextmanager
def silent_bridge() -> Iterator[tuple[str, threading.Event]]:
    """Says that it is a bridge, and nothing more. Gives where, and what is set by who connects."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    place = "{}:{}".format(*listener.getsockname())
    loop, key, silent, over = Loop(), os.urandom(16), Silent(), threading.Event()

    def answer(_request: bytes) -> bytes:
        return cluster.encode(cluster.Who("bridge", None))

    router = Router(key, f"tcp://{place}", listener, security=None)
    sessions = Sessions(loop, router, key, silent, answer=answer)

    def run() -> None:
        while not over.is_set():
            loop.run(over.is_set, 0.05)
        sessions.close()
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield place, silent.called
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("form", ["human", "json"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_while_it_waits_to_be_welcomed(
    number: signal.Signals, form: str, tmp_path: Path
) -> None:
    (tmp_path / "prog.py").write_text("")
    with silent_bridge() as (place, called):
        deploy = ["deploy", place, "--insecure", "--format", form, "prog.py"]
        with subprocess.Popen(
            [sys.executable, "-m", "constellation", *deploy],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert called.wait(60)
            process.send_signal(number)
            sent = time.monotonic()
            out, told = process.communicate(timeout=60)
            assert time.monotonic() < sent + AT_ONCE
    assert process.returncode == 128 + number
    assert out == b""
    assert told.count(b"\n") <= 1  # that there is no key
