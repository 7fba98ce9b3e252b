from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation_daemons.agent.shares import nice_of, weight_of

cores = st.floats(0, 10_000)


@pytest.mark.parametrize(
    ("given_cores", "nice", "weight"),
    [(0, 19, 1), (0.01, 19, 1), (1 / 16, 12, 6), (0.5, 3, 50), (1, 0, 100), (16, 0, 1600)],
)
def test_examples(given_cores: float, nice: int, weight: int) -> None:
    assert nice_of(given_cores) == nice
    assert weight_of(given_cores) == weight


@given(cores)
def test_both_are_what_the_kernel_takes(given_cores: float) -> None:
    assert 0 <= nice_of(given_cores) <= 19
    assert 1 <= weight_of(given_cores) <= 10_000


@given(cores, cores)
def test_whoever_was_given_more_never_has_less(one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert nice_of(small) >= nice_of(large)
    assert weight_of(small) <= weight_of(large)


@given(st.floats(1 / 64, 1))
def test_a_thread_has_about_its_part_of_a_core(given_cores: float) -> None:
    weight = 1.25 ** -nice_of(given_cores)
    assert math.sqrt(1 / 1.26) <= weight / given_cores <= math.sqrt(1.26)
