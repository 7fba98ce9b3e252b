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
    assert text.startswith("worker captures 3 MiB, which every spawn of it sends along: ")
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
    with pytest.warns(RuntimeWarning, match=r"10 MiB, .*: d \(4 MiB\), b \(3 MiB\), c \(2 MiB\)$"):
        two.spawn(partial(names.make(), 1))


def test_a_global_rebound_since_init_is_captured() -> None:
    two = Program(SOURCE)
    names = two.later("table = bytes(2 << 20)\ndef late(*args): return len(table)")
    with pytest.warns(RuntimeWarning, match=r"late captures 2 MiB, .*: table \(2 MiB\)"):
        assert two.spawn(names.late) == 2 * MIB


def test_what_is_in_captured_functions_counts() -> None:
    two = Program(SOURCE)
    names = two.later(LATER + "    def around(f):\n        return lambda *a: f()")
    with pytest.warns(RuntimeWarning, match=r"<lambda> captures .*: f -> data \(3 MiB\), f"):
        two.spawn(names.around(names.make(bytes(3 * MIB), 1)))


HELPERS = """
    import functools

    def make(table):
        def helper(i):
            return table[i]
        @functools.cache
        def cached(i):
            return helper(i)
        def recursive(i):
            return cached(i) if i == 0 else recursive(i - 1)
        return lambda *_: recursive(1)

    def twice(table):
        def helper():
            return table[0]
        return lambda *_: helper() + table[1]

    def given(table, f):
        through = functools.partial(f, table, key=1)
        return lambda *_: through()

    def named(table, f):
        through = functools.partial(f, key=table)
        return lambda *_: through(1)

    def default(table):
        def late(parent=None, x=table, y=1):
            return x[0]
        return late

    def keyword(table):
        def late(*_, small=1, x=table):
            return x[0]
        return late

    def inner(table):
        def helper(x=table):
            return x[0]
        return lambda *_: helper()

    def attribute(table):
        def late(*_):
            return late.table[0]
        late.table = table
        return late

    def first(table, key):
        return 0
"""


@pytest.mark.parametrize(
    ("make", "path"),
    [
        ("make", "recursive -> cached -> helper -> table"),
        ("twice", "table"),
        ("default", "default of argument 'x'"),
        ("keyword", "default of argument 'x'"),
        ("inner", "helper -> default of argument 'x'"),
        ("attribute", "attribute 'table'"),
    ],
)
def test_the_way_to_what_is_large_is_named(make: str, path: str) -> None:
    two = Program(SOURCE)
    function = getattr(two.later(HELPERS), make)(numpy.zeros(3 << 17))
    with pytest.warns(RuntimeWarning) as caught:
        assert two.spawn(function) == 0
    (warning,) = caught
    text = str(warning.message)
    assert "captures 3 MiB, which every spawn of it sends along: " in text, "once is once"
    assert text.partition(" along: ")[2].startswith(f"{path} (3 MiB)")


@pytest.mark.parametrize(("make", "path"), [("given", "argument 0"), ("named", "argument 'key'")])
def test_what_a_captured_partial_was_given_counts(make: str, path: str) -> None:
    two = Program(SOURCE)
    names = two.later(HELPERS)
    function = getattr(names, make)(numpy.zeros(3 << 17), names.first)
    with pytest.warns(RuntimeWarning, match=rf"captures 3 MiB, .*: through -> {path} \(3 MiB\)"):
        assert two.spawn(function) == 0


def test_what_every_process_has_does_not_count() -> None:
    two = Program(
        SOURCE
        + """
    def has(i, x=numpy.zeros(1 << 18)):
        return x[i]
    has.table = numpy.zeros(1 << 18)
    """
    )
    late = two.later("def around(f):\n    return lambda *_: f(0)")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert two.spawn(late.around(two.here.names.has), bytes(3 * MIB)) == 0


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
