from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

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
    assert not check._closed("10.0.0.2:9999", (40000, 40010))
    assert asked == [("10.0.0.2", port) for port in (40000, 40005, 40010)]
    assert capsys.readouterr().out == ""
    dropped = 40010
    assert check._closed("10.0.0.2:9999", (40000, 40010))
    assert capsys.readouterr().out == (
        "node 10.0.0.2:9999: its processes cannot be connected to: no answer at port 40010. "
        "A firewall is in between: open its ports 40000 to 40010 for the machines of the cluster\n"
    )
    rejected = 32768
    assert check._closed("10.0.0.2:9999", (0, 0))
    told = capsys.readouterr().out
    assert "No route to host at port 32768" in told
    assert told.endswith("and choose them with port_range\n")
