from __future__ import annotations

import collections
import functools
import threading
import types
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy
import pytest
from two_sides import Program

from constellation.channel.culprit import unencodable
from constellation.channel.encoder import Encoder
from constellation.errors import SerializationError

SOURCE = """
    import threading

    LOCK = threading.Lock()

    class Config:
        def __init__(self, **attributes):
            vars(self).update(attributes)

    class Slots:
        __slots__ = ("a", "lock")
        def __init__(self):
            self.a = 1
            self.lock = threading.Lock()

    class Listed(list):
        pass

    class Failing:
        def __reduce__(self):
            raise ValueError("no")

    class Broken:
        def __getstate__(self):
            raise KeyError("what")

    def work(parent, *args, **kwargs):
        pass
"""
LOCK = threading.Lock()
Pair = collections.namedtuple("Pair", "first second")  # noqa: PYI024 - the other kind is no tuple


def refused(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(SerializationError) as caught:
        call(*args, **kwargs)
    assert caught.value.__cause__ is not None
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("LOCK", "value"),
        ("[0, LOCK]", "value[1]"),
        ("(0, [1, (LOCK,)])", "value[1][1][0]"),
        ("{'a': {2: LOCK}}", "value['a'][2]"),
        ("{(1, LOCK): 1}", "value.keys()[0][1]"),
        ("Config(cfg=Config(lock=LOCK))", "value.cfg.lock"),
        ("[Config(), Config(x=[LOCK])]", "value[1].x[0]"),
        ("Slots()", "value.lock"),
        ("Listed([1, LOCK])", "value[1]"),
        ("Config(f=Config(g=1).__init__, l=LOCK)", "value.l"),
        ("ValueError('a', LOCK)", "value.args[1]"),
    ],
)
def test_the_path_to_a_lock_in_a_value(text: str, path: str) -> None:
    two = Program(SOURCE)
    value = eval(text, vars(two.here.names))
    assert refused(two.send, value) == f"{path}: cannot pickle '_thread.lock' object"


def test_the_path_to_a_lock_in_other_things() -> None:
    two = Program(SOURCE)

    def text(value: object) -> str:
        return refused(two.send, value).partition(":")[0]

    assert text(Pair(1, LOCK)) == "value.second"
    assert text(functools.partial(int, LOCK)) == "value.args[0]"
    assert text(collections.deque([1, LOCK])) == "value[1]"
    assert text(collections.OrderedDict(a=LOCK)) == "value['a']"
    assert text(collections.defaultdict(int, a=LOCK)) == "value['a']"
    assert text(numpy.array([1, LOCK], dtype=object)) == "value[1]"
    assert text(types.MethodType(two.here.names.work, LOCK)) == "value.__self__"
    assert text(lambda a=LOCK: a) == "value.__defaults__[0]"
    assert text({LOCK}).startswith("value{<unlocked _thread.lock")
    error = two.later("class Bad(Exception):\n    def __init__(self, a): self.a = a")
    assert text(error.Bad(LOCK)) in ("value.args[0]", "value.a")


def test_the_path_through_what_is_in_itself() -> None:
    two = Program(SOURCE)
    config = two.here.names.Config(lock=LOCK)
    config.me = config
    config.all = [config]
    assert refused(two.send, config) == "value.lock: cannot pickle '_thread.lock' object"


def test_the_path_in_a_class_by_value() -> None:
    two = Program(SOURCE)
    names = two.later("class Late:\n    inner = {'l': threading.Lock()}")
    assert refused(two.send, names.Late()).startswith("value.__class__.inner['l']: cannot pickle")


def test_a_captured_variable_is_named_by_its_function() -> None:
    two = Program(SOURCE)
    names = two.later("""
        def make():
            guard = threading.Lock()
            cfg = Config(lock=guard)
            def worker(parent):
                with guard:
                    pass
            def other(parent):
                return cfg
            def outer(parent):
                return worker
            return worker, other, outer
    """)
    worker, other, outer = names.make()
    reason = "cannot pickle '_thread.lock' object"
    assert refused(two.spawn, worker) == f"worker.guard: {reason}"
    assert refused(two.spawn, other) == f"other.cfg.lock: {reason}"
    assert refused(two.spawn, outer) == f"outer.worker.guard: {reason}"
    assert refused(two.spawn, functools.partial(worker, 1)) == f"worker.guard: {reason}"
    assert refused(two.send, worker) == f"value.guard: {reason}"


def test_a_global_made_after_init_is_named_by_its_function() -> None:
    two = Program(SOURCE)
    names = two.later("late = threading.Lock()\ndef worker(parent):\n    return late, LOCK")
    assert refused(two.spawn, names.worker).startswith("worker.late: cannot pickle")


def test_the_path_in_the_arguments_of_a_spawn() -> None:
    two = Program(SOURCE)
    work, config = two.here.names.work, two.here.names.Config
    reason = "cannot pickle '_thread.lock' object"
    assert refused(two.spawn, work, 1, config(lock=LOCK)) == f"args[1].lock: {reason}"
    assert refused(two.spawn, work, config(cfg=config(lock=LOCK))) == f"args[0].cfg.lock: {reason}"
    assert refused(two.spawn, work, cfg=[LOCK]) == f"kwargs['cfg'][0]: {reason}"
    assert refused(two.spawn, functools.partial(work, LOCK)) == f"partial.args[0]: {reason}"
    partial = functools.partial(work, a=config(b=LOCK))
    assert refused(two.spawn, partial) == f"partial.keywords['a'].b: {reason}"
    assert two.spawn(work, 1, a=2) is None


def test_reductions_that_raise() -> None:
    two = Program(SOURCE)
    failing, broken = two.here.names.Failing(), two.here.names.Broken()
    assert (
        refused(two.send, [1, failing])
        == "value[1]: cannot encode 'Failing' object: ValueError: no"
    )
    assert refused(two.send, {1: broken}).startswith(
        "value[1]: cannot encode 'Broken' object: KeyError"
    )


def test_what_is_nested_too_deeply() -> None:
    two = Program("")
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert refused(two.send, value) == "value: nested too deeply to be encoded"
    while value:
        value = value[0]


def test_the_cause_is_what_the_culprit_raised() -> None:
    with pytest.raises(SerializationError) as caught:
        Encoder("pickle", None).add([LOCK])
    assert isinstance(caught.value.__cause__, TypeError)
    assert caught.value.path == "value[0]"


def test_one_of_many_is_found() -> None:
    two = Program("")
    many: list[Any] = [{"n": n} for n in range(5000)]
    many[3210]["n"] = LOCK
    assert refused(two.send, many).startswith("value[3210]['n']: ")


@dataclass
class Item:
    price: object


class Record(msgspec.Struct):
    items: list[Any]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_the_path_in_data(codec: str) -> None:
    encoder = Encoder(codec, None)
    path = "value['a'][0].items[1].price"
    value = {"a": [Record([1, Item(LOCK)])]}
    assert refused(encoder.add, value).startswith(f"{path}: cannot encode 'lock' object: TypeError")


def test_an_error_that_nothing_below_repeats() -> None:
    error = unencodable([1], ValueError("once"), lambda _: None)
    assert str(error) == "value: cannot encode 'list' object: ValueError: once"
