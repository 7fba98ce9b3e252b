from __future__ import annotations

import platform

import msgspec
import pytest

from constellation_daemons.messages import Attach
from constellation_daemons.node.service import refusal
from constellation_daemons.node_config import Enforce

ATTACH = Attach(
    master="10.0.0.1:9999",
    node="10.0.0.2:9999",
    mem=None,
    cpu=None,
    ports=(0, 0),
    advertised="10.0.0.2",
    bridge=None,
    timeout=5.0,
    enforce=Enforce.PRESSURE,
    python="3.11.7",
)


def test_a_node_of_another_python_says_so_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "python_version", lambda: "3.12.1")
    assert refusal(ATTACH) == (
        "the master 10.0.0.1:9999 has Python 3.11.7, and this node 3.12.1, so it does not join: "
        "use the same minor version everywhere"
    )
    assert refusal(msgspec.structs.replace(ATTACH, python="3.12.9")) is None
    assert refusal(msgspec.structs.replace(ATTACH, python="3.1.0")) is not None
