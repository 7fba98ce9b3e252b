from __future__ import annotations

import io
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from two_sides import Program

from constellation.channel.pickling import ImageUnpickler, needs_image
from constellation.errors import (
    ChannelClosed,
    ChannelTypeError,
    ConstellationError,
    NoCapacity,
    ProcessExited,
    SerializationError,
    SettingsError,
    WouldBlock,
)
from constellation.exit_status import ExitStatus
from constellation.pid import Pid

BEFORE = """
    import collections, dataclasses, enum, typing

    class Point:
        def __init__(self, x):
            self.x = x
        def get(self):
            return self.x
        @classmethod
        def make(cls):
            return cls(7)
        class Inner:
            pass

    @dataclasses.dataclass(frozen=True)
    class Job:
        name: str
        after: list = dataclasses.field(default_factory=list)

    class Color(enum.Enum):
        RED = 1

    class Permission(enum.IntFlag):
        R = 1
        W = 2

    Pair = collections.namedtuple("Pair", "a b")
    T = typing.TypeVar("T")

    def double(x):
        return 2 * x

    alias = double
"""


@pytest.mark.parametrize(
    "name",
    ["double", "alias", "Point", "Point.Inner", "Point.get", "Job", "Color", "Color.RED", "T"],
)
def test_what_the_image_holds_is_the_readers_own(name: str) -> None:
    two = Program(BEFORE)
    here, there = (eval(name, vars(side.names)) for side in (two.here, two.there))
    assert here is not there
    assert two.send(here) is there


@pytest.mark.parametrize(
    "text",
    ["Job('a', [1])", "Permission.R | Permission.W", "Pair(1, 2)", "{Color.RED: Job('b')}"],
)
def test_values_of_the_images_classes_are_equal_there(text: str) -> None:
    two = Program(BEFORE)
    received = two.send(eval(text, vars(two.here.names)))
    expected = eval(text, vars(two.there.names))
    assert received == expected
    assert type(received) is type(expected)


def test_a_bound_method() -> None:
    two = Program(BEFORE)
    assert two.send(two.here.names.Point(3).get)() == 3
    assert two.spawn(two.here.names.Point(3).get) == 3
    assert type(two.send(two.here.names.Point.make)()) is two.there.names.Point


def test_a_name_means_what_it_meant_at_init_though_rebound_there() -> None:
    two = Program(BEFORE)
    point, double = two.there.names.Point, two.there.names.double
    two.there.run("Point = double = None")
    assert type(two.send(two.here.names.Point(1))) is point
    assert two.send(two.here.names.double) is double


def test_a_name_means_what_it_meant_at_init_though_rebound_here() -> None:
    two = Program(BEFORE)
    value, old = two.here.names.Point(1), two.here.names.Point
    two.later("Point = None")
    assert type(two.send(value)) is two.there.names.Point
    assert two.send(old) is two.there.names.Point


def test_large_messages_resolve_names_by_the_image_too() -> None:
    two = Program(BEFORE)
    point = two.there.names.Point
    two.there.run("Point = None")
    many = [bytes(100_000), *(two.here.names.Point(n) for n in range(20_000))]
    received = two.send(many)
    assert {type(value) for value in received[1:]} == {point}


LATER = """
    import abc, functools

    class Base:
        shared = []
        def __init__(self):
            self.value = 1
        def get(self):
            return Point(self.value).get()
        @staticmethod
        def twice(x):
            return double(x)
        @classmethod
        def make(cls):
            return cls()
        @property
        def prop(self):
            return self.value
        @functools.cached_property
        def lazy(self):
            return self.value + 1

    class Derived(Base):
        def get(self):
            return super().get() + 1

    class Slots:
        __slots__ = ("a", "b")

    class Meta(type):
        def hello(cls):
            return cls.__name__

    class WithMeta(metaclass=Meta):
        pass

    @dataclasses.dataclass
    class Late:
        a: int

    class LateColor(enum.Enum):
        X = 1
        def other(self):
            return LateColor.X

    def make_local():
        class Local:
            def me(self):
                return Local
        return Local
"""


def test_classes_by_value_work() -> None:
    two = Program(BEFORE)
    names = two.later(LATER)
    derived = two.send(names.Derived())
    assert derived.get() == 2
    assert derived.twice(3) == 6
    assert derived.make().prop == 1
    assert derived.lazy == 2
    slots = names.Slots()
    slots.a = 1
    assert two.send(slots).a == 1
    assert two.send(names.WithMeta).hello() == "WithMeta"
    assert two.send(names.Late(1)).a == 1
    assert two.send(names.LateColor.X) is names.LateColor.X
    local = two.send(names.make_local()())
    assert local.me() is type(local)


def test_a_class_that_comes_back_is_the_one_that_went() -> None:
    two = Program(BEFORE)
    names = two.later(LATER)
    names.Base.shared.append(1)
    assert two.send(names.Base) is names.Base
    assert names.Base.shared == [1]


