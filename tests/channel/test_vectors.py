"""What is in messages of each codec, against vectors; `docs/protocol.md` shows them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import vectors

from constellation.channel.payload import Decoder, Encoder, Undecodable

FILE = vectors.load("payloads")


def parametrize(which: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", FILE[which], ids=lambda vector: vector["name"])


def parts_of(vector: dict[str, Any]) -> list[bytes | bytearray | memoryview]:
    return [vectors.from_text(part) for part in vector["parts"]]


def value_of(written: Any) -> Any:
    match written:
        case {"bytes": text}:
            return vectors.from_text(text)
        case {"buffer": text, "readonly": readonly}:
            content = vectors.from_text(text)
            return pickle.PickleBuffer(content if readonly else bytearray(content))
    return written


def received(value: Any) -> Any:
    """What becomes of a value on the way."""
    if isinstance(value, pickle.PickleBuffer):
        return bytes(value) if value.raw().readonly else bytearray(value)
    return value


@parametrize("payloads")
def test_the_values_of_a_vector_have_its_parts(vector: dict[str, Any]) -> None:
    encoder = Encoder(vector["codec"], None)
    for written in vector["values"]:
        encoder.add(value_of(written))
    parts, count = encoder.take()
    assert ([bytes(part) for part in parts], count) == (parts_of(vector), len(vector["values"]))


@parametrize("payloads")
def test_the_parts_of_a_vector_are_its_values(vector: dict[str, Any]) -> None:
    values = [received(value_of(written)) for written in vector["values"]]
    made = Decoder(None).decode(parts_of(vector), len(values), vector["codec"])
    assert made == values
    assert [type(each) for each in made] == [type(each) for each in values]


@parametrize("malformed")
def test_the_values_of_what_is_malformed_are_errors(vector: dict[str, Any]) -> None:
    made = Decoder(None).decode(parts_of(vector), vector["count"], vector["codec"])
    assert [type(each) for each in made] == [Undecodable] * vector["count"]
