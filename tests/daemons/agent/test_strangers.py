from __future__ import annotations

import time

import pytest

from constellation.control.messages import Stranger, TurnedAway
from constellation.pid import Pid
from constellation.session.loop import Loop
from constellation.transport import strangers
from constellation_daemons.agent.strangers import Strangers

ONE = Pid(b"\x01" * 16, "tcp://10.0.0.2:40001")
OTHER = Pid(b"\x02" * 16, "tcp://10.0.0.2:40002")
WHY = "what it sent is not what a peer sends"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_the_log_says_who_knocked_at_which_process_of_which_program(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Strangers(Loop())
    told.told(ONE, "prog.py", TurnedAway((Stranger("10.0.0.9", WHY, 1),)))
    assert lines(caplog) == [
        f"turned away 10.0.0.9 at port 40001 (process {ONE} of prog.py): {WHY}"
    ]


def test_those_that_follow_at_whichever_process_are_told_together(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers.StrangerLog.__init__, "__defaults__", (0.3,))
    loop = Loop()
    told = Strangers(loop)
    told.told(ONE, "prog.py", TurnedAway((Stranger("10.0.0.9", WHY, 1),)))
    told.told(ONE, "prog.py", TurnedAway((Stranger("10.0.0.9", WHY, 5), Stranger("", WHY, 2))))
    told.told(OTHER, "prog.py", TurnedAway((Stranger(None, WHY, 3),)))
    assert len(caplog.records) == 1
    start = time.monotonic()
    loop.run(lambda: len(caplog.records) == 2, 20)
    assert time.monotonic() - start < 10, "it is the loop that tells of them"
    assert lines(caplog)[1] == (
        "turned away 10 more in 0 s: "
        f"5 from 10.0.0.9 at port 40001 (process {ONE} of prog.py), "
        f"3 from elsewhere at port 40002 (process {OTHER} of prog.py), "
        f"2 from an unknown address at port 40001 (process {ONE} of prog.py)"
    )
    told.close()
    assert len(caplog.records) == 2


def test_nobody_is_left_untold_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    told = Strangers(Loop())
    for _ in range(3):
        told.told(ONE, "prog.py", TurnedAway((Stranger("10.0.0.9", WHY, 1),)))
    told.close()
    told.close()
    assert lines(caplog)[1:] == [
        f"turned away 2 more at port 40001 (process {ONE} of prog.py) in 0 s: 2 from 10.0.0.9"
    ]


def test_a_process_that_tells_what_it_likes_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """It may be any program's."""
    told = Strangers(Loop())
    for number in range(1000):
        evil = Stranger(f"{number}\n" * 1000, "\x1b[2J" * 1000, 1 << 60)
        told.told(ONE, "prog.py", TurnedAway((evil,) * 10))
    told.close()
    assert len(caplog.records) == 2
    assert all(len(line) < 2500 and line.isprintable() for line in lines(caplog))


def test_who_comes_after_a_late_line_is_told_of_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strangers.StrangerLog.__init__, "__defaults__", (0.3,))
    loop = Loop()
    told = Strangers(loop)
    message = TurnedAway((Stranger("10.0.0.9", WHY, 1),))
    told.told(ONE, "prog.py", message)
    told.told(ONE, "prog.py", message)
    time.sleep(0.4)  # the loop is held up
    told.told(ONE, "prog.py", message)
    assert len(caplog.records) == 2
    told.told(ONE, "prog.py", message)
    loop.run(lambda: len(caplog.records) == 3, 20)
    assert lines(caplog)[2].startswith("turned away 1 more at ")
