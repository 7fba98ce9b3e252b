from __future__ import annotations

from typing import Any

import msgspec
import pytest

from constellation_daemons.messages import Attach
from constellation_daemons.node.bridge import changed
from constellation_daemons.node_config import Enforce

ATTACH = Attach(
    master="10.0.0.1:9999",
    node="10.0.0.2:9999",
    mem=None,
    cpu=None,
    ports=(0, 0),
    advertised="10.0.0.2",
    bridge="10.0.0.2:8888",
    timeout=5.0,
    enforce=Enforce.PRESSURE,
    python="3.11.7",
)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, []),
        ({"mem": 1 << 30, "ports": (40000, 40010), "enforce": Enforce.OFF}, []),
        ({"bridge": "10.0.0.2:7777"}, ["bridge_bind = 10.0.0.2:7777"]),
        ({"bridge": None}, ["no bridge"]),
        (
            {"master": "10.0.0.9:9999", "timeout": 2.5},
            ["the master 10.0.0.9:9999", "a timeout of 2.5 s"],
        ),
        ({"advertised": "node2"}, ["the address node2"]),
    ],
)
def test_what_a_bridge_would_be_told_in_another_way(
    fields: dict[str, Any], told: list[str]
) -> None:
    assert changed(ATTACH, msgspec.structs.replace(ATTACH, **fields)) == told
