from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.bridge.events import EofEvent, Event, ExitEvent, OutputEvent, SpawnEvent
from constellation.bridge.jsonlines import HALF_CHARACTER, JsonRenderer
from constellation.exit_status import ExitStatus
from constellation.pid import Pid
from constellation.units import Mem

A, B = (Pid(bytes([number]) * 16, "ipc:///tmp/p") for number in (0xA1, 0xB2))
ABORTED = '{"signal":"SIGABRT","core":true,"max_rss":4096}'
EURO = "€".encode()


def text(pieces: list[tuple[int, bytes]]) -> str:
    assert all(fd == 1 for fd, _ in pieces)
    return b"".join(data for _, data in pieces).decode("ascii")


def outputs(pieces: list[tuple[int, bytes]]) -> list[Any]:
    return [json.loads(line) for line in text(pieces).splitlines()]


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (SpawnEvent(A, None), f'{{"event":"spawn","parent":null,"pid":"{A.hex}"}}'),
        (SpawnEvent(B, A), f'{{"event":"spawn","parent":"{A.hex}","pid":"{B.hex}"}}'),
        (
            OutputEvent(A, 1, b"text\n"),
            f'{{"event":"output","pid":"{A.hex}","fd":1,"data":"text\\n"}}',
        ),
        (
            OutputEvent(A, 2, b"\xff"),
            f'{{"event":"output","pid":"{A.hex}","fd":2,"data":"/w==","encoding":"base64"}}',
        ),
        (EofEvent(A, 2), f'{{"event":"eof","pid":"{A.hex}","fd":2}}'),
        (
            ExitEvent(A, ExitStatus(code=0)),
            f'{{"event":"exit","pid":"{A.hex}","status":{{"code":0}}}}',
        ),
        (
            ExitEvent(A, ExitStatus(signal="SIGABRT", core_dumped=True, max_rss=Mem(4096))),
            f'{{"event":"exit","pid":"{A.hex}","status":{ABORTED}}}',
        ),
        (
            ExitEvent(A, ExitStatus(lost="node 10.0.0.2:9999")),
            f'{{"event":"exit","pid":"{A.hex}","status":{{"lost":"node 10.0.0.2:9999"}}}}',
        ),
    ],
)
def test_the_forms(event: Event, line: str) -> None:
    assert text(JsonRenderer().render(event, 0.0)) == line + "\n"


def test_a_cut_character_waits_for_its_end() -> None:
    renderer = JsonRenderer()

    def data(fd: int, written: bytes) -> list[str]:
        lines = outputs(renderer.render(OutputEvent(A, fd, written), 0.0))
        return [line["data"] for line in lines]

    assert data(1, b"a" + EURO[:1]) == ["a"]
    assert data(1, EURO[1:2]) == []
    assert data(2, b"x") == ["x"]
    assert data(1, EURO[2:]) == ["€"]
    assert renderer.deadline() is None


@pytest.mark.parametrize("end", [EofEvent(A, 1), ExitEvent(A, ExitStatus(code=0))])
def test_a_character_without_end_comes_before_the_end(end: Event) -> None:
    renderer = JsonRenderer()
    assert renderer.render(OutputEvent(A, 1, EURO[:2]), 0.0) == []
    first, second = outputs(renderer.render(end, 0.0))
    assert first["encoding"] == "base64"
    assert base64.b64decode(first["data"]) == EURO[:2]
    assert second["event"] in {"eof", "exit"}
    assert renderer.close() == []


def test_a_character_without_end_waits_a_second() -> None:
    renderer = JsonRenderer()
    renderer.render(OutputEvent(A, 1, EURO[:1]), 5.0)
    renderer.render(OutputEvent(B, 1, EURO[:1]), 6.0)
    assert renderer.deadline() == 5.0 + HALF_CHARACTER
    assert renderer.tick(5.0) == []
    assert [o["pid"] for o in outputs(renderer.tick(5.0 + HALF_CHARACTER))] == [A.hex]
    assert renderer.deadline() == 6.0 + HALF_CHARACTER
    assert [o["pid"] for o in outputs(renderer.close())] == [B.hex]
    assert renderer.deadline() is None


def test_a_line_of_json_is_one_line_to_everyone() -> None:
    data = "\x0b\x0c\x1c\x85\u2028\u2029\r\n\0".encode()
    (line,) = text(JsonRenderer().render(OutputEvent(A, 1, data), 0.0)).splitlines()
    assert json.loads(line)["data"].encode() == data


PIECES = st.lists(
    st.tuples(
        st.sampled_from([A, B]),
        st.sampled_from([1, 2]),
        st.binary(min_size=1, max_size=4) | st.text(min_size=1).map(str.encode),
    )
)


def collected(lines: list[Any]) -> dict[tuple[str, int], bytes]:
    streams: dict[tuple[str, int], bytes] = {}
    for line in lines:
        assert line["data"]
        data = line["data"].encode()
        if "encoding" in line:
            data = base64.b64decode(data)
            with pytest.raises(UnicodeDecodeError):
                data.decode()
        streams[line["pid"], line["fd"]] = streams.get((line["pid"], line["fd"]), b"") + data
    return streams


@given(PIECES, st.floats(0.0, 0.6))
def test_every_byte_arrives_in_order(pieces: list[tuple[Pid, int, bytes]], step: float) -> None:
    renderer = JsonRenderer()
    lines: list[Any] = []
    expected: dict[tuple[str, int], bytes] = {}
    now = 0.0
    for pid, fd, data in pieces:
        now += step
        lines += outputs(renderer.tick(now))
        lines += outputs(renderer.render(OutputEvent(pid, fd, data), now))
        expected[pid.hex, fd] = expected.get((pid.hex, fd), b"") + data
        deadline = renderer.deadline()
        assert deadline is None or deadline > now
    lines += outputs(renderer.close())
    assert collected(lines) == expected


@given(st.text(min_size=1), st.lists(st.integers(0, 1000)))
def test_text_stays_text_wherever_it_is_cut(content: str, cuts: list[int]) -> None:
    data = content.encode()
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    renderer = JsonRenderer()
    lines: list[Any] = []
    for start, stop in itertools.pairwise(bounds):
        lines += outputs(renderer.render(OutputEvent(A, 1, data[start:stop]), 0.0))
    assert renderer.close() == []
    assert "".join(line["data"] for line in lines) == content
