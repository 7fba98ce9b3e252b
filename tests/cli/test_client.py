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

import msgspec
import pytest

from constellation.control import cluster
from constellation.control.deployment import Denied
from constellation.session.loop import Loop
from constellation.session.sessions import Session, Sessions
from constellation.transport.router import Router

AT_ONCE = 3.0
"""Seconds, on a machine that has other things to do; unanswered, the command tries for ten."""


class Silent:
    """Welcomes nobody."""

    def __init__(self, answer: object = None) -> None:
        self.called = threading.Event()
        self._answer = answer

    def opened(self, session: Session) -> None:
        self.called.set()

    def heard(self, session: Session, message: bytes) -> None:
        if self._answer is not None:
            session.send(msgspec.msgpack.encode(self._answer))

    def ended(self, session: Session, reason: str | None) -> None: ...


@contextmanager
def silent_bridge(said: object = None) -> Iterator[tuple[str, threading.Event]]:
    """Says that it is a bridge, and nothing more. Gives where, and what is set by who connects.

    Args:
        said: What it says all the same.
    """
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    place = "{}:{}".format(*listener.getsockname())
    loop, key, silent, over = Loop(), os.urandom(16), Silent(said), threading.Event()

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


def test_what_the_bridge_says_is_text_whatever_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "prog.py").write_text("")
    with silent_bridge(Denied("no\x1b[2J\x07 entry")) as (place, _):
        done = subprocess.run(
            [sys.executable, "-m", "constellation", "deploy", place, "--insecure", "prog.py"],
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.endswith(b"constellation: no\\x1b[2J\\x07 entry\n")
