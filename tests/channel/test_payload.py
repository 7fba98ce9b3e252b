from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.channel.layout import LARGE
from constellation.channel.payload import Decoder, Encoder, Undecodable, dump_call, load_call
from constellation.errors import SerializationError

LOCK = threading.Lock()
CODECS = ["pickle", "raw", "json", "msgpack"]


def exchange(values: list[Any], codec: str = "pickle") -> list[Any]:
    encoder = Encoder(codec, None)
    for value in values:
        encoder.add(value)
    parts, count = encoder.take()
    assert count == len(values)
    return Decoder(None).decode(parts, count, codec)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, numpy.ndarray):
        return type(other) is type(one) and numpy.array_equal(one, other)
    return type(other) is type(one) and bool(one == other)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=10,
)
large = st.integers(LARGE - 100, 3 * LARGE).map(lambda size: bytes([size % 251]) * size)
arrays = st.integers(0, LARGE // 4).map(lambda size: numpy.arange(size, dtype=float))


@given(st.lists(plain | large | arrays | large.map(bytearray), min_size=1, max_size=8))
def test_values_come_out_as_they_went_in(values: list[Any]) -> None:
    received = exchange(values)
    assert len(received) == len(values)
    assert all(map(same, values, received))


@given(plain | large | arrays, st.sampled_from(CODECS), st.booleans())
def test_the_only_value_is_decoded_as_one_of_many(value: Any, codec: str, cut: bool) -> None:
    encoder = Encoder(codec, None)
    try:
        encoder.add(value)
    except SerializationError:
        return  # not every codec takes everything
    parts, _ = encoder.take()
    if cut:
        parts[-1] = parts[-1][: len(parts[-1]) // 2]
    (one,) = Decoder(None).decode([*parts], 1, codec)
    other = Decoder(None).decode_one([*parts], codec)
    if isinstance(one, Undecodable):
        assert isinstance(other, Undecodable)
        assert str(one.error) == str(other.error)
    else:
        assert same(one, other)


@pytest.mark.parametrize("parts", [[], [b""], [b"\0"], [b"\1" * 20], [b"x", b"y"]])
def test_what_is_no_message_of_one_value_is_undecodable(parts: list[Any]) -> None:
    decoder = Decoder(None)
    one, other = decoder.decode([*parts], 1, "pickle")[0], decoder.decode_one([*parts], "pickle")
    assert isinstance(one, Undecodable)
    assert isinstance(other, Undecodable)
    assert str(one.error) == str(other.error)


@given(st.lists(plain | large | arrays, min_size=1, max_size=6), st.integers(0, 5))
def test_the_last_value_can_be_taken_back(values: list[Any], kept: int) -> None:
    kept = min(kept, len(values) - 1)
    encoder = Encoder("pickle", None)
    for value in values[: kept + 1]:
        encoder.add(value)
    last, size = encoder.cut()
    assert encoder.count == kept
    assert size == sum(map(len, last))
    assert same(Decoder(None).decode(last, 1, "pickle")[0], values[kept])
    if kept:
        parts, count = encoder.take()
        received = Decoder(None).decode(parts, count, "pickle")
        assert all(map(same, received, values[:kept]))


def test_small_values_are_one_part() -> None:
    encoder = Encoder("pickle", None)
    sizes = [encoder.add((n, "text")) for n in range(100)]
    assert encoder.count == 100
    assert encoder.size == sum(sizes)
    parts, count = encoder.take()
    assert len(parts) == 1
    assert count == 100
    assert (encoder.count, encoder.size) == (0, 0)


@pytest.mark.parametrize("codec", CODECS)
def test_an_encoder_starts_anew_after_take(codec: str) -> None:
    encoder = Encoder(codec, None)
    for value in (b"one", bytes(3 * LARGE), b"two"):
        encoder.add(value)
        parts, count = encoder.take()
        (received,) = Decoder(None).decode(parts, count, codec)
        if codec in ("pickle", "raw"):
            assert received == value


def test_a_value_is_taken_when_it_is_added() -> None:
    values = [[1], {"a": 1}, bytearray(b"a"), bytearray(LARGE), numpy.zeros(3), numpy.zeros(LARGE)]
    encoder = Encoder("pickle", None)
    for value in values:
        encoder.add(value)
    values[0].append(2)
    values[1]["a"] = 2
    for value in values[2:]:
        value[:1] = 1 if hasattr(value, "dtype") else b"b"
    parts, count = encoder.take()
    received = Decoder(None).decode(parts, count, "pickle")
    assert received[:4] == [[1], {"a": 1}, bytearray(b"a"), bytearray(LARGE)]
    assert not received[4].any()
    assert not received[5].any()


@pytest.mark.parametrize("size", [10, LARGE])
def test_arrays_can_be_written_to_if_they_could(size: int) -> None:
    array, frozen = numpy.ones(size), numpy.ones(size)
    frozen.flags.writeable = False
    received = exchange([array, frozen])
    assert [each.flags.writeable for each in received] == [True, False]
    received[0][:] = 2
    assert (received[1] == 1).all()


def test_arrays_of_every_order() -> None:
    for array in (
        numpy.arange(200_000.0)[::2],
        numpy.asfortranarray(numpy.random.default_rng(1).random((300, 400))),
        numpy.zeros((300, 400)).T,
        numpy.zeros(0),
        numpy.array([{"a": 1}, None], dtype=object),
    ):
        (received,) = exchange([array])
        assert received.dtype == array.dtype
        assert received.flags.writeable
        assert numpy.array_equal(received, array)


def test_large_memory_is_copied_once_and_what_is_immutable_never() -> None:
    text = bytes(LARGE)
    encoder = Encoder("pickle", None)
    encoder.add((text, pickle.PickleBuffer(text), numpy.zeros(LARGE)))
    parts, _ = encoder.take()
    assert sum(part is text for part in parts) == 2
    assert [len(part) for part in parts if part is not text and len(part) >= LARGE] == [8 * LARGE]
    writable = [parts[0], *(bytearray(part) for part in parts[1:])]
    ((_, _, array),) = Decoder(None).decode(writable, 1, "pickle")
    (memory,) = (part for part in writable if len(part) == 8 * LARGE)
    assert numpy.shares_memory(array, numpy.frombuffer(memory))


def test_what_arrived_in_any_kind_of_memory_is_read() -> None:
    for values in ([1, "two"], [3], [bytes(2 * LARGE), numpy.ones(LARGE)]):
        encoder = Encoder("pickle", None)
        for value in values:
            encoder.add(value)
        parts, count = encoder.take()
        for kind in (bytes, bytearray, memoryview, lambda part: memoryview(bytearray(part))):
            received = Decoder(None).decode([kind(part) for part in parts], count, "pickle")
            assert all(map(same, received, values))


class Unpicklable:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


def fail(error: type[Exception]) -> None:
    raise error("while it is read")


@dataclass
class Unreadable:
    error: type[Exception] = KeyError
    filling: bytes = b""

    def __reduce__(self) -> Any:
        return fail, (self.error,), {"filling": self.filling}


@pytest.mark.parametrize("before", [[], [1, "two"], [numpy.ones(LARGE)], [bytes(2 * LARGE), 1]])
@pytest.mark.parametrize("culprit", [[bytes(LARGE), LOCK], [numpy.zeros(LARGE), LOCK], [1, LOCK]])
def test_a_value_that_cannot_be_encoded_leaves_the_batch_as_it_was(
    before: list[Any], culprit: list[Any]
) -> None:
    encoder = Encoder("pickle", None)
    for value in before:
        encoder.add(value)
    size = encoder.size
    with pytest.raises(SerializationError, match=r"^value\[1\]: cannot pickle '_thread.lock'"):
        encoder.add(culprit)
    assert (encoder.count, encoder.size) == (len(before), size)
    encoder.add("after")
    parts, count = encoder.take()
    received = Decoder(None).decode(parts, count, "pickle")
    assert all(map(same, received, [*before, "after"]))


def test_an_interrupted_add_leaves_the_batch_as_it_was() -> None:
    encoder = Encoder("pickle", None)
    encoder.add(1)
    for value in ([numpy.ones(LARGE), Unpicklable(KeyboardInterrupt())], Unpicklable(SystemExit())):
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            encoder.add(value)
    encoder.add(2)
    assert Decoder(None).decode(*encoder.take()[:2], "pickle") == [1, 2]


def test_nothing_of_a_value_is_remembered_for_the_next() -> None:
    shared = [1]
    encoder = Encoder("pickle", None)
    encoder.add(shared)
    shared.append(2)
    encoder.add(shared)
    with pytest.raises(SerializationError):
        encoder.add((shared, LOCK))
    encoder.add(shared)
    first, second, third = Decoder(None).decode(*encoder.take()[:2], "pickle")
    assert (first, second, third) == ([1], [1, 2], [1, 2])
    assert second is not third


@pytest.mark.parametrize("error", [KeyError, StopIteration, EOFError, MemoryError, RecursionError])
@pytest.mark.parametrize("filling", [b"", bytes(2 * LARGE)])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_value_that_cannot_be_decoded_does_not_hold_up_the_others(
    error: type[Exception], filling: bytes, place: int
) -> None:
    values: list[Any] = ["a", "b", "c"]
    values.insert(place, Unreadable(error, filling))
    received = exchange(values)
    failed = received.pop(place)
    assert isinstance(failed, Undecodable)
    assert isinstance(failed.error, SerializationError)
    assert type(failed.error.__cause__) is error
    assert error.__name__ in str(failed.error)
    assert received == ["a", "b", "c"]


class Counted:
    decoded = 0

    def __reduce__(self) -> Any:
        return Counted.count, ()

    @staticmethod
    def count() -> int:
        Counted.decoded += 1
        return Counted.decoded


def test_each_value_is_decoded_once() -> None:
    Counted.decoded = 0
    received = exchange([Counted(), Unreadable(), Counted(), Unreadable(), Counted()])
    assert [value for value in received if not isinstance(value, Undecodable)] == [1, 2, 3]
    assert Counted.decoded == 3


def test_one_that_cannot_be_decoded_alone() -> None:
    (received,) = exchange([Unreadable()])
    assert isinstance(received, Undecodable)


def interrupt() -> None:
    raise KeyboardInterrupt


class Interrupting:
    def __reduce__(self) -> Any:
        return interrupt, ()


def test_an_interrupt_while_decoding_passes() -> None:
    for values in ([Interrupting()], [1, Interrupting()], [Interrupting(), bytes(2 * LARGE)]):
        with pytest.raises(KeyboardInterrupt):
            exchange(values)


# -- other codecs


def test_raw_takes_and_gives_bytes() -> None:
    mutable = bytearray(b"two")
    encoder = Encoder("raw", None)
    text = b"one"
    for value in (text, mutable, memoryview(b"three"), memoryview(b"abcd")[::2], b""):
        encoder.add(value)
    mutable[:] = b"xxx"
    parts, count = encoder.take()
    assert parts[0] is text
    assert Decoder(None).decode(parts, count, "raw") == [b"one", b"two", b"three", b"ac", b""]
    assert type(Decoder(None).decode([memoryview(b"x")], 1, "raw")[0]) is bytes


@pytest.mark.parametrize("value", ["text", 1, None, [b"a"]])
def test_raw_takes_nothing_else(value: object) -> None:
    encoder = Encoder("raw", None)
    encoder.add(b"a")
    with pytest.raises(SerializationError) as caught:
        encoder.add(value)
    name = type(value).__name__
    assert str(caught.value) == f"value: a raw channel takes bytes, not {name}"
    assert encoder.take()[:2] == ([b"a"], 1)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_data_as_others_read_it(codec: str) -> None:
    values = [1, 2.5, "text", None, True, [1, [2]], {"a": {"b": []}}]
    assert exchange(values, codec) == values
    encoder = Encoder(codec, None)
    encoder.add({"a": 1})
    assert encoder.take()[0] == [{"json": b'{"a":1}', "msgpack": b"\x81\xa1a\x01"}[codec]]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_data_that_cannot_be_encoded(codec: str) -> None:
    encoder = Encoder(codec, None)
    encoder.add(1)
    with pytest.raises(SerializationError, match=r"^value\['a'\]\[0\]: "):
        encoder.add({"a": [LOCK]})
    assert Decoder(None).decode(*encoder.take()[:2], codec) == [1]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
def test_data_that_cannot_be_decoded(codec: str) -> None:
    good = {"json": b"1", "msgpack": b"\x01"}[codec]
    first, second = Decoder(None).decode([b"\xc1", good], 2, codec)
    assert isinstance(first, Undecodable)
    assert second == 1


# -- what no Encoder makes


@pytest.mark.parametrize("codec", [*CODECS, "unknown"])
@given(st.lists(st.binary(max_size=30), max_size=4), st.integers(1, 5))
def test_any_parts_give_as_many_values_as_announced_and_possible(
    codec: str, parts: list[bytes], count: int
) -> None:
    if codec == "pickle":
        # Random bytes may be a pickle of anything; only what is around pickles is of interest here.
        parts = [part.replace(b".", b"") for part in parts]
    most = len(parts) + sum(map(len, parts))
    assert len(Decoder(None).decode(list(parts), count, codec)) == max(1, min(count, most))


@pytest.mark.parametrize("codec", [*CODECS, "unknown"])
@pytest.mark.parametrize("parts", [[], [b""], [b"\5abc"], [b"\1", b"a"], [bytes(30), bytes(5)]])
def test_a_message_that_announces_more_than_it_can_hold(codec: str, parts: list[bytes]) -> None:
    received = Decoder(None).decode(list(parts), 2**32 - 1, codec)
    assert 1 <= len(received) <= 40
    assert all(type(each) is Undecodable for each in received)


def test_a_malformed_message_says_so() -> None:
    for parts in ([b"\0"], [b"\5abc"], [b"\1", b"a"], [b"\5" + bytes(30), b"a"], []):
        received = Decoder(None).decode(list(parts), 2, "pickle")
        assert all("malformed" in str(each.error) for each in received)


# -- calls


def test_calls_come_out_as_they_went_in() -> None:
    parts = dump_call(None, divmod, (7, 2), {"a": [1]})
    assert load_call(parts, None) == (divmod, (7, 2), {"a": [1]})


def test_a_large_call() -> None:
    array = numpy.ones(LARGE)
    _, (received,), kwargs = load_call(dump_call(None, len, (array,), {"b": bytes(LARGE)}), None)
    assert numpy.array_equal(received, array)
    assert kwargs == {"b": bytes(LARGE)}


def test_a_call_that_cannot_be_pickled_names_the_path() -> None:
    with pytest.raises(
        SerializationError, match=r"^args\[1\]\['a'\]: cannot pickle '_thread.lock'"
    ):
        dump_call(None, len, (1, {"a": LOCK}), {})


def test_a_call_that_cannot_be_unpickled() -> None:
    with pytest.raises(SerializationError, match="KeyError"):
        load_call(dump_call(None, len, (Unreadable(),), {}), None)
