from __future__ import annotations

import dataclasses
import functools
import os
import pickle
import signal
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation import ExitStatus, Mem

FIELDS = [field.name for field in dataclasses.fields(ExitStatus)]
SEGV = ExitStatus(signal="SIGSEGV")
ABRT = ExitStatus(signal="SIGABRT")
LOST = ExitStatus(lost="node 10.0.0.2:9999")
ZERO = ExitStatus(code=0)
THREE = ExitStatus(code=3)

particulars = {
    "max_rss": st.none() | st.integers(0, 1000).map(Mem),
    "cause": st.sampled_from([None, "killed by the user", "used 512 MiB of 100 MiB"]),
}
statuses = st.one_of(
    st.builds(ExitStatus, **particulars),
    st.builds(ExitStatus, code=st.integers(0, 2), **particulars),
    st.builds(
        ExitStatus,
        signal=st.sampled_from(["SIGKILL", "SIGSEGV"]),
        core_dumped=st.booleans(),
        **particulars,
    ),
    st.builds(ExitStatus, lost=st.sampled_from(["node a", "node b"]), **particulars),
)


def everything(status: ExitStatus) -> tuple[Any, ...]:
    """All fields, also those that take no part in equality."""
    return tuple(getattr(status, name) for name in FIELDS)


