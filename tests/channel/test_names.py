"""Names and types that a Sender cannot tell its peer."""

from __future__ import annotations

from pathlib import Path

import programs

PROGRAM = """
from typing import Literal

import constellation


def child(parent):
    with constellation.Receiver(parent) as receiver:
        print(receiver.recv().block())


if __name__ == "__main__":
    constellation.init()
    pid = constellation.spawn(child).block()
    for make, name in (
        (constellation.Sender, "\\ud800"),
        (constellation.Sender, "n" * 70_000),
        (constellation.Sender[Literal["t" * 70_000]], ""),
    ):
        try:
            make(pid, name=name)
        except ValueError as error:
            print(type(error).__name__)
    constellation.Sender(pid).send("after them").block()
"""


def test_what_cannot_be_told_is_refused_and_the_channel_can_be_used_after_it(
    tmp_path: Path,
) -> None:
    initial = programs.run(programs.write(tmp_path, PROGRAM)).tree
    assert initial.end == 0
    assert initial.out.split() == [b"UnicodeEncodeError", b"ValueError", b"ValueError"]
    (child,) = initial.children
    assert child.out == b"after them\n"
