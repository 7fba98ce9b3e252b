from __future__ import annotations

import asyncio
import functools
import sys
import types
from typing import Any

import pytest
from two_sides import Program

from constellation.channel.byvalue import captured, global_names, reduce_code

BEFORE = """
    import threading

    lock = threading.Lock()
    factor = 2
    calls = []

    def double(x):
        return factor * x
"""


@pytest.mark.parametrize(
    ("later", "call", "result"),
    [
        ("def f(x): return x + 1", (1,), 2),
        ("f = lambda x, y=3: x + y", (1,), 4),
        ("def f(n): return 1 if n < 2 else n * f(n - 1)", (5,), 120),
        ("def f(x): return double(x) + factor", (3,), 8),
        ("def g(x): return -x\ndef f(x): return g(x)", (3,), -3),
        (("def even(n): return n == 0 or odd(n - 1)\n"
         "def odd(n): return n != 0 and even(n - 1)\nf = even"), (7,), False),
        ("def f(x):\n    with lock:\n        return x", (3,), 3),
        ("def f(x):\n    class A:\n        y = factor + x\n    return A.y", (3,), 5),
        ("def f(*a, k=5, **kw): return a, k, kw", (1,), ((1,), 5, {})),
        (("import os.path, concurrent.futures\n"
         "def f(x): return concurrent.futures.Future.__name__ * x"), (1,), "Future"),
    ],
)  # fmt: skip
def test_a_function_defined_later_does_the_same_there(
    later: str, call: tuple[Any, ...], result: object
) -> None:
    two = Program(BEFORE)
    function = two.later(later).f
    assert two.send(function)(*call) == result
    assert two.spawn(function, *call) == result


def test_a_function_keeps_its_attributes() -> None:
    two = Program(BEFORE)
    names = two.later("""
        def f(a: int, b: str = "b", *, c: float = 1.0) -> None:
            "Says what it does."
        f.mark = [1]
    """)
    function = two.send(names.f)
    assert function.__name__ == function.__qualname__ == "f"
    assert function.__module__ == "__main__"
    assert function.__doc__ == "Says what it does."
    assert function.__defaults__ == ("b",)
    assert function.__kwdefaults__ == {"c": 1.0}
    assert function.__annotations__ == {"a": int, "b": str, "c": float, "return": None}
    assert function.mark == [1]


def test_functions_share_the_variables_that_they_shared() -> None:
    two = Program(BEFORE)
    names = two.later("""
        def make():
            n = 0
            def count():
                nonlocal n
                n += 1
            def read():
                return n
            return count, read
    """)
    pair = names.make()
    count, read = two.send(pair)
    count()
    count()
    assert read() == 2
    assert pair[1]() == 0


def test_a_recursive_closure_is_in_its_own_cell() -> None:
    two = Program(BEFORE)
    names = two.later("""
        def make():
            def f(n):
                return 1 if n < 2 else n * f(n - 1)
            return f
    """)
    function = two.send(names.make())
    assert function(5) == 120
    assert captured(function) == {"f": function}


def test_an_unbound_variable_stays_unbound() -> None:
    two = Program(BEFORE)
    names = two.later("""
        def make():
            def f():
                return later
            if False:
                later = 1
            return f
    """)
    with pytest.raises(NameError):
        two.send(names.make())()


def test_functions_share_the_globals_that_they_shared() -> None:
    two = Program(BEFORE)
    names = two.later("""
        total = 0
        def add(n):
            global total
            total += n
        def read():
            return total
    """)
    add, read = two.send((names.add, names.read))
    add(5)
    assert read() == 5


def test_what_was_rebound_since_goes_along() -> None:
    two = Program(BEFORE)
    names = two.later("factor = 10\ndef f(x): return factor * x")
    assert two.send(names.f)(1) == 10
    # What is sent over a channel rebinds nothing under the feet of who receives it.
    assert two.there.names.factor == 2


