from __future__ import annotations

import warnings
from functools import partial

import numpy
import pytest
from two_sides import Program

SOURCE = """
    import numpy

    class Holder:
        def __init__(self, value):
            self.value = value
        def method(self, *args):
            return len(self.value)

    table = bytes(3 << 20)

    def work(parent, *args):
        return len(table)
"""
LATER = """
    def make(data, extra):
        def worker(*args):
            return len(data), extra
        return worker
"""
MIB = 1 << 20


def test_large_captured_variables_are_warned_of_with_their_names() -> None:
    two = Program(SOURCE)
    worker = two.later(LATER).make(bytes(3 * MIB), "little")
    with pytest.warns(RuntimeWarning) as caught:
        two.spawn(worker)
    (warning,) = caught
    text = str(warning.message)
    assert text.startswith("worker captures 3 MiB of variables, ")
    assert "data (3 MiB), extra (" in text


def test_the_largest_come_first_and_few_are_named() -> None:
    two = Program(SOURCE)
    names = two.later("""
        def make():
            a, b, c, d = (numpy.zeros(n << 17) for n in (1, 3, 2, 4))
            def worker(*args):
                return a, b, c, d
            return worker
    """)
    with pytest.warns(RuntimeWarning, match=r"10 MiB .*: d \(4 MiB\), b \(3 MiB\), c \(2 MiB\)$"):
        two.spawn(partial(names.make(), 1))


def test_a_global_rebound_since_init_is_captured() -> None:
    two = Program(SOURCE)
    names = two.later("table = bytes(2 << 20)\ndef late(*args): return len(table)")
    with pytest.warns(RuntimeWarning, match=r"late captures 2 MiB .*: table \(2 MiB\)"):
        assert two.spawn(names.late) == 2 * MIB


def test_what_is_in_captured_functions_counts() -> None:
    two = Program(SOURCE)
    names = two.later(LATER + "    def around(f):\n        return lambda *a: f()")
    with pytest.warns(RuntimeWarning, match=r"<lambda> captures .*: f \(3 MiB\)"):
        two.spawn(names.around(names.make(bytes(3 * MIB), 1)))


def test_what_is_small_or_meant_to_be_sent_is_not_warned_of() -> None:
    two = Program(SOURCE)
    names = two.later(LATER)
    big = bytes(3 * MIB)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        two.spawn(names.make(bytes(MIB - 2000), 1))
        two.spawn(names.make(b"", 1), big)
        two.spawn(two.here.names.work, big)
        two.spawn(partial(names.make(b"", 1), numpy.zeros(MIB)))
        two.spawn(two.here.names.Holder(big).method)
        two.spawn(len, big)


def test_the_warning_is_given_for_the_line_that_spawns() -> None:
    two = Program(SOURCE)
    worker = two.later(LATER).make(bytes(3 * MIB), 1)
    with pytest.warns(RuntimeWarning) as caught:
        two.spawn(worker)
    # The first that is not of the library: here that of the helper.
    assert caught[0].filename.endswith("two_sides.py")


def test_what_can_be_pickled_only_once_is_no_reason_not_to_run() -> None:
    two = Program(SOURCE)
    names = two.later(
        LATER
        + """
    class Once:
        turn = 0
        def __reduce__(self):
            self.turn += 1
            if self.turn > 1:
                raise ValueError
            return int, ()
    """
    )
    with pytest.warns(RuntimeWarning, match=r"data \(3 MiB\), extra \(0 B\)"):
        assert two.spawn(names.make(bytes(3 * MIB), names.Once())) == (3 * MIB, 0)