def run(source: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


# `echo` runs in a fork from before the classes of a test are made, so it does not know them.
ANOTHER_PROCESS = """
import os, socket
from constellation.channel.payload import Decoder, Encoder
from constellation.process.image import Image

image = Image.capture()
here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

def send(end, value):
    encoder = Encoder("pickle", image)
    encoder.add(value)
    end.send(encoder.take()[0][0])

def receive(end):
    return Decoder(image).decode([end.recv(65536)], 1, "pickle")[0]

def fork(echo):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            here.close()
            echo()
            status = 0
        finally:
            os._exit(status)
    there.close()
    return child
"""


def run_with_another_process(source: str) -> None:
    run(ANOTHER_PROCESS + textwrap.dedent(source))


def test_classes_by_value_keep_their_identity_in_another_process() -> None:
    run_with_another_process("""
        def echo():
            first, second = receive(there), receive(there)
            assert type(first) is type(second) and first is not second
            assert type(first).__qualname__ == "Late" and first.other() is type(first)
            send(there, first)

        child = fork(echo)

        class Late:
            def other(self):
                return Late

        send(here, Late())
        send(here, Late())
        assert os.waitpid(child, 0)[1] == 0
        assert type(receive(here)) is Late
    """)


def test_classes_by_value_have_their_slots_in_another_process_and_come_back() -> None:
    run_with_another_process("""
        import dataclasses, weakref

        def echo():
            for _ in range(9):
                value = receive(there)
                try:
                    value.unheard_of = 1
                except AttributeError:
                    pass
                else:
                    assert type(value).__name__ == "Open"
                send(there, value)

        child = fork(echo)

        @dataclasses.dataclass(slots=True)
        class Data:
            number: int = 1

        @dataclasses.dataclass(slots=True)
        class MoreData(Data):
            more: int = 2

        class Referred:
            __slots__ = ("number", "__weakref__")

        class Text:
            __slots__ = "number"

        class Described:
            __slots__ = {"number": "how many"}

        class Mangled:
            __slots__ = ("__hidden",)
            number = property(lambda self: self.__hidden)
            def __init__(self):
                self.__hidden = 1

        class Derived(Text):
            __slots__ = ("more",)

        class Open(Text):
            __slots__ = ("__dict__",)

        class Looped:
            __slots__ = ("number", "other")

        values = [Data(), MoreData(), Mangled()]
        values += [Referred(), Text(), Described(), Derived(), Open(), Looped()]
        for value in values:
            if not isinstance(value, (Data, Mangled)):
                value.number = 1
            if type(value) is Looped:
                value.other = value
            send(here, value)
            back = receive(here)
            assert type(back) is type(value) and back.number == 1
        assert os.waitpid(child, 0)[1] == 0
    """)


def test_what_the_making_of_a_class_sets_comes_as_it_is_and_is_not_done_again() -> None:
    run_with_another_process("""
        def echo():
            for _ in range(3):
                value = receive(there)
                # Not what a class gets that is made without its keywords.
                assert type(value).kind == "first"
                assert type(value).length == 1
                send(there, value)

        child = fork(echo)

        class Meta(type):
            def __new__(meta, name, bases, namespace, **keywords):
                made = super().__new__(meta, name, bases, namespace, **keywords)
                made.length = len(keywords)
                return made
            def __init__(cls, name, bases, namespace, **keywords):
                super().__init__(name, bases, namespace)

        class Plugin:
            known = []
            def __init_subclass__(cls, kind=None, **keywords):
                super().__init_subclass__(**keywords)
                cls.kind = kind
                Plugin.known.append(cls)

        class First(Plugin, metaclass=Meta, kind="first"):
            pass

        for _ in range(3):
            send(here, First())
            assert type(receive(here)) is First
        assert os.waitpid(child, 0)[1] == 0
        assert Plugin.known == [First]
    """)


def test_members_of_an_enumeration_by_value_have_what_they_were_given() -> None:
    run_with_another_process("""
        import enum

        def echo():
            kind = receive(there)
            assert [each.mass for each in kind] == [3, 4]
            assert kind.EARTH.twice() == 8
            assert kind.EARTH.inner is kind.VENUS
            assert kind.TERRA is kind["TERRA"] is kind.EARTH
            assert list(kind) == [kind.VENUS, kind.EARTH]
            send(there, kind.EARTH)

        child = fork(echo)

        class Planet(enum.Enum):
            VENUS = (3, "hot")
            EARTH = (4, "blue")
            TERRA = (4, "blue")
            def __init__(self, mass, look):
                self.mass = mass
                self._look = look
            def twice(self):
                return 2 * self.mass

        Planet.EARTH.inner = Planet.VENUS
        send(here, Planet)
        assert receive(here) is Planet.EARTH
        assert os.waitpid(child, 0)[1] == 0
    """)


def test_typed_tuples_and_dictionaries_by_value() -> None:
    run_with_another_process("""
        import typing

        def echo():
            pair, typed = receive(there)
            assert pair.total() == 3
            assert not hasattr(pair, "__dict__")
            assert typed(a=1) == {"a": 1}
            assert typed.__annotations__ == {"a": int}
            send(there, (pair, typed))

        child = fork(echo)

        class Pair(typing.NamedTuple):
            a: int
            b: int = 2
            def total(self):
                return self.a + self.b

        class Typed(typing.TypedDict):
            a: int

        send(here, (Pair(1), Typed))
        pair, typed = receive(here)
        assert pair == Pair(1) and type(pair) is Pair and typed is Typed
        assert os.waitpid(child, 0)[1] == 0
    """)


def test_a_function_that_dispatches_by_type_goes_by_value() -> None:
    two = Program("")
    names = two.later("""
        import functools

        @functools.singledispatch
        def kind(value):
            return "something"

        @kind.register
        def _(value: int):
            return "a number"

        kind(1)
    """)
    kind = two.send(names.kind)
    assert [kind(1), kind("")] == ["a number", "something"]


PID = Pid.new("ipc:///nowhere")


@pytest.mark.parametrize(
    "error",
    [
        ConstellationError("text"),
        NoCapacity("text"),
        SerializationError("args[0]", "reason"),
        ChannelTypeError("int", "str"),
        SettingsError("A", "b", "c"),
        WouldBlock(),
        ProcessExited(PID, ExitStatus(code=3)),
        ChannelClosed(PID, "name"),
    ],
)
def test_the_librarys_errors_travel(error: ConstellationError) -> None:
    error.index = 3
    if hasattr(error, "add_note"):
        error.add_note("noted")
    received = Program("").send(error)
    assert type(received) is type(error)
    assert str(received) == str(error)
    assert vars(received) == vars(error)


def test_the_users_exceptions_travel_whatever_their_constructor_takes() -> None:
    source = """
        class TwoArguments(Exception):
            def __init__(self, code, reason):
                super().__init__(f"{code}: {reason}")
                self.code = code

        class KeywordOnly(Exception):
            def __init__(self, *, code):
                super().__init__("text")
                self.code = code

        class Reduced(Exception):
            def __init__(self, code, reason):
                super().__init__(reason)
                self.code, self.reason = code, reason
            def __reduce__(self):
                return type(self), (self.code, self.reason)

        class OfTheSystem(OSError):
            def __init__(self, number, text, more):
                super().__init__(number, text)
    """
    two = Program(source)
    for error, text in [
        (two.here.names.TwoArguments(3, "why"), "3: why"),
        (two.here.names.KeywordOnly(code=3), "text"),
        (two.here.names.Reduced(3, "why"), "why"),
    ]:
        received = two.send(error)
        assert type(received) is getattr(two.there.names, type(error).__name__)
        assert (str(received), received.code) == (text, 3)
    # One with a reduction of its own, which does not fit: a clear error.
    with pytest.raises(SerializationError, match=r"cannot decode a value: TypeError: .*'more'"):
        two.send(two.here.names.OfTheSystem(1, "a", "b"))
    assert two.send(FileNotFoundError(2, "text", "name")).filename == "name"


def test_what_refers_to_itself() -> None:
    two = Program(BEFORE)
    loop: list[Any] = []
    loop.append(loop)
    assert (received := two.send(loop))[0] is received
    point = two.here.names.Point(None)
    point.x = {"self": point}
    assert (received := two.send(point)).x["self"] is received
    shared = [1]
    first, second = two.send((shared, shared))
    assert first is second


def test_modules_go_by_name_if_they_can_be_imported() -> None:
    two = Program(BEFORE)
    assert two.send(textwrap) is textwrap


def test_a_recorded_name_is_of_no_use_outside_the_Program() -> None:
    two = Program(BEFORE)
    old = two.here.names.double
    two.later("def double(x): pass")
    from constellation.channel.encoder import Encoder

    encoder = Encoder("pickle", two.here.image)
    with two.here.active():
        encoder.add(old)
        part = bytes(encoder.take()[0][0])
    assert needs_image(part, two.there.image)
    with pytest.raises(pickle.UnpicklingError, match="only be read within the program"):
        pickle.loads(part[5:])


def test_only_names_of_main_need_the_image() -> None:
    two = Program(BEFORE)
    plain = pickle.dumps((1, "under_score", len))
    assert not needs_image(plain, two.there.image)
    named = pickle.dumps("__main__")
    assert not needs_image(named, two.there.image)
    two.there.run("Point = None")
    with two.there.active():
        assert needs_image(named, two.there.image)
    assert not needs_image(named, None)


def test_a_name_that_the_record_does_not_hold_is_looked_up() -> None:
    two = Program(BEFORE)
    two.there.run("later = [1]")
    with two.there.active():
        data = b"\x80\x05\x8c\x08__main__\x8c\x05later\x93."
        assert ImageUnpickler(io.BytesIO(data), two.there.image).load() == [1]


def test_an_open_file_is_refused_and_the_standard_streams_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cloudpickle would read it to its end, and send a copy of what was in it."""
    program = Program("import sys")
    path = tmp_path / "file"
    path.write_text("text")
    refused = pytest.raises(SerializationError, match=r"value\[0\]: cannot pickle '_io.TextIOWrap")
    with path.open() as file, refused:
        program.send([file])
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    assert program.send([sys.stdout]) == [sys.stdout]
