from __future__ import annotations

import importlib
from typing import Any

import pytest
from click.testing import CliRunner

from constellation.cli.main import constellation
from constellation.control.cluster import AskKill, Done


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    requests: list[Any] = []

    def query(_address: object, _key_options: object, request: object) -> Done:
        requests.append(request)
        return Done("done")

    monkeypatch.setattr(importlib.import_module("constellation.cli.kill"), "query", query)
    return requests


@pytest.mark.parametrize("name", ["", "a", "abc"])
def test_a_name_that_is_too_short(asked: list[Any], name: str) -> None:
    done = CliRunner().invoke(constellation, ["kill", "127.0.0.1:9999", name])
    assert done.exit_code == 2
    assert f"Invalid value for NAME: {name!r}: " in done.stderr
    assert "4 digits" in done.stderr
    assert asked == []


def test_one_that_is_not(asked: list[Any]) -> None:
    done = CliRunner().invoke(constellation, ["kill", "127.0.0.1:9999", "abcd"])
    assert (done.exit_code, done.stdout) == (0, "done\n")
    assert asked == [AskKill("abcd")]


@pytest.mark.parametrize("command", [["kill"], ["status"], ["events"]])
@pytest.mark.parametrize("address", ["0.0.0.0:9999", "[::]:9999", "127.0.0.1:0"])
def test_an_address_that_nobody_can_connect_to(command: list[str], address: str) -> None:
    done = CliRunner().invoke(constellation, [*command, address])
    assert done.exit_code == 2
    assert f"{address} is where one can listen, and not connect to" in done.stderr
