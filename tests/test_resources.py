from __future__ import annotations

import dataclasses
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation import RESOURCES_DEFAULT, Cpu, Mem, Resources


def test_the_default() -> None:
    assert Resources() == RESOURCES_DEFAULT
    assert RESOURCES_DEFAULT.mem == Mem("100 MiB")
    assert RESOURCES_DEFAULT.cpu == Cpu.CORE / 16
    assert json.dumps(RESOURCES_DEFAULT.to_json()) == '{"mem": 104857600, "cpu": 0.0625}'
    assert Resources(cpu=2).mem == RESOURCES_DEFAULT.mem
    assert Resources(mem=2).cpu == RESOURCES_DEFAULT.cpu


@pytest.mark.parametrize("mem", ["20 MiB", 20 << 20, 20 * Mem.MIB])
@pytest.mark.parametrize("cpu", ["0.01", 0.01, Cpu(0.01), "1/100"])
def test_every_way_to_say_the_same(mem: Any, cpu: Any) -> None:
    resources = Resources(mem=mem, cpu=cpu)
    assert resources == Resources(mem="20 MiB", cpu=0.01)
    assert hash(resources) == hash(Resources(mem="20 MiB", cpu=0.01))
    assert type(resources.mem) is Mem
    assert type(resources.cpu) is Cpu
    assert str(resources) == "20 MiB and 0.01 cores"
    assert str(Resources(mem=1, cpu=1)) == "1 B and 1 core"
    assert repr(resources) == 'Resources(mem=Mem("20 MiB"), cpu=Cpu(0.01))'


def test_resources_compare_by_value() -> None:
    assert Resources(mem=1, cpu=2) != Resources(mem=2, cpu=2)
    assert Resources(mem=1, cpu=2) != Resources(mem=1, cpu=1)
    assert Resources() != (Mem("100 MiB"), Cpu(0.0625))


def test_resources_are_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RESOURCES_DEFAULT.mem = Mem.B


@pytest.mark.parametrize(
    ("wrong", "example"),
    [
        ({"mem": "much"}, "1.5 GiB"),
        ({"mem": -1}, "1.5 GiB"),
        ({"mem": True}, "1.5 GiB"),
        ({"cpu": "all"}, "1/16"),
        ({"cpu": float("nan")}, "1/16"),
        ({"cpu": -0.5}, "1/16"),
    ],
)
def test_amounts_that_make_no_sense(wrong: dict[str, Any], example: str) -> None:
    with pytest.raises(ValueError, match=example):
        Resources(**wrong)


@given(st.integers(0, 2**63), st.floats(0, 1e6))
def test_resources_pickle(mem: int, cpu: float) -> None:
    resources = Resources(mem=mem, cpu=cpu)
    assert pickle.loads(pickle.dumps(resources)) == resources
    assert Resources(**resources.to_json()) == resources