@pytest.mark.parametrize(
    ("status", "text", "shell_code", "json"),
    [
        (ZERO, "0", 0, {"code": 0}),
        (THREE, "3", 3, {"code": 3}),
        (ABRT, "SIGABRT", 134, {"signal": "SIGABRT"}),
        (ExitStatus(signal="SIGINT"), "SIGINT", 130, {"signal": "SIGINT"}),
        (LOST, "lost: node 10.0.0.2:9999", 101, {"lost": "node 10.0.0.2:9999"}),
        (ExitStatus.INDETERMINATE, "indeterminate", 101, {"indeterminate": True}),
        (
            ExitStatus(signal="SIGSEGV", core_dumped=True, max_rss=Mem(4096), cause="why"),
            "SIGSEGV",
            139,
            {"signal": "SIGSEGV", "core": True, "cause": "why", "max_rss": 4096},
        ),
    ],
)
def test_forms(status: ExitStatus, text: str, shell_code: int, json: dict[str, Any]) -> None:
    assert str(status) == text
    assert status.shell_code == shell_code
    assert status.to_json() == json
    assert status.success is (text == "0")
    assert status.indeterminate is (text == "indeterminate")


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": 0, "signal": "SIGABRT"},
        {"code": 0, "lost": "node"},
        {"signal": "SIGABRT", "lost": "node"},
        {"code": -1},
        {"code": 256},
        {"code": True},
        {"code": "0"},
        {"signal": ""},
        {"signal": "abort"},
        {"signal": "SIGABRT "},
        {"signal": "SIG"},
        {"signal": "SIGFOO"},
        {"signal": "SIGKILL+1"},
        {"signal": "SIGRTMIN+"},
        {"signal": "SIG_DFL"},
        {"signal": 9},
        {"signal": signal.SIGKILL},
        {"signal": b"SIGKILL"},
        {"lost": 3},
        {"lost": True},
        {"code": 1, "core_dumped": True},
        {"core_dumped": True},
    ],
)
def test_ends_that_do_not_exist(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ExitStatus(**wrong)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (9, "a signal is given by its name, such as 'SIGABRT', not as 9: that is 'SIGKILL'"),
        (0, "a signal is given by its name, such as 'SIGABRT', not as 0"),
        (9.0, "a signal is given by its name, such as 'SIGABRT', not as 9.0"),
        ("SIGFOO", "'SIGFOO' is not the name of a signal, such as 'SIGABRT'"),
        ("kill", "'kill' is not the name of a signal: is 'SIGKILL' meant?"),
        ("SigTerm ", "'SigTerm ' is not the name of a signal: is 'SIGTERM' meant?"),
        (
            "9",
            "a signal is given by its name, such as 'SIGABRT', not as '9': that is 'SIGKILL'",
        ),
    ],
)
def test_what_is_no_name_of_a_signal_is_told_with_one_that_is(given: Any, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        ExitStatus(signal=given)
    assert str(caught.value) == text


# -- equality, combination


def test_how_it_ended_makes_equal() -> None:
    measured = ExitStatus(signal="SIGSEGV", core_dumped=True, max_rss=Mem(1), cause="x")
    assert measured == SEGV
    assert hash(measured) == hash(SEGV)
    assert SEGV != ABRT
    assert ZERO != THREE
    assert LOST != ExitStatus(lost="node 10.0.0.3:9999")
    assert ExitStatus() == ExitStatus.INDETERMINATE != ZERO


@pytest.mark.parametrize("status", [ZERO, THREE, SEGV, LOST, ExitStatus()])
def test_equal_statuses_combine_to_themselves(status: ExitStatus) -> None:
    assert everything(status.combine(status)) == everything(status)


@pytest.mark.parametrize("other", [THREE, SEGV, LOST, ExitStatus()])
def test_different_statuses_combine_to_indeterminate(other: ExitStatus) -> None:
    assert ZERO.combine(other).indeterminate
    assert other.combine(ZERO).indeterminate
    assert ZERO.combine(other).shell_code == 101


def test_the_particulars_of_a_combination() -> None:
    first = ExitStatus(signal="SIGKILL", max_rss=Mem(1), cause="memory limit")
    second = ExitStatus(signal="SIGKILL", core_dumped=True, max_rss=Mem(2))
    both = first.combine(second)
    assert everything(both) == (None, "SIGKILL", None, True, Mem(2), None)
    assert everything(both.combine(ZERO)) == (None, None, None, False, Mem(2), None)


@given(statuses, statuses, statuses)
def test_no_order_changes_a_combination(a: ExitStatus, b: ExitStatus, c: ExitStatus) -> None:
    assert everything(a.combine(b)) == everything(b.combine(a))
    assert everything(a.combine(b).combine(c)) == everything(a.combine(b.combine(c)))
    assert everything(a.combine(a)) == everything(a)


@given(st.lists(statuses, min_size=1))
def test_many_statuses_are_one_or_indeterminate(several: list[ExitStatus]) -> None:
    combined = functools.reduce(ExitStatus.combine, several)
    if len(set(several)) == 1:
        assert combined == several[0]
    else:
        assert combined.indeterminate


@given(statuses)
def test_a_status_pickles(status: ExitStatus) -> None:
    assert everything(pickle.loads(pickle.dumps(status))) == everything(status)


# -- what waitpid says


def wait_status(code: str) -> int:
    """What waitpid says of a Python process that ran ``code``."""
    process = subprocess.Popen([sys.executable, "-Sc", code], stderr=subprocess.DEVNULL)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = 0  # subprocess must not wait for it as well
    return status


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", ZERO),
        ("raise SystemExit(3)", THREE),
        ("import os; os._exit(255)", ExitStatus(code=255)),
        ("import os; os.kill(os.getpid(), 9)", ExitStatus(signal="SIGKILL")),
        ("import os; os.kill(os.getpid(), 15)", ExitStatus(signal="SIGTERM")),
        ("import os, resource as r; r.setrlimit(r.RLIMIT_CORE, (0, 0)); os.abort()", ABRT),
    ],
)
def test_what_waitpid_says_of_real_processes(code: str, expected: ExitStatus) -> None:
    status = ExitStatus.from_wait(wait_status(code), max_rss=12345, cause="because")
    assert status == expected
    assert not status.core_dumped
    assert status.max_rss == Mem(12345)
    assert status.cause == "because"


@pytest.mark.parametrize("number", range(1, 65))
def test_every_signal_has_a_name_that_leads_back(number: int) -> None:
    status = ExitStatus.from_wait(number)
    assert status.shell_code == 128 + number
    if number in set(signal.Signals):
        assert status.signal == signal.Signals(number).name
    assert ExitStatus(signal=status.signal) == status


def test_a_core_dump_is_told() -> None:
    status = ExitStatus.from_wait(signal.SIGSEGV | 0x80)
    assert status == SEGV
    assert status.core_dumped


@pytest.mark.parametrize("name", ["SIGEMT", "SIGINFO", "SIGLOST"])
def test_a_signal_of_another_system_has_no_number_here(name: str) -> None:
    assert ExitStatus(signal=name).shell_code == 101


@pytest.mark.parametrize("status", [signal.SIGSTOP << 8 | 0x7F, 0xFFFF])
def test_a_process_that_stopped_or_went_on_has_not_ended(status: int) -> None:
    with pytest.raises(ValueError, match="has ended"):
        ExitStatus.from_wait(status)
