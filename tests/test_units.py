from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation import Cpu, Mem

UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]

mems = st.integers(0, 2**62).map(Mem)
cpus = st.builds(lambda count: Cpu(Fraction(count, 10**9)), st.integers(0, 2**50))
amounts = st.one_of(mems, cpus)


@pytest.mark.parametrize(("power", "unit"), list(enumerate(UNITS)))
def test_units_of_memory(power: int, unit: str) -> None:
    one = getattr(Mem, unit.upper())
    assert int(one) == 1024**power
    assert Mem(f"1 {unit}") == one
    assert str(one) == f"1 {unit}"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1.5 GiB", 3 << 29),
        ("100GiB", 100 << 30),
        ("  20 mib ", 20 << 20),
        (".5 KiB", 512),
        ("2. B", 2),
        ("0 B", 0),
        ("15.75 EiB", 63 << 58),
        ("0.1 GiB", 107374182),  # rounded
    ],
)
def test_memory_from_text(text: str, size: int) -> None:
    assert int(Mem(text)) == size


@pytest.mark.parametrize(
    ("text", "cores"),
    [("16", 16), ("0.01", 0.01), (" 1/16 ", 0.0625), (".5 cores", 0.5), ("1 core", 1)],
)
def test_cores_from_text(text: str, cores: float) -> None:
    assert float(Cpu(text)) == cores


BAD_TEXT = [
    "",
    " ",
    "lots",
    "-1 GiB",
    "-1",
    "nan",
    "nan B",
    "inf",
    "1e3",
    "1e3 B",
    "1,5 GiB",
    "1 2 B",
]
BAD_MEMORY = ["5", "1.5", "20 MB", "20 M", "20 Mi", "1 GiB 1", "GiB", "1/2 GiB", "٣ GiB", "16 EiB"]
BAD_CORES = ["1/0", "1//2", "1/", "500m", "1 GiB", "٣", "5000000", "1_000"]


@pytest.mark.parametrize("text", [*BAD_TEXT, *BAD_MEMORY, "9" * 5000 + " B"])
def test_bad_text_for_memory_is_told_a_good_example(text: str) -> None:
    with pytest.raises(ValueError, match=r'such as "1\.5 GiB"') as caught:
        Mem(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["5", " 1.5 ", "100"])
def test_a_number_that_is_text_lacks_a_unit(text: str) -> None:
    """It is no news to who typed it on a command line that a number can be written."""
    with pytest.raises(ValueError, match=r"has no unit; write text with one \(B, KiB, "):
        Mem(text)


