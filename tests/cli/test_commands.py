from __future__ import annotations

import importlib.metadata
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from constellation.cli.commands import ENTRY_POINTS, Command, Commands
from constellation.cli.main import constellation
from constellation.cli.options import (
    KeyOptions,
    format_option,
    key_options,
    verbose_option,
    version_option,
)
from constellation.errors import ConstellationError, SettingsError
from constellation.settings import Format
from constellation.version import VERSION


def run(command: click.Command, *arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(command, arguments, prog_name="constellation")


def failing(error: BaseException) -> click.Command:
    @click.command(cls=Command)
    def command() -> None:
        raise error

    return command


class Configured(ConstellationError):
    exit_code = 2


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ConstellationError("why"), 1, "Error: why\n"),
        (ConstellationError(), 1, "Error: ConstellationError\n"),
        (Configured("why"), 2, "Error: why\n"),
        (
            SettingsError("X", "y", "z"),
            2,
            "Error: the environment variable X is 'y', but must be z\n",
        ),
    ],
)
@pytest.mark.parametrize("grouped", [True, False])
def test_errors_of_ours_are_one_line(
    error: ConstellationError, code: int, told: str, grouped: bool
) -> None:
    command = failing(error)
    if grouped:
        group = Commands(lazy={})
        group.add_command(command, "do")
        result = run(group, "do")
    else:
        result = run(command)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", told)


def test_errors_of_the_program_keep_their_traceback() -> None:
    result = run(failing(ZeroDivisionError()))
    assert isinstance(result.exception, ZeroDivisionError)


def test_ctrl_c() -> None:
    result = run(failing(KeyboardInterrupt()))
    assert (result.exit_code, result.output) == (130, "")


@pytest.mark.parametrize("grouped", [True, False])
def test_ctrl_c_while_the_arguments_are_read(grouped: bool) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    option = click.Option(["--option"], callback=interrupted)
    command = Commands(lazy={}, params=[option]) if grouped else Command("do", params=[option])
    result = run(command, "--option", "x", "y")
    assert (result.exit_code, result.output) == (130, "")


# -- where commands come from ---------------------------------------------------------------------


@click.command()
def elsewhere() -> None:
    click.echo("here")


class EntryPoint:
    def __init__(self, name: str, loaded: object) -> None:
        self.name = name
        self.loaded = loaded

    def load(self) -> object:
        return self.loaded


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(**points: object) -> None:
        def found(*, group: str) -> list[EntryPoint]:
            assert group == ENTRY_POINTS
            return [EntryPoint(name, loaded) for name, loaded in points.items()]

        monkeypatch.setattr(importlib.metadata, "entry_points", found)

    install()
    return install


@pytest.mark.usefixtures("installed")
def test_a_command_is_imported_when_it_is_used() -> None:
    group = Commands("group", lazy={"keygen": "constellation.cli.keygen:keygen", "no": "no.such:x"})
    assert run(group, "keygen", "--version").stdout == f"constellation {VERSION}\n"
    with pytest.raises(ModuleNotFoundError):
        group.get_command(click.Context(group), "no")


@pytest.mark.parametrize("words", [(), ("deploy",), ("status",)])
def test_help_is_asked_for_by_a_letter_too(words: tuple[str, ...]) -> None:
    told = run(constellation, *words, "-h").stdout
    assert told == run(constellation, *words, "--help").stdout
    assert told.startswith(" ".join(("Usage: constellation", *words)))


def test_the_commands_of_the_services_are_found(installed: Callable[..., None]) -> None:
    installed(node=elsewhere)
    assert run(constellation, "node").stdout == "here\n"
    assert "  node\n" in run(constellation, "--help").stdout


def test_they_do_not_replace_ours(installed: Callable[..., None]) -> None:
    installed(keygen=elsewhere)
    assert run(constellation, "keygen", "--help").stdout.startswith("Usage: constellation keygen")


