from __future__ import annotations

import platform
from typing import Any

import msgspec
import pytest

from constellation.version import VERSION
from constellation_daemons.node.lifeline import Tie, misfit

PYTHON = platform.python_version()
TIE = Tie(VERSION, PYTHON, b"key", 30, "human")
MINOR = ".".join(PYTHON.split(".")[:2])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, None),
        ({"level": 10, "form": "json"}, None),
        ({"python": f"{MINOR}.99"}, None),
        ({"version": "99.0"}, f"it has constellation {VERSION}, and this master 99.0"),
        ({"python": "3.1.4"}, f"it has Python {PYTHON}, and this master 3.1.4"),
        ({"public": b"other"}, "it has another key of the cluster than this master"),
        ({"public": None}, "it has another key of the cluster than this master"),
    ],
)
def test_what_a_node_cannot_serve(fields: dict[str, Any], told: str | None) -> None:
    assert misfit(msgspec.structs.replace(TIE, **fields), b"key") == told


def test_one_without_a_key_serves_one_without() -> None:
    assert misfit(msgspec.structs.replace(TIE, public=None), None) is None
