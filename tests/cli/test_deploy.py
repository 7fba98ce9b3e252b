from __future__ import annotations

import dataclasses
import importlib
import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from constellation.address import Address
from constellation.cli.main import constellation
from constellation.control.deployment import Deploy
from constellation.program.pack import Package
from constellation.session.client import MasterError
from constellation.settings import Format


@dataclass
class Asked:
    """What the client was made with."""

    endpoint: str
    security: object
    package: Package
    request: Deploy
    form: Format


class Exited(SystemExit):
    """In place of `os._exit`."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    found: list[Asked] = []

    class Client:
        def __init__(self, *arguments: Any) -> None:
            found.append(Asked(*arguments))

        def run(self) -> int:
            return 7

    def leave(code: int) -> None:
        raise Exited(code)

    import constellation.cli.bridge
    import constellation.cli.client

    def bridge_at(address: Address, _security: object) -> str:
        return address.resolve()[0].endpoint

    monkeypatch.setattr(constellation.cli.bridge, "bridge_at", bridge_at)
    monkeypatch.setattr(constellation.cli.client, "Client", Client)
    monkeypatch.setattr(os, "_exit", leave)
    return found


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prog.py").write_text("")
    (tmp_path / "tool.py").write_text("")
    return "prog.py"


def run(*arguments: str, **environment: str | None) -> Result:
    environment.setdefault("CONSTELLATION_FORMAT", None)
    runner = CliRunner(env=environment)
    return runner.invoke(constellation, ["deploy", *arguments], prog_name="constellation")


def refused(*arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    return done.output


def test_the_address_comes_first_and_the_options_of_the_program_are_its_own(
    asked: list[Asked], program: str
) -> None:
    done = run("10.0.0.1:8888", "--insecure", "--mem", "1 GiB", program, "--mem", "x", "-m", "--")
    assert done.exit_code == 7, done.output
    (each,) = asked
    assert each.endpoint == "tcp://10.0.0.1:8888"
    assert each.security is None
    assert each.request.arguments == [b"prog.py", b"--mem", b"x", b"-m", b"--"]
    assert each.request.mem == 1 << 30
    assert each.request.cpu is None
    assert each.form is Format.HUMAN
    assert each.package.manifest.script == b"prog.py"


def test_the_address_may_come_after_the_options(asked: list[Asked], program: str) -> None:
    done = run("--insecure", "--cpu", "1/2", "--format", "json", "10.0.0.1:8888", program)
    assert done.exit_code == 7, done.output
    (each,) = asked
    assert each.endpoint == "tcp://10.0.0.1:8888"
    assert each.request.arguments == [b"prog.py"]
    assert each.request.cpu == 0.5
    assert each.form is Format.JSON


@pytest.mark.parametrize(
    "own", [["a", "--b"], ["--b", "a"], ["--cpu", "2", "-v"], ["--", "-m"], []]
)
@pytest.mark.parametrize("module", [["-m", "tool"], ["-mtool"]])
def test_a_module_and_its_arguments(
    asked: list[Asked], program: str, module: list[str], own: list[str]
) -> None:
    """Whatever follows it is its own, as for `python -m`."""
    done = run("10.0.0.1:8888", "--insecure", "--cpu", "1", *module, *own)
    assert done.exit_code == 7, done.output
    assert asked[0].request.arguments == [b"-m", b"tool", *(each.encode() for each in own)]
    assert asked[0].request.cpu == 1.0
    assert asked[0].package.manifest.script is None


def test_the_environment(asked: list[Asked], program: str) -> None:
    sent = ("--env", "A=1", "--env", "HOME", "--env", "E=", "--env", "F=x=y")
    done = run("10.0.0.1:8888", "--insecure", *sent, program, B="2", HOME="/h", PATH="/p")
    assert done.exit_code == 7, done.output
    environ = asked[0].request.environ
    expected = {b"A": b"1", b"B": b"2", b"HOME": b"/h", b"E": b"", b"F": b"x=y"}
    assert expected.items() <= environ.items()
    assert b"PATH" not in environ
    assert not any(name.startswith((b"PYTHON", b"CONSTELLATION")) for name in environ)


def test_none_of_the_environment(asked: list[Asked], program: str) -> None:
    done = run("10.0.0.1:8888", "--insecure", "--no-env", "--env", "A=1", program, B="2")
    assert done.exit_code == 7, done.output
    assert asked[0].request.environ == {b"A": b"1"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing the address of a bridge, such as 10.0.0.1:8888."),
        (["10.0.0.1:8888"], "Missing the program that is to run."),
        (["10.0.0.1:8888", "--insecure"], "Missing the program that is to run."),
        (["--insecure"], "Missing the address of a bridge"),
        (["-m", "tool"], "Missing the address of a bridge"),
        (["10.0.0.1:8888", "-m"], "'-m' requires an argument"),
        (["prog.py"], "'prog.py' is no address: it has no port"),
        (["10.0.0.1", "prog.py"], "'10.0.0.1' is no address"),
        (["tcp://10.0.0.1:8888", "prog.py"], "the name of a protocol"),
        (["0.0.0.0:8888", "prog.py"], "0.0.0.0:8888 is where one can listen"),
        (["10.0.0.1:0", "prog.py"], "10.0.0.1:0 is where one can listen"),
        (["10.0.0.1:8888", "--mem", "lots", "prog.py"], "'--mem'"),
        (["10.0.0.1:8888", "--recce", "0", "prog.py"], "'--recce'"),
        (["10.0.0.1:8888", "--recce", "nan", "prog.py"], "'--recce'"),
        (["10.0.0.1:8888", "--cpu", "lots", "prog.py"], "'--cpu'"),
        (["10.0.0.1:8888", "--max-size", "lots", "prog.py"], "'--max-size'"),
        (["10.0.0.1:8888", "--insecure", "--env", "=1", "prog.py"], "expected NAME or NAME=VALUE"),
        (["10.0.0.1:8888", "--insecure", "--env", "NOPE", "prog.py"], "there is no such variable"),
        (["10.0.0.1:8888", "--format", "xml", "prog.py"], "'--format'"),
        (["10.0.0.1:8888", "--insecure", "--key-file", "x", "prog.py"], "exclude each other"),
    ],
)
def test_what_is_typed_wrong_is_told(
    asked: list[Asked], program: str, arguments: list[str], told: str
) -> None:
    assert told in refused(*arguments)
    assert asked == []


@pytest.mark.parametrize("arguments", [["nothing.py"], ["-m", "nothing"], ["."]])
def test_a_program_that_is_not_there(
    asked: list[Asked], program: str, arguments: list[str]
) -> None:
    assert refused("10.0.0.1:8888", "--insecure", *arguments).startswith("Error: ")
    assert asked == []


@pytest.mark.parametrize(("number", "code"), [(socket.EAI_NONAME, 2), (socket.EAI_AGAIN, 1)])
def test_an_unknown_host_is_told(
    asked: list[Asked], program: str, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(number, "it is not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    done = run("node7.example:8888", "--insecure", program)
    assert done.exit_code == code  # 1: the name service may know it another time
    assert "the host name 'node7.example' has no known address: it is not" in done.output


@pytest.mark.parametrize(
    ("key", "mode", "told"),
    [
        (None, 0, "there is none"),
        (b"", 0o644, "others may use it (mode 0644)"),
        (b"junk", 0o600, "it holds no key"),
    ],
)
def test_a_key_that_cannot_be_used(
    asked: list[Asked], program: str, tmp_path: Path, key: bytes | None, mode: int, told: str
) -> None:
    path = tmp_path / "a.key"
    if key is not None:
        path.write_bytes(key)
        path.chmod(mode)
    assert told in refused("10.0.0.1:8888", "--key-file", str(path), program)
    assert asked == []


def test_no_key(asked: list[Asked], program: str, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path.parent / "nobody"), "XDG_CONFIG_HOME": ""}
    done = run("10.0.0.1:8888", program, **home)
    assert done.exit_code == 2
    assert done.output.startswith("Error: there is no key of the cluster")


# -- errors for programs --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["10.0.0.1:8888", "--insecure", "--format", "json", "nothing.py"], "nothing.py"),
        (["10.0.0.1:8888", "--format", "json", "--key-file", "no.key", "prog.py"], "there is none"),
        (["10.0.0.1:8888", "--format", "json"], "Missing the program that is to run."),
        (["10.0.0.1", "--format", "json", "prog.py"], "'10.0.0.1' is no address"),
    ],
)
def test_errors_are_events_where_json_is_wanted(
    asked: list[Asked], program: str, arguments: list[str], told: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    event = json.loads(done.stdout)
    assert event.pop("event") == "error"
    assert told in event.pop("message")
    assert event == {}
    assert done.stdout.count("\n") == 1
    assert done.stdout.isascii()
    assert done.stderr == ""


def test_they_keep_their_exit_code(
    asked: list[Asked], program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object) -> str:
        raise MasterError("nobody listens there")

    monkeypatch.setattr("constellation.cli.bridge.bridge_at", nobody)
    done = run("127.0.0.1:1", "--insecure", program, CONSTELLATION_FORMAT="json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == {"event": "error", "message": "nobody listens there"}
    assert "nobody" not in done.stderr


def test_what_is_noted_of_the_program_is_for_people(
    asked: list[Asked], program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("constellation.cli.deploy")
    pack = module.pack_script

    def noting(*arguments: Any, **named: Any) -> Package:
        package: Package = pack(*arguments, **named)
        return dataclasses.replace(package, notes=("a note",))

    monkeypatch.setattr(module, "pack_script", noting)
    assert "constellation: a note\n" in run("10.0.0.1:8888", "--insecure", program).stderr
    done = run("10.0.0.1:8888", "--insecure", "--format", "json", program)
    assert done.exit_code == 7
    assert "a note" not in done.output


def test_names_that_are_no_text_are_sent_as_they_are(
    asked: list[Asked], program: str, tmp_path: Path
) -> None:
    if sys.platform == "darwin":
        return  # its file systems know only text
    name = os.fsdecode(b"caf\xe9.py")
    (tmp_path / name).write_text("")
    done = run("10.0.0.1:8888", "--insecure", name, name)
    assert done.exit_code == 7, done.output
    assert asked[0].request.arguments == [b"caf\xe9.py", b"caf\xe9.py"]