def test_what_is_no_command(installed: Callable[..., None]) -> None:
    installed(node=42)
    result = run(constellation, "node")
    assert isinstance(result.exception, TypeError)
    assert "'node' is 42" in str(result.exception)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("keygn", "There is no command 'keygn'. Did you mean 'keygen'?"),
        ("xyz", "There is no command 'xyz'."),
    ],
)
def test_a_command_that_there_is_not(name: str, told: str) -> None:
    result = run(constellation, name)
    assert result.exit_code == 2
    assert result.stderr.endswith(f"\nError: {told}\n")


@pytest.mark.parametrize("arguments", [["--no"], ["keygen", "--no"], ["keygen", "superfluous"]])
def test_what_is_typed_wrongly_exits_2(arguments: list[str]) -> None:
    result = run(constellation, *arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_version_and_help() -> None:
    assert run(constellation, "--version").stdout == f"constellation {VERSION}\n"
    for arguments in (["--help"], ["keygen", "--help"]):
        result = run(constellation, *arguments)
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: constellation ")


@pytest.mark.parametrize("command", [[sys.executable, "-m", "constellation"], ["constellation"]])
def test_it_can_be_called_in_two_ways(command: list[str]) -> None:
    path = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    printed = subprocess.check_output(
        [*command, "--version"], text=True, timeout=60, env={**os.environ, "PATH": path}
    )
    assert printed == f"constellation {VERSION}\n"


# -- options --------------------------------------------------------------------------------------


@click.command(cls=Command)
@format_option
@key_options
@verbose_option
@version_option
def optional(format: Format, key_options: KeyOptions) -> None:  # noqa: A002
    click.echo(f"{format!r} {key_options.key_file} {key_options.insecure}")


@pytest.mark.parametrize(
    ("arguments", "environment", "printed"),
    [
        ([], {}, f"{Format.HUMAN!r} None False\n"),
        (["--format", "json"], {}, f"{Format.JSON!r} None False\n"),
        ([], {"CONSTELLATION_FORMAT": "json"}, f"{Format.JSON!r} None False\n"),
        (
            ["--format", "human"],
            {"CONSTELLATION_FORMAT": "json"},
            f"{Format.HUMAN!r} None False\n",
        ),
        (["--key-file", "x/y"], {}, f"{Format.HUMAN!r} x/y False\n"),
        (["--insecure"], {}, f"{Format.HUMAN!r} None True\n"),
        (["--version"], {}, f"constellation {VERSION}\n"),
    ],
)
def test_options(arguments: list[str], environment: dict[str, str], printed: str) -> None:
    assert run(optional, *arguments, **environment).stdout == printed


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["--format", "xml"], {}, "'xml' is not one of 'human', 'json'"),
        ([], {"CONSTELLATION_FORMAT": "xml"}, "(env var: 'CONSTELLATION_FORMAT'): 'xml' is not"),
        (["--key-file", "x", "--insecure"], {}, "--key-file and --insecure exclude each other."),
    ],
)
def test_wrong_options(arguments: list[str], environment: dict[str, str], told: str) -> None:
    result = run(optional, *arguments, **environment)
    assert result.exit_code == 2
    assert told in result.stderr


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        ([], logging.WARNING),
        (["-v"], logging.INFO),
        (["-vv"], logging.DEBUG),
        (["-v", "--verbose", "-vvvv"], logging.DEBUG),
    ],
)
def test_how_much_is_logged(
    arguments: list[str], level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up: dict[str, Any] = {}
    monkeypatch.setattr(logging, "basicConfig", lambda **options: set_up.update(options))

    @click.command()
    @verbose_option
    def command() -> None:
        pass

    assert run(command, *arguments).exit_code == 0
    assert set_up["level"] == level
    (handler,) = set_up["handlers"]
    assert not handler.formatter.usesTime()


def test_a_signal_while_a_command_runs() -> None:
    program = (
        "import click, time\n"
        "from constellation.cli.commands import Command\n"
        "@click.command(cls=Command)\n"
        "def command():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "command.main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, b"")
