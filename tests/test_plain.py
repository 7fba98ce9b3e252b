from __future__ import annotations

import io
import logging

import pytest

from constellation.cli.events import line
from constellation.plain import PlainFormatter, plain, plain_lines

HOSTILE = "node\x1b[2J\x07\r\nINFO: all is well\u202e"
AS_TEXT = r"node\x1b[2J\x07\r\nINFO: all is well\u202e"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("node 10.0.0.1:9999", "node 10.0.0.1:9999"),
        ("Grüße, 世界", "Grüße, 世界"),
        (r"a\b", r"a\b"),
        ("\udcff", r"\udcff"),
        ("\x9b31m", r"\x9b31m"),
        ("a\tb", r"a\tb"),
        (HOSTILE, AS_TEXT),
    ],
)
def test_what_a_terminal_would_obey_is_written_as_python_does(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert plain(shown) == shown


def test_a_text_of_several_lines_keeps_them() -> None:
    assert plain_lines("one\n  two\x1b\n") == "one\n  two\\x1b\n"


def test_a_record_is_one_line() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PlainFormatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("own")
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning("%s has come", HOSTILE)
    try:
        raise ValueError("a\x1bb")
    except ValueError:
        logger.exception("failed")
    first, second, *trace = stream.getvalue().splitlines()
    assert first == f"WARNING {AS_TEXT} has come"
    assert second == "ERROR failed"
    assert trace[0] == "Traceback (most recent call last):"
    assert trace[-1] == r"ValueError: a\x1bb"


def test_an_event_is_one_line() -> None:
    event = {"event": "node.lost", "node": HOSTILE, "text": "a\nb"}
    assert line(event) == rf"node.lost {AS_TEXT} a\nb"