def test_a_spawned_function_has_its_globals_to_itself() -> None:
    two = Program(BEFORE)
    names = two.later("factor = 10\ndef f(x): return double(x)")
    assert two.spawn(names.f, 1) == 2  # the recorded `double` does not travel, nor what it names
    names = two.later("def f(x): return factor * double(x)")
    assert two.spawn(names.f, 1) == 100
    assert two.there.names.factor == 10


def test_a_global_mutated_in_place_stays_as_the_image_has_it() -> None:
    two = Program(BEFORE)
    names = two.later("calls.append(1)\ndef f(): return len(calls)")
    assert two.send(names.f)() == 0


def test_a_name_rebound_to_a_function_goes_by_value() -> None:
    two = Program(BEFORE)
    names = two.later("old = double\ndef double(x): return 'new'")
    old, new = two.send((names.old, names.double))
    assert old is two.there.names.double
    assert new(1) == "new"


@pytest.mark.parametrize("options", ["", "(maxsize=3)", "(maxsize=None, typed=True)"])
def test_a_cached_function_comes_with_an_empty_cache(options: str) -> None:
    two = Program(BEFORE)
    names = two.later(f"""
        import functools
        @functools.lru_cache{options}
        def f(x):
            return x + 1
        f(1)
    """)
    function = two.send(names.f)
    assert function.cache_info().currsize == 0
    assert function.cache_parameters() == names.f.cache_parameters()
    assert function(1) == 2


def test_a_cached_function_of_the_image_goes_by_reference() -> None:
    two = Program("import functools\n@functools.cache\ndef f(x): return x")
    assert two.send(two.here.names.f) is two.there.names.f


def test_a_partial_of_a_closure() -> None:
    two = Program(BEFORE)
    names = two.later("def f(a, b, *, c): return a, b, c")
    assert two.send(functools.partial(names.f, 1, c=3))(2) == (1, 2, 3)
    assert two.spawn(functools.partial(names.f, 1, c=3), 2) == (1, 2, 3)


def test_a_coroutine_function() -> None:
    two = Program(BEFORE)
    names = two.later("async def f(x): return double(x)")
    assert asyncio.run(two.send(names.f)(2)) == 4


def test_a_function_of_a_module_that_is_nowhere_takes_its_globals_along() -> None:
    two = Program(BEFORE)
    module = types.ModuleType("nowhere")
    exec("constant = 3\ndef f():\n    return constant", vars(module))
    function = two.send(module.f)
    assert function() == 3
    assert function.__module__ == "nowhere"
    assert function.__globals__ is not vars(module)


def test_globals_of_earlier_functions_are_not_kept() -> None:
    from constellation.channel.encoder import Encoder

    two = Program(BEFORE)
    encoder = Encoder("pickle", two.here.image)
    namespace: dict[str, Any] = {"__name__": "nowhere", "big": [0]}
    exec("def f(): return big", namespace)
    before = sys.getrefcount(namespace)
    with two.here.active():
        encoder.add(namespace["f"])
        encoder.take()
    assert sys.getrefcount(namespace) == before


def test_annotations_that_cannot_be_evaluated_are_no_reason_not_to_run() -> None:
    two = Program(BEFORE)
    names = two.later("""
        from __future__ import annotations
        def f(x: Nothing) -> Nowhere:
            return x
    """)
    assert two.send(names.f)(1) == 1


def test_the_globals_that_code_names_are_those_of_inner_code_too() -> None:
    def function() -> Any:
        def inner() -> Any:
            return [sys for _ in ()]

        class Inner:
            value = pytest

        return inner, Inner

    assert {"sys", "pytest"} <= set(global_names(function.__code__))


def test_code_keeps_the_name_of_its_file() -> None:
    code = test_code_keeps_the_name_of_its_file.__code__
    make, arguments = reduce_code(code)
    assert make(*arguments).co_filename == code.co_filename
