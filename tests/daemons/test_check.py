from __future__ import annotations

import errno
import json
import platform
import socket
from typing import Any

import pytest

from constellation.address import Address
from constellation.settings import Format
from constellation_daemons import check


def test_ports_of_processes_behind_a_firewall(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], _limit: float) -> Any:
        asked.append(address)
        if address[1] == dropped:
            raise TimeoutError
        if address[1] == rejected:
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    dropped = rejected = 0
    checked = check._Check(None, Format.HUMAN)
    checked._ports("10.0.0.2:9999", (40000, 40010))
    assert not checked.failed
    assert asked == [("10.0.0.2", port) for port in (40000, 40005, 40010)]
    assert capsys.readouterr().out == ""
    dropped = 40010
    checked._ports("10.0.0.2:9999", (40000, 40010))
    assert checked.failed
    assert capsys.readouterr().out == (
        "node 10.0.0.2:9999: its processes cannot be connected to: no answer at port 40010. "
        "A firewall is in between: open its ports 40000 to 40010 for the machines of the cluster\n"
    )
    rejected = 32768
    checked._ports("10.0.0.2:9999", (0, 0))
    told = capsys.readouterr().out
    assert "No route to host at port 32768" in told
    assert told.endswith("and choose them with port_range\n")


def test_other_versions_are_told_with_what_mends_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "VERSION", "0.2.0")
    monkeypatch.setattr(platform, "python_version", lambda: "3.12.1")
    checked = check._Check(None, Format.HUMAN)
    checked._versions("node 10.0.0.2:9999", "0.2.0", "3.12.9")
    assert not checked.failed
    assert capsys.readouterr().out == ""
    checked._versions("node 10.0.0.2:9999", "0.1.0", "3.11.7")
    assert checked.failed
    assert capsys.readouterr().out == (
        "node 10.0.0.2:9999: has constellation 0.1.0, and this machine 0.2.0: "
        "use the same version everywhere\n"
        "node 10.0.0.2:9999: has Python 3.11.7, and this machine 3.12.1: "
        "use the same minor version everywhere\n"
    )


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        here = Address("127.0.0.1", taken.getsockname()[1])
        assert check.check_node(here, here.with_port(1), None, Format.JSON) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["about"], line["ok"]) for line in lines] == [
        ("here", False),
        ("master 127.0.0.1:1", False),
    ]
    assert lines[0]["text"].startswith(f"cannot listen at {here}: something else listens there")
