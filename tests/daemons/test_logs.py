"""How services log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import programs
import pytest

from constellation.settings import Format
from constellation_daemons import logs


@pytest.fixture(autouse=True)
def own_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leaves the root of all loggers as it was."""
    monkeypatch.setattr(logs, "_formatter", logs._formatter)
    root = logging.getLogger()
    level, handlers = root.level, root.handlers
    yield
    root.setLevel(level)
    root.handlers = handlers


def log(level: int, form: Format) -> None:
    logging.getLogger().handlers = []  # as in a new process
    logs.set_up(level, form)
    logger = logging.getLogger("constellation_daemons.somewhere")
    logger.info("too little")
    logger.warning("node %s has\x1b[31m come", "10.0.0.2:9999")
    try:
        raise ValueError("what it was")
    except ValueError:
        logger.exception("failed")


def test_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    log(logging.WARNING, Format.HUMAN)
    assert logs.current_format() is Format.HUMAN
    first, second, *trace = capsys.readouterr().err.splitlines()
    text = r"WARNING constellation_daemons.somewhere: node 10.0.0.2:9999 has\x1b[31m come"
    assert first.endswith(text)
    assert second.endswith("ERROR constellation_daemons.somewhere: failed")
    assert trace[-1] == "ValueError: what it was"


def test_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    before = datetime.now(timezone.utc)
    log(logging.WARNING, Format.JSON)
    assert logs.current_format() is Format.JSON
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert before <= datetime.fromisoformat(first.pop("time")) <= datetime.now(timezone.utc)
    assert first == {
        "level": "warning",
        "logger": "constellation_daemons.somewhere",
        "text": r"node 10.0.0.2:9999 has\x1b[31m come",
    }
    assert (second["level"], second["text"]) == ("error", "failed")
    assert second["traceback"].endswith("\nValueError: what it was")


def test_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    log(logging.INFO, Format.JSON)
    first, *_ = capsys.readouterr().err.splitlines()
    assert json.loads(first)["text"] == "too little"


# Its standard error is a pipe that nobody reads; what it logs after that goes to a file.
MOVING = """
import logging
import os
import sys
from constellation.settings import Format
from constellation_daemons import logs

logs.set_up(logging.INFO, Format.HUMAN)
os.close(logs.descriptor())
logging.info("nobody reads this")
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
logs.move(file, logging.WARNING, Format.JSON)
os.close(file)
logging.info("too little")
logging.warning("moved")
assert logs.current_format() is Format.JSON
print("printed", flush=True)
"""


def test_a_log_that_is_moved(tmp_path: Path) -> None:
    path = os.pathsep.join(map(str, (programs.ROOT, programs.ROOT / "daemons")))
    pipe, end = os.pipe()
    os.close(pipe)
    done = subprocess.run(
        [sys.executable, "-c", MOVING, str(tmp_path / "log")],
        env=programs.environment(PYTHONPATH=path),
        stdout=end,
        stderr=end,
        timeout=60,
        check=False,
    )
    os.close(end)
    # What could not be written before comes first.
    *_, moved, printed = (tmp_path / "log").read_text().splitlines()
    assert json.loads(moved)["text"] == "moved"
    assert printed == "printed"
    assert "too little" not in (tmp_path / "log").read_text()
    assert done.returncode == 0
