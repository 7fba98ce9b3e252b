from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import msgspec
import pytest

from constellation.errors import InitError
from constellation.process import command


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Stands in for the program's main module, of the path /program.py."""
    module = ModuleType("__main__")
    module.__file__ = "/program.py"
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def started(monkeypatch: pytest.MonkeyPatch, **fields: object) -> command.Command:
    """As if the program had been started so."""
    changed = msgspec.structs.replace(command._read(), **fields)
    monkeypatch.setattr(command, "_AT_START", changed)
    return changed


@pytest.mark.parametrize(
    ("arguments", "file", "below"),
    [
        (["program.py", "x"], "{start}/program.py", ""),
        (["./program.py"], "{start}/./program.py", ""),
        (["../program.py"], "{start}/below/../program.py", "below"),
        (["-X", "dev", "below/program.py"], "{start}/below/program.py", ""),
        (["below"], "{start}/below/__main__.py", ""),
        (["below.zip"], "{start}/below.zip/__main__.py", ""),
    ],
)
def test_the_path_of_the_script_tells_where_it_was_started(
    arguments: list[str],
    file: str,
    below: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    main: ModuleType,
) -> None:
    (tmp_path / "below").mkdir()
    main.__file__ = file.format(start=tmp_path)
    monkeypatch.chdir("/")
    assert command._directory(arguments) is not None
    directory = os.path.realpath(os.fsdecode(command._directory(arguments) or b""))
    assert directory == os.path.realpath(tmp_path / below)


@pytest.mark.parametrize(
    ("arguments", "file", "spec"),
    [
        (["{start}/program.py"], "{start}/program.py", None),  # absolute
        (["-m", "program", "program.py"], "{start}/program.py", "program"),
        (["-c", "pass"], None, None),
        (["program.py"], "/gone/since/program.py", None),
    ],
)
def test_else_it_is_where_the_program_is(
    arguments: list[str],
    file: str | None,
    spec: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    main: ModuleType,
) -> None:
    main.__file__ = file and file.format(start=tmp_path)
    main.__spec__ = spec and SimpleNamespace(name=spec)  # type: ignore[assignment]
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    given = [each.format(start=tmp_path) for each in arguments]
    assert command._directory(given) == os.fsencode(here)


def test_a_directory_that_was_removed_has_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: ModuleType
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    assert command._directory(["-c", "pass"]) is None


def test_the_label_of_this_process_is_not_another_s(monkeypatch: pytest.MonkeyPatch) -> None:
    label = f"{command.OPTION}=1:2:3"
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", label, "-X", "dev", "x.py", "-X"])
    assert command._read().arguments == [b"-X", b"dev", b"x.py", b"-X"]


@pytest.mark.usefixtures("main")
def test_all_have_one_seed_of_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if name[0] != "_"}
    # Whatever the interpreter of the tests was told about it.
    flags.update(hash_randomization=1, ignore_environment=0)
    monkeypatch.setattr(sys, "flags", SimpleNamespace(**flags))
    started(monkeypatch, environ={b"A": b"1"})
    first, second = command.again(), command.again()
    assert first.seeded
    assert {**first.environ, b"PYTHONHASHSEED": b""} == {b"A": b"1", b"PYTHONHASHSEED": b""}
    assert 0 < int(first.environ[b"PYTHONHASHSEED"]) <= 0xFFFFFFFF
    assert first.environ != second.environ, "each program has its own"


@pytest.mark.usefixtures("main")
@pytest.mark.parametrize("seed", [b"0", b"7", b"random"])
def test_a_seed_that_was_given_stays(monkeypatch: pytest.MonkeyPatch, seed: bytes) -> None:
    before = started(monkeypatch, environ={b"PYTHONHASHSEED": seed})
    assert command.again() == before


@pytest.mark.parametrize(
    ("file", "arguments"), [("<stdin>", [b"-"]), (None, []), (None, [b"-i", b"-q"])]
)
def test_what_was_typed_cannot_be_run_again(
    file: str | None, arguments: list[bytes], monkeypatch: pytest.MonkeyPatch, main: ModuleType
) -> None:
    main.__file__ = file
    started(monkeypatch, arguments=arguments)
    with pytest.raises(InitError, match="typed or read from standard input"):
        command.again()


def test_text_on_the_command_line_can(monkeypatch: pytest.MonkeyPatch, main: ModuleType) -> None:
    main.__file__ = None
    started(monkeypatch, arguments=[b"-c", b"pass"])
    assert command.again().arguments == [b"-c", b"pass"]


@pytest.mark.usefixtures("main")
@pytest.mark.parametrize("executable", ["", None])
def test_without_an_interpreter_nothing_can(
    executable: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(InitError, match="no Python interpreter"):
        command.again()


@pytest.mark.usefixtures("main")
def test_a_frozen_program_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(InitError, match="no Python interpreter"):
        command.again()
