from __future__ import annotations

import importlib
import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from constellation.cli.main import constellation
from constellation.security.errors import KeyFileExists
from constellation.security.key_file import make_key_file, read_key_file


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(constellation, ["keygen", *arguments])


def test_it_makes_a_key_where_it_is_looked_for(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    result = run(**home)
    assert (result.exit_code, result.stderr) == (0, "")
    [path] = tmp_path.rglob("cluster.key")
    assert str(path) in result.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keypair = read_key_file(str(path))
    assert keypair.fingerprint in result.stdout
    assert keypair.public.decode() not in result.stdout
    assert keypair.secret.decode() not in result.stdout


def test_it_makes_a_key_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("--key-file", "a.key", "--format", "json")
    keypair = read_key_file("a.key")
    assert json.loads(result.stdout) == {
        "path": str(tmp_path / "a.key"),
        "fingerprint": keypair.fingerprint,
    }


def test_it_leaves_one_that_is_there(tmp_path: Path) -> None:
    path = str(tmp_path / "a.key")
    made = make_key_file(path)
    result = run("--key-file", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: key file {path}: there is one already")
    assert f"with the fingerprint {made.fingerprint}, which was left as it is" in result.stderr
    assert result.stderr.count("\n") == 1
    assert read_key_file(path) == made


def test_it_leaves_what_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.write_text("junk")
    result = run("--key-file", str(path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is one already, which was left as it is" in result.stderr
    assert path.read_text() == "junk"


def test_it_shows_the_one_there_is(tmp_path: Path) -> None:
    path = str(tmp_path / "a.key")
    made = make_key_file(path)
    result = run("--key-file", path, "--show")
    told = f"{path} holds the key with the fingerprint {made.fingerprint}.\n"
    assert (result.exit_code, result.stdout, result.stderr) == (0, told, "")
    printed = json.loads(run("--key-file", path, "--show", "--format", "json").stdout)
    assert printed == {"path": path, "fingerprint": made.fingerprint}
    assert read_key_file(path) == made


def test_it_shows_none_where_there_is_none(tmp_path: Path) -> None:
    result = run("--key-file", str(tmp_path / "a.key"), "--show")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is none; `constellation keygen" in result.stderr
    assert os.listdir(tmp_path) == []
    assert run("--show", "--force").exit_code == 2


@pytest.mark.parametrize("command", [["status"], ["events"], ["kill", "abcd"]])
def test_who_asks_on_loopback_makes_none(tmp_path: Path, command: list[str]) -> None:
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    words = [command[0], "127.0.0.1:1", *command[1:]]
    result = CliRunner(env=home).invoke(constellation, words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: there is no key of the cluster (")
    assert list(tmp_path.rglob("cluster.key")) == []


def test_unless_told_to_replace_it(tmp_path: Path) -> None:
    path = str(tmp_path / "a.key")
    made = make_key_file(path)
    assert run("--key-file", path, "--force").exit_code == 0
    assert read_key_file(path) != made


def test_who_comes_second_shows_the_key_of_who_came_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "a.key")

    def second(path: str, *, replace: bool) -> None:
        assert not replace
        make_key_file(path)
        raise KeyFileExists(path)

    module = importlib.import_module("constellation.cli.keygen")
    monkeypatch.setattr(module, "make_key_file", second)
    result = run("--key-file", path)
    assert result.exit_code == 0
    assert read_key_file(path).fingerprint in result.stdout


def test_two_at_once_have_one_key(tmp_path: Path) -> None:
    path = str(tmp_path / "a.key")
    command = [sys.executable, "-m", "constellation", "keygen", "--key-file", path]

    def one(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(one, range(3)))
    fingerprint = read_key_file(path).fingerprint
    for result in results:
        # One that came when it was all over is told so.
        assert fingerprint in result.stdout or "there is one already" in result.stderr
    assert any(result.returncode == 0 for result in results)
    assert os.listdir(tmp_path) == ["a.key"]


def test_it_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("--key-file", str(tmp_path / "file" / "a.key"))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: key file ")
    assert "Traceback" not in result.stderr
