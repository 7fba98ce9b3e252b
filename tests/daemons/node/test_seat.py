"""The place of the node of a master, which one process at a time can have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import programs
import pytest

from constellation.address import Address
from constellation.process.system import LINUX
from constellation_daemons.node import seat as module
from constellation_daemons.node.seat import Seat

ADDRESS = Address("10.0.0.1", 9999)

HOLDER = """
import sys
from constellation.address import Address
from constellation_daemons.node.seat import Seat

seat = Seat(sys.argv[1], Address("10.0.0.1", 9999))
listeners = None
if not seat.take():
    print("taken", flush=True)
    sys.exit()
if "listen" in sys.argv:
    listeners = seat.listen()
print("has it", flush=True)
sys.stdin.read()
if "leave" in sys.argv:
    seat.leave()
"""


@contextmanager
def holder(directory: Path, *how: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has the place or says that it is taken."""
    path = os.pathsep.join(map(str, (programs.ROOT, programs.ROOT / "daemons")))
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory), *how],
        env=programs.environment(PYTHONPATH=path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def seat(tmp_path: Path) -> Iterator[Seat]:
    made = Seat(str(tmp_path), ADDRESS)
    yield made
    made.close()


def test_nobody_has_a_place_at_first(seat: Seat) -> None:
    assert seat.holder() is None


def test_who_has_it_is_known_until_that_ends(seat: Seat, tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        assert said(process) == "has it"
        assert seat.holder() == process.pid
        assert not seat.take()
        with holder(tmp_path) as second:
            assert said(second) == "taken"
            assert second.wait(30) == 0
        assert seat.holder() == process.pid
        process.kill()
        process.wait()
        assert seat.holder() is None
        assert seat.take()


def test_two_addresses_have_two_places(seat: Seat, tmp_path: Path) -> None:
    other = Seat(str(tmp_path), Address("10.0.0.1", 9998))
    with holder(tmp_path) as process:
        assert said(process) == "has it"
        assert other.holder() is None
        assert other.take()
        assert seat.holder() == process.pid
    other.leave()
    other.close()


def test_the_same_address_elsewhere_is_another_place(
    seat: Seat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another container, or on another machine, that has the same home."""
    monkeypatch.setattr(module, "here", lambda: "elsewhere")
    other = Seat(str(tmp_path), ADDRESS)
    assert other.endpoint != seat.endpoint
    other.close()


def test_lifelines_are_taken_until_the_place_is_left(seat: Seat, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        seat.connect()
    with holder(tmp_path, "listen", "leave") as process:
        assert said(process) == "has it"
        with seat.connect():
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(30) == 0
        with pytest.raises(FileNotFoundError):
            seat.connect()
    assert not list(tmp_path.iterdir())
    assert seat.holder() is None


def test_what_a_killed_one_has_left_is_no_hindrance(seat: Seat, tmp_path: Path) -> None:
    with holder(tmp_path, "listen") as process:
        assert said(process) == "has it"
        process.kill()
        process.wait()
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(ConnectionRefusedError):
        seat.connect()
    assert seat.holder() is None
    with holder(tmp_path, "listen", "leave") as process:
        assert said(process) == "has it"
        seat.connect().close()
        process.communicate("")
    assert not list(tmp_path.iterdir())


def test_what_others_have_left_is_removed_and_what_they_have_is_not(
    seat: Seat, tmp_path: Path
) -> None:
    for name in ("dead.lock", "dead.node", "dead.life"):
        (tmp_path / name).touch()
    with holder(tmp_path, "listen") as process:
        assert said(process) == "has it"
        assert not list(tmp_path.glob("dead.*"))
        other = Seat(str(tmp_path), Address("10.0.0.1", 9998))
        assert other.take()
        assert seat.holder() == process.pid
        seat.connect().close()
        other.leave()
        other.close()


def test_a_lock_whose_file_is_removed_is_not_the_place(
    seat: Seat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One ends, and removes it, just when another has opened it."""
    looks = []
    real = os.stat

    def stat(path: str, **options: object) -> os.stat_result:
        if str(path).endswith(".lock") and not looks:
            looks.append(path)
            os.unlink(path)
        return real(path)

    monkeypatch.setattr(os, "stat", stat)
    assert seat.take()
    assert looks
    (lock,) = tmp_path.glob("*.lock")
    with holder(tmp_path) as process:
        assert said(process) == "taken"
    assert lock.exists()


def test_a_long_path_is_no_hindrance_on_linux(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * (100 if LINUX else 1))
    directory.mkdir()
    seat = Seat(str(directory), ADDRESS)
    with holder(directory, "listen") as process:
        assert said(process) == "has it"
        assert seat.holder() == process.pid
        seat.connect().close()
        assert len(seat.endpoint) < 107
    seat.close()
