from __future__ import annotations

import pytest

from constellation.cli.progress import TransferBar
from constellation.program.transfer import Progress


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


def test_what_takes_no_time_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    bar = TransferBar(enabled=True)
    for done in range(10):
        bar.show(Progress(done, 10), now=done * 0.1)
    bar.show(Progress(10, 10), now=5.0)
    bar.close()
    assert shown(capsys) == ""


def test_what_takes_longer_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal then
    bar = TransferBar(enabled=True)
    bar.show(Progress(0, 10_000_000), now=7.0)
    bar.show(Progress(1, 10_000_000), now=7.9)
    assert shown(capsys) == ""
    bar.show(Progress(5_000_000, 10_000_000), now=8.1)
    bar.show(Progress(6_000_000, 10_000_000), now=8.2)
    bar.close()
    bar.close()
    assert "sending the program" in shown(capsys)
    bar.show(Progress(7_000_000, 10_000_000), now=20.0)
    bar.show(Progress(7_000_000, 10_000_000), now=30.0)
    assert shown(capsys) == ""


@pytest.mark.parametrize(("enabled", "total"), [(False, 10), (True, 0)])
def test_where_nobody_looks_or_nothing_is_sent_nothing_is_shown(
    capsys: pytest.CaptureFixture[str], enabled: bool, total: int
) -> None:
    bar = TransferBar(enabled=enabled)
    for now in range(5):
        bar.show(Progress(0, total), now=float(now))
    bar.close()
    assert shown(capsys) == ""
