"""What `docs/protocol.md` says to the byte, against the vectors and the constants."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import vectors

from constellation.channel.layout import LARGE
from constellation.channel.outlet import VALUE_WEIGHT
from constellation.wire.codec import INLINE_LIMIT
from constellation.wire.frames import VERSION
from constellation.wire.link import ACK_DELAY, FRAGMENT, PROBE_AFTER, WINDOW

TEXT = (Path(__file__).parent.parent.parent / "docs" / "protocol.md").read_text()
FRAMES = vectors.load("frames")["frames"]
PAYLOADS = vectors.load("payloads")["payloads"]
KINDS = ["HELLO", "OPEN", "DATA", "CLOSE", "CREDIT", "PROBE", "BYE"]

BLOCKS = re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def message_of(block: str) -> list[bytes]:
    return [vectors.from_text(line) for line in block.split("\n")[:-1]]


def written(parts: list[str]) -> list[bytes]:
    return [vectors.from_text(part) for part in parts]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_example_is_a_vector(block: str) -> None:
    known = [written(vector["message"]) for vector in FRAMES]
    known += [written(vector["parts"]) for vector in PAYLOADS]
    assert message_of(block) in known


def test_every_kind_of_frame_has_an_example() -> None:
    shown = [message_of(block) for block in BLOCKS]
    kinds = {vector["kind"] for vector in FRAMES if written(vector["message"]) in shown}
    assert kinds == set(KINDS)


def test_every_codec_has_an_example() -> None:
    shown = [message_of(block) for block in BLOCKS]
    codecs = {vector["codec"] for vector in PAYLOADS if written(vector["parts"]) in shown}
    assert codecs == {"raw", "json", "msgpack", "pickle"}


# -- the offset tables


def table_of(kind: str) -> list[tuple[str, str, str]]:
    """The rows of the table below the heading of a frame."""
    section = TEXT.split(f"\n### {kind}\n")[1].split("\n### ")[0]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in section.split("\n")]
    start = rows.index(("offset", "size", "field"))
    table: list[tuple[str, str, str]] = []
    for row in rows[start + 2 :]:
        if len(row) != 3:
            break
        table.append(row)
    return table


def told(vector: dict[str, Any], field: str) -> int | bytes:
    """What a field of a frame is to be."""
    fields = vector["fields"]
    match field:
        case "flags" if vector["kind"] == "CREDIT":
            return int(fields["gap"])
        case "flags":
            inline = written(vector["message"])[0][1] & 4
            return int(fields["more"]) + 2 * fields["joined"] + inline
        case "number of payload parts":
            return len(fields["parts"])
        case "number of streams":
            return len(fields["last"])
        case "key":
            return bytes.fromhex(fields["key"])
    prefix, of, name = field.partition("size of ")
    if of:
        assert not prefix
        return len(fields[name].encode())
    value: int = fields[field]
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_the_fields_of_all_vectors_are_where_the_table_says(kind: str) -> None:
    at = 0
    for offset, size, field in table_of(kind):
        if not size.isdecimal():
            assert offset in {str(at), "then"}
            break
        assert int(offset) == at
        name, _, constant = field.partition(": ")
        for vector in FRAMES:
            if vector["kind"] == kind:
                found = written(vector["message"])[0][at : at + int(size)]
                if name == "kind":
                    assert found == bytes([int(constant)])
                elif name == "key":
                    assert found == told(vector, name)
                else:
                    assert int.from_bytes(found, "big") == told(vector, name)
        at += int(size)
    # What has only fields of known sizes ends with them.
    if kind in {"CLOSE", "CREDIT", "PROBE"}:
        assert {len(written(v["message"])[0]) for v in FRAMES if v["kind"] == kind} == {at}


def test_the_kinds_are_listed() -> None:
    for number, kind in enumerate(KINDS, 1):
        assert f"\n| {number} | {kind} |" in TEXT


# -- the numbers in the text


@pytest.mark.parametrize(
    "words",
    [
        f"This is version {VERSION} of the protocol",
        f"| 1 | 1 | version: {VERSION} |",
        f"The *window* is {WINDOW} bytes",
        f"cuts what has more than {FRAGMENT} bytes",
        f"up to {INLINE_LIMIT} bytes of payload",
        f"within\n{ACK_DELAY * 1000:.0f} ms",
        f"bounded: {PROBE_AFTER} seconds",
        f"counts {VALUE_WEIGHT} bytes for each value",
        f"has {LARGE} bytes or more",
    ],
)
def test_the_text_has_the_numbers_of_the_library(words: str) -> None:
    assert words in TEXT
