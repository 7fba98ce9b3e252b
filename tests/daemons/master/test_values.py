from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.resources import RESOURCES_DEFAULT, Resources
from constellation.units import Cpu, Mem
from constellation_daemons.master.values import Amount, RequestId

MEM = st.integers(0, 2**64 - 1)
CPU = st.integers(0, 2**52)


@given(MEM, CPU)
def test_amounts_are_resources_and_nothing_is_rounded(mem: int, cpu: int) -> None:
    amount = Amount(mem, cpu)
    resources = amount.resources()
    assert Amount.of(resources) == amount
    assert (int(resources.mem), resources.cpu) == (mem, Cpu(Fraction(cpu, 10**9)))


def test_the_default_is_a_hundred_mebibytes_and_a_sixteenth() -> None:
    assert Amount.of(RESOURCES_DEFAULT) == Amount(100 * 2**20, 62_500_000)


def test_small_shares_add_up() -> None:
    share = Amount.of(Resources(mem=Mem.B, cpu=0.01))
    total = Amount(0, 0)
    for _ in range(1600):
        total = total.plus(share)
    assert total == Amount.of(Resources(mem=1600, cpu=16))
    for _ in range(1600):
        total = total.minus(share)
    assert total == Amount(0, 0)


@pytest.mark.parametrize(
    ("need", "room", "fits"),
    [
        (Amount(1, 1), Amount(1, 1), True),
        (Amount(2, 1), Amount(1, 9), False),
        (Amount(1, 2), Amount(9, 1), False),
        (Amount(0, 0), Amount(0, 0), True),
        (Amount(0, 0), Amount(-1, 5), False),
    ],
)
def test_what_fits_fits_in_both(need: Amount, room: Amount, fits: bool) -> None:
    assert need.fits(room) is fits


def test_how_people_read_them() -> None:
    assert Amount(24684096 << 10, 10**9).shown == "23.5 GiB and 1 core"
    assert Amount(100 << 20, 10**7).shown == "100 MiB and 0.01 cores"
    assert Amount(-5, 5 * 10**8).shown == "-5 B and 0.5 cores"


def test_how_they_read() -> None:
    assert str(Amount(2**30, 5 * 10**8)) == "1 GiB and 0.5 cores"
    assert str(Amount(-5, 5 * 10**8)) == "-5 B and 0.5 cores"
    assert str(RequestId("bridge-1", 7)) == "bridge-1#7"
