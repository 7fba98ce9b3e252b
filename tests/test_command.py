from __future__ import annotations

import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent

SLOW = """
import sys, time, constellation_command

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == {during!r}:
            print("importing", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, Slow())
sys.argv = ["command", "--version"]
constellation_command.{function}()
"""


def start(during: str, function: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOW.format(during=during, function=function)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("function", ["main", "node_main", "master_main"])
@pytest.mark.parametrize("during", ["constellation.errors", "click"])
def test_ctrl_c_while_it_is_imported(during: str, function: str) -> None:
    with start(during, function) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        out, told = process.communicate(timeout=60)
    assert (process.returncode, out, told) == (130, b"", b"")


@pytest.mark.parametrize("function", ["main", "node_main", "master_main"])
def test_without_that_it_runs(function: str) -> None:
    with start("nothing", function) as process:
        out, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (0, b"")
    assert b"constellation" in out


def test_the_installed_commands_begin_there() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert set(scripts) == {"constellation", "constellation-node", "constellation-master"}
    for script in scripts.values():
        module, _, function = script.partition(":")
        assert module == "constellation_command"
        assert function in import_module(module).__all__
