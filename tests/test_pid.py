from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation import Pid

TCP = "tcp://10.0.0.2:40001"

endpoints = st.one_of(
    st.builds("tcp://10.0.0.{}:{}".format, st.integers(1, 254), st.integers(1, 65535)),
    st.builds("tcp://[::{:x}]:{}".format, st.integers(0, 65535), st.integers(1, 65535)),
    st.text(min_size=1, max_size=90).map("ipc://{}".format).filter(str.isprintable),
)
pids = st.builds(Pid, st.binary(min_size=16, max_size=16), endpoints)


def test_forms() -> None:
    pid = Pid(bytes.fromhex("3fecd01b7a5f4c0e9d2846b15c7e80aa"), TCP)
    assert str(pid) == "3fecd01"
    assert repr(pid) == "Pid(3fecd01)"
    assert f"{pid:>9}" == "  3fecd01"
    assert pid.hex == "3fecd01b7a5f4c0e9d2846b15c7e80aa"
    assert pid.uri == "3fecd01b7a5f4c0e9d2846b15c7e80aa@tcp://10.0.0.2:40001"
    assert Pid.parse(pid.uri.replace("fecd", "FECD")) == pid


@given(pids)
def test_a_pid_comes_back_from_every_form(pid: Pid) -> None:
    for other in (Pid.parse(pid.uri), pickle.loads(pickle.dumps(pid)), copy.deepcopy(pid)):
        assert other == pid
        assert hash(other) == hash(pid)
        assert other.endpoint == pid.endpoint
    assert len(str(pid)) == 7
    assert pid.hex.startswith(str(pid))


@given(st.lists(pids, max_size=5))
def test_pids_are_ordered_by_their_keys(several: list[Pid]) -> None:
    assert [pid.key for pid in sorted(several)] == sorted(pid.key for pid in several)


def test_a_pid_is_immutable() -> None:
    pid = Pid.new(TCP)
    with pytest.raises(AttributeError):
        pid.key = bytes(16)
    with pytest.raises(AttributeError):
        pid.other = 1


def test_a_pid_is_nothing_else() -> None:
    pid = Pid(bytes(16), TCP)
    assert pid != (pid.key, pid.endpoint)
    assert pid != pid.uri
    with pytest.raises(TypeError):
        _ = pid < pid.key
    assert weakref.ref(pid)() is pid


def test_new_pids_differ_also_in_forks() -> None:
    assert len({Pid.new(TCP) for _ in range(1000)}) == 1000
    program = (
        "import os, constellation\n"
        f"if os.fork() == 0: print(constellation.Pid.new({TCP!r}).hex, flush=True); os._exit(0)\n"
        "os.wait()\n"
        f"print(constellation.Pid.new({TCP!r}).hex)"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    first, second = output.split()
    assert first != second


BAD_ENDPOINTS = [
    "",
    "10.0.0.2:40001",
    "tcp://",
    "tcp://10.0.0.2",
    "tcp://10.0.0.2:",
    "tcp://10.0.0.2:0",
    "tcp://10.0.0.2:65536",
    "tcp://10.0.0.2:99999999",
    "tcp://10.0.0.2:x",
    "tcp://10.0.0.2:1/path",
    "tcp://:1",
    "tcp://::1:80",
    "ipc://",
    "ipc:///tmp/a\nb",
    "ipc:///tmp/\udc80",
    "inproc://x",
    "http://10.0.0.2:80",
]


@pytest.mark.parametrize("endpoint", BAD_ENDPOINTS)
def test_bad_endpoints(endpoint: str) -> None:
    with pytest.raises(ValueError, match="no endpoint of a process"):
        Pid(bytes(16), endpoint)
    with pytest.raises(ValueError, match="not the full form of a Pid"):
        Pid.parse(f"{bytes(16).hex()}@{endpoint}")


@pytest.mark.parametrize("key", [b"", bytes(15), bytes(17), bytearray(16), "0" * 16, None])
def test_bad_keys(key: bytes) -> None:
    with pytest.raises(ValueError, match="the key of a Pid is 16 bytes"):
        Pid(key, TCP)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3fecd01",
        "@",
        bytes(16).hex(),
        f"{bytes(15).hex()}@{TCP}",
        f"{'g' * 32}@{TCP}",
        f" {bytes(16).hex()}@{TCP}",
    ],
)
def test_bad_text(text: str) -> None:
    with pytest.raises(ValueError, match="looks like '3fecd01") as caught:
        Pid.parse(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("other", [3, None, bytes(16), Pid(bytes(16), TCP)])
def test_what_is_no_text(other: Any) -> None:
    with pytest.raises(TypeError) as caught:
        Pid.parse(other)
    assert str(caught.value) == (
        "Pid.parse() takes the full form of a Pid as text, such as "
        f"'3fecd01b7a5f4c0e9d2846b15c7e80aa@tcp://10.0.0.2:40001', not {other!r}"
    )


@given(st.text(max_size=60))
def test_any_text_is_a_pid_or_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="full form"):
        Pid.parse(text)