@pytest.mark.parametrize("text", [*BAD_TEXT, *BAD_CORES, "9" * 5000])
def test_bad_text_for_cores_is_told_a_good_example(text: str) -> None:
    with pytest.raises(ValueError, match=r'such as "0\.5" or "1/16"') as caught:
        Cpu(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("number", [-1, float("nan"), float("inf"), -float("inf"), True, False])
@pytest.mark.parametrize("kind", [Mem, Cpu])
def test_numbers_that_are_no_amount(kind: Any, number: float) -> None:
    with pytest.raises(ValueError, match=f"^{number!r} is .*such as"):
        kind(number)


@pytest.mark.parametrize("thing", [None, [], b"1 GiB", 1j, Decimal(1), object])
@pytest.mark.parametrize("kind", [Mem, Cpu])
def test_things_that_are_no_number(kind: Any, thing: object) -> None:
    with pytest.raises(TypeError, match="such as"):
        kind(thing)


def test_the_kinds_do_not_mix() -> None:
    assert Mem.B != Cpu.CORE
    for wrong in (
        lambda: Mem(Cpu.CORE),
        lambda: Cpu(Mem.B),
        lambda: Mem.B + Cpu.CORE,
        lambda: Mem.B - Cpu.CORE,
        lambda: Mem.B < Cpu.CORE,
        lambda: Mem.B / Cpu.CORE,
        lambda: Mem.B * Mem.B,
        lambda: Mem.B + "1 B",
        lambda: Mem.B * True,
        lambda: Mem.B + True,
        lambda: 1 / Mem.B,
    ):
        with pytest.raises(TypeError):
            wrong()


def test_part_of_a_byte_is_no_memory() -> None:
    with pytest.raises(ValueError, match=r"1\.5 is not a whole number of bytes"):
        Mem(1.5)
    assert Mem(2e9) == Mem(2_000_000_000)


def test_what_is_too_much_is_told_how_much_may_be() -> None:
    with pytest.raises(
        ValueError, match=r"'900 EiB' is .*: an amount of memory is less than 16 EiB;"
    ):
        Mem("900 EiB")
    with pytest.raises(ValueError, match=r"is .*: an amount of cores is at most 4503599;"):
        Cpu(4503600)
    assert Mem("16383 PiB") < Mem(2**64 - 1)
    assert Cpu(4503599) > 0


@pytest.mark.parametrize("kind", [Mem, Cpu])
def test_no_result_is_negative_or_too_big(kind: Any) -> None:
    with pytest.raises(ValueError, match="negative"):
        kind(1) - 2
    with pytest.raises(ValueError, match="negative"):
        kind(1) * -1
    with pytest.raises(ValueError, match="more than any machine has"):
        kind(1) * 10**20
    with pytest.raises(ZeroDivisionError):
        kind(1) / 0
    with pytest.raises(ZeroDivisionError):
        kind(1) / kind(0)
    with pytest.raises(ValueError, match="no factor"):
        kind(1) * float("nan")


def test_arithmetic() -> None:
    assert 20 * Mem.MIB == Mem("20 MiB")
    assert Mem.GIB * 1.5 == Mem("1.5 GiB")
    assert Mem.GIB / 2 == 512 * Mem.MIB
    assert Mem.GIB / Mem.MIB == 1024.0
    assert Mem(10) // 4 == Mem(2)
    assert Mem(10) // Mem(4) == 2
    assert Mem(10) % Mem(4) == Mem(2)
    assert Mem.KIB + 1 == Mem(1025) == 1 + Mem.KIB
    assert 1025 - Mem.KIB == Mem.B
    assert sum([Mem.MIB, Mem.KIB]) == Mem(1049600)
    assert Mem(5) / 2 == Mem(2)  # ties to even
    assert Mem(7) / 2 == Mem(4)
    assert Cpu.CORE / 16 == Cpu(0.0625)
    assert Cpu.CORE / 3 == Cpu("0.333333333")
    assert not Mem(0)
    assert Cpu("0.001")


def test_a_ledger_of_decimal_fractions_is_exact() -> None:
    share = Cpu(0.01)
    room = Cpu(16)
    for _ in range(1600):
        room -= share
    assert room == Cpu(0)
    assert sum([share] * 1600) == Cpu(16)


def test_numbers_of_numpy() -> None:
    assert Mem(np.int64(3)) == Mem(3)
    assert np.int32(5) * Mem.MIB == Mem("5 MiB") == Mem.MIB * np.float32(5)
    assert type(np.int64(5) * Mem.MIB) is Mem
    assert Cpu(np.float64(0.5)) == Cpu(0.5)
    assert bool(Mem(5) > np.int64(4))


def test_how_amounts_print() -> None:
    assert str(Mem(53423104)) == "52171 KiB"
    assert Mem(53423104).human == "50.9 MiB"
    assert str(Mem("1.5 GiB")) == Mem("1.5 GiB").human == "1.5 GiB"
    assert str(Mem(0)) == Mem(0).human == "0 B"
    assert repr(Mem("100 MiB")) == 'Mem("100 MiB")'
    assert f"{Mem('1 GiB'):>8}|" == "   1 GiB|"
    assert str(Cpu.CORE / 16) == "0.0625"
    assert str(Cpu(16)) == "16"
    assert repr(Cpu(0.01)) == "Cpu(0.01)"


def test_amounts_are_immutable() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Mem.B._count = 2
    with pytest.raises(AttributeError):
        Mem.B.other = 2
    with pytest.raises(AttributeError, match="immutable"):
        del Mem.B._count


@given(amounts)
def test_an_amount_comes_back_from_every_form(amount: Any) -> None:
    kind = type(amount)
    assert kind(str(amount)) == amount
    assert eval(repr(amount)) == amount
    assert pickle.loads(pickle.dumps(amount)) == amount
    assert copy.deepcopy(amount) == amount
    assert kind(amount) is amount


@given(cpus, cpus)
def test_a_float_tells_cores_apart(first: Cpu, second: Cpu) -> None:
    assert Cpu(float(first)) == first
    assert (float(first) == float(second)) == (str(first) == str(second))


@given(mems, st.integers(0, 2**62))
def test_memory_compares_as_its_bytes(mem: Mem, size: int) -> None:
    for other in (size, Mem(size), float(size)):
        assert (mem == other) == (int(mem) == other)
        assert (mem < other) == (int(mem) < other)
        assert (mem <= other) == (int(mem) <= other)
        assert (mem > other) == (int(mem) > other)
        assert (mem >= other) == (int(mem) >= other)
    assert hash(mem) == hash(int(mem))


@given(st.one_of(st.tuples(mems, mems), st.tuples(cpus, cpus)))
def test_equal_amounts_hash_equal(pair: tuple[Any, Any]) -> None:
    first, second = pair
    assert (first == second) == (not first < second and not first > second)
    if first == second:
        assert hash(first) == hash(second)


@given(st.one_of(st.tuples(mems, mems), st.tuples(cpus, cpus)))
def test_what_was_added_is_taken_away(pair: tuple[Any, Any]) -> None:
    first, second = pair
    assert first + second - second == first
    assert first + second == second + first
    if second:
        assert first // second * second + first % second == first


@given(mems, st.integers(1, 1000))
def test_a_division_is_the_nearest(mem: Mem, parts: int) -> None:
    exact = Fraction(int(mem), parts)
    assert abs(int(mem / parts) - exact) <= Fraction(1, 2)
    assert int(mem // parts) == int(mem) // parts


@given(st.text(max_size=20))
def test_any_text_is_an_amount_or_a_value_error(text: str) -> None:
    for kind in (Mem, Cpu):
        try:
            kind(text)
        except ValueError as error:
            assert "such as" in str(error)
