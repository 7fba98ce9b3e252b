from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from constellation.process.writers import Writers, report


class Full(io.RawIOBase):
    """Takes nothing, until there is room."""

    room = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        return len(data)


def test_making_it_writes_out_what_is_buffered(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        file.write("data")
        Writers()
        assert (tmp_path / "file").read_text() == "data"


@pytest.mark.parametrize("when", ["before", "after"])
def test_flush_writes_out_files_of_any_time(when: str, tmp_path: Path) -> None:
    writers = Writers() if when == "after" else None
    with (tmp_path / "text").open("w") as text, (tmp_path / "binary").open("wb") as binary:
        writers = writers or Writers()
        text.write("text")
        binary.write(b"binary")
        writers.flush()
        assert (tmp_path / "text").read_text() == "text"
        assert (tmp_path / "binary").read_bytes() == b"binary"


def test_text_is_written_before_the_binary_file_below_it(tmp_path: Path) -> None:
    binary = (tmp_path / "file").open("wb", buffering=1000)
    text = io.TextIOWrapper(binary, write_through=False)
    writers = Writers()
    text.write("data")
    writers.flush()
    assert (tmp_path / "file").read_bytes() == b"data"
    text.close()


def test_closed_files_and_those_that_are_gone_are_no_matter(tmp_path: Path) -> None:
    file = (tmp_path / "file").open("w")
    writers = Writers()
    file.close()
    writers.flush()
    del file
    writers.flush()


def test_a_file_that_cannot_be_written_is_told_of_and_holds_up_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    writers = Writers()
    full = Full()
    broken = io.BufferedWriter(full)
    broken.write(b"data")
    with (tmp_path / "file").open("w") as file:
        file.write("data")
        writers.flush()
        assert (tmp_path / "file").read_text() == "data"
    told = capsys.readouterr().err
    assert told.startswith("Exception ignored in: <_io.BufferedWriter")
    assert told.endswith("OSError: [Errno 28] No space left on device\n")
    assert "process/writers.py" not in told
    full.room = True
    broken.close()


def test_the_standard_streams_are_left_for_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "file").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        writers = Writers()
        print("data")
        writers.flush()
        assert (tmp_path / "file").read_text() == ""


def test_an_error_that_has_nobody_goes_to_the_hook_of_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    error = ValueError("it")
    report(error, "the source", "Ignored")
    (arguments,) = told
    assert arguments.exc_type is ValueError
    assert arguments.exc_value is error
    assert arguments.object == "the source"
    assert arguments.err_msg == "Ignored"


def test_an_error_that_cannot_even_be_told_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    full = Full()
    with io.TextIOWrapper(io.BufferedWriter(full), write_through=True) as stream:
        for each in (None, stream):
            monkeypatch.setattr(sys, "stderr", each)
            report(ValueError("it"), "the source")
        full.room = True
