"""The checks in conftest.py themselves: a test that leaks fails, and its failure names the leak."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LEAKS = {
    "thread": "thread leaked-thread",
    "descriptor": "descriptor ",
    "child": "child process ",
    "orphan": "process ",
    "context": "ZeroMQ context ",
    "directory": "runtime directory ",
}
if sys.platform == "linux":
    LEAKS["mapping"] = "mapping of "

PROGRAM = """
import mmap, os, subprocess, sys, tempfile, threading
import pytest, zmq

kept = []

def test_thread():
    gate = threading.Event()
    kept.append(gate)
    threading.Thread(target=gate.wait, name="leaked-thread", daemon=True).start()

def test_descriptor():
    os.pipe()

@pytest.mark.skipif(sys.platform != "linux", reason="memfds")
def test_mapping():
    fd = os.memfd_create("leaked")
    os.ftruncate(fd, 4096)
    kept.append(mmap.mmap(fd, 4096))
    os.close(fd)

def test_child():
    kept.append(subprocess.Popen(["sleep", "4"]))

def test_orphan():
    subprocess.run(["sh", "-c", "sleep 4 >/dev/null 2>&1 &"], check=True)

def test_context():
    kept.append(zmq.Context())

def test_directory():
    tempfile.mkdtemp(prefix="cst-")

def test_nothing():
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind("ipc://" + tempfile.gettempdir() + "/socket")
    os.unlink(tempfile.gettempdir() + "/socket")
    subprocess.run(["sleep", "0"], check=True)
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()

def test_late_end():
    threading.Timer(0.2, lambda: None).start()

def test_warning():
    import warnings
    warnings.warn("watch out")
"""

HANGS = """
import threading
import pytest

@pytest.mark.slow_ok(1)
def test_hangs_here():
    threading.Event().wait()
"""


def run(directory: Path, program: str) -> subprocess.CompletedProcess[str]:
    conftest = Path(__file__).with_name("conftest.py").read_text()
    (directory / "conftest.py").write_text(conftest.replace("PATIENCE = 10.0", "PATIENCE = 0.4"))
    (directory / "test_program.py").write_text(program)
    (directory / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA"],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "COLUMNS": "200"},
        check=False,
    )


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run(tmp_path_factory.mktemp("leaks"), PROGRAM).stdout


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_fails_its_test_and_is_named(output: str, name: str) -> None:
    error = output.partition(f"ERROR at teardown of test_{name} ")[2].partition("\n____")[0]
    assert "the test leaked" in error, output
    assert f"  {LEAKS[name]}" in error


@pytest.mark.parametrize("name", ["nothing", "late_end"])
def test_what_leaks_nothing_passes(output: str, name: str) -> None:
    assert f"teardown of test_{name} " not in output, output
    assert f"PASSED test_program.py::test_{name}" in output


def test_a_warning_is_an_error(output: str) -> None:
    assert "FAILED test_program.py::test_warning - UserWarning: watch out" in output


def test_a_hang_shows_its_stacks_and_ends_the_run(tmp_path: Path) -> None:
    done = run(tmp_path, HANGS)
    assert done.returncode != 0
    assert "Timeout" in done.stderr
    assert "in test_hangs_here" in done.stderr
