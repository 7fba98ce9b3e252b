"""``constellation deploy``: run a program on a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

import click

from constellation.address import Address
from constellation.cli.commands import Command
from constellation.cli.error_event import error_event
from constellation.cli.options import (
    KeyOptions,
    format_option,
    key_options,
    verbose_option,
    version_option,
)
from constellation.control.deployment import MOST_RECCE, Deploy
from constellation.machine import machine_bound
from constellation.program.ignore import Rules
from constellation.program.pack import MAX_SIZE, Package, pack_module, pack_script
from constellation.settings import Format
from constellation.transport.curve import Curve
from constellation.units import Cpu, Mem

__all__ = ["deploy"]

logger = logging.getLogger(__name__)


class _DeployCommand(Command):
    """The address may come first, before the options; what follows the program is the program's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse them, where the address stands first up to the program: there the options end."""
        if args and not args[0].startswith("-"):
            options, own = self._before_module(args[1:])
            args = ["--address", args[0], *options, *own]
        return super().parse_args(ctx, args)

    def _before_module(self, args: list[str]) -> tuple[list[str], list[str]]:
        """The words up to a `-m MODULE` among the options, and those behind it, if there is one."""
        valued = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag and not option.count
            for name in option.opts
        }
        at = 0
        while at < len(args) and args[at].startswith("-") and args[at] not in ("-", "--"):
            word = args[at]
            at += 2 if word in valued else 1
            if word.startswith("-m") and at <= len(args):
                return args[:at], ["--", *args[at:]]
        return args, []

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Where JSON is printed, what is wrong is told so too."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            if ctx.params["format"] is not Format.JSON:
                raise
            click.echo(error_event(error.format_message()), nl=False)
            raise click.exceptions.Exit(error.exit_code) from error


def _mem(context: click.Context, option: click.Parameter, text: str | None) -> Mem | None:
    try:
        return None if text is None else Mem(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from error


def _cpu(context: click.Context, option: click.Parameter, text: str | None) -> Cpu | None:
    try:
        return None if text is None else Cpu(text)
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from error


def _recce(context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value <= MOST_RECCE:  # also what is no number
        raise click.BadParameter(
            f"{value:g}: expected seconds, more than 0 and at most {MOST_RECCE}", context, option
        )
    return value


@click.command(
    cls=_DeployCommand,
    context_settings={"allow_interspersed_args": False},
    options_metavar="HOST:PORT [OPTIONS]",
)
@click.option("--address", hidden=True)
@click.option("-m", "module", metavar="MODULE", help="Run a module, as `python -m` does.")
@click.option(
    "--mem", metavar="SIZE", callback=_mem, help='What the initial process needs: "200 MiB".'
)
@click.option("--cpu", metavar="CORES", callback=_cpu, help="The same of processors: 0.5.")
@click.option(
    "--recce",
    type=float,
    callback=_recce,
    metavar="SECONDS",
    help="What it may take to come to init(), where it is asked what it needs.  [default: 10]",
)
@click.option("--include", multiple=True, metavar="PATTERN", help="Ship what would be left out.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out more.")
@click.option(
    "--max-size",
    metavar="SIZE",
    default=str(MAX_SIZE),
    show_default=True,
    callback=_mem,
    help="The most that is shipped.",
)
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable for the program, or send one that would stay here.",
)
@click.option("--no-env", is_flag=True, help="Send no variables but those of --env.")
@format_option
@key_options
@verbose_option
@version_option
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="PROGRAM [ARGUMENTS]...")
def deploy(
    address: str | None,
    module: str | None,
    mem: Mem | None,
    cpu: Cpu | None,
    recce: float | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    max_size: Mem,
    variables: tuple[str, ...],
    no_env: bool,
    format: Format,  # noqa: A002
    key_options: KeyOptions,
    program: tuple[str, ...],
) -> None:
    """Run a program on a cluster, with its output, its input and its end here.

    HOST:PORT is where a bridge of the cluster listens: the `bridge_bind` of a node in nodes.toml.
    The program is a script, whose directory is sent, or with -m a module of the working directory.
    What follows it are its own arguments.
    """
    words = list(program)
    if address is None:
        if not words:
            raise click.UsageError("Missing the address of a bridge, such as 10.0.0.1:8888.")
        address = words.pop(0)
    where = _address(address)
    if module is None and not words:
        raise click.UsageError("Missing the program that is to run.")
    rules = Rules(include=include, exclude=exclude)
    package, run = _pack(module, words, rules, max_size)
    if format is Format.HUMAN:  # the other one tells of processes only
        for note in package.notes:
            click.echo(f"constellation: {note}", err=True)
    if package.ignored is not None:
        logger.info("%s", package.ignored)
    keypair = key_options.key(loopback_only=where.is_loopback)
    # Imported now: it takes a while, and what is typed wrong is told before that.
    from constellation.cli.bridge import bridge_at
    from constellation.cli.client import Client

    request = Deploy(
        manifest=package.manifest.encode(),
        arguments=[os.fsencode(each) for each in run],
        environ=_environment(os.environ, variables, none=no_env),
        mem=None if mem is None else int(mem),
        cpu=None if cpu is None else float(cpu),
        recce=recce,
    )
    security = None if keypair is None else Curve(keypair)
    endpoint = bridge_at(where, security)
    client = Client(endpoint, security, package, request, format)
    code = client.run()
    # Whoever reads standard input for us may never come back from it.
    os._exit(code)


def _address(text: str) -> Address:
    try:
        return Address.parse_remote(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _pack(
    module: str | None, words: list[str], rules: Rules, max_size: Mem
) -> tuple[Package, list[str]]:
    """The program, and what it is run with after the interpreter."""
    if module is not None:
        package = pack_module(module, os.getcwd(), rules, max_size=max_size)
        return package, ["-m", module, *words]
    package = pack_script(words[0], rules, max_size=max_size)
    script = package.manifest.script
    assert script is not None
    return package, [os.fsdecode(script), *words[1:]]


def _environment(
    own: Mapping[str, str], variables: Iterable[str], *, none: bool
) -> dict[bytes, bytes]:
    """What of the environment is sent."""
    sent = {} if none else {name: own[name] for name in own if not machine_bound(name)}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not name:
            raise click.UsageError(f"--env {variable}: expected NAME or NAME=VALUE")
        if equals:
            sent[name] = value
        elif name in own:
            sent[name] = own[name]
        else:
            raise click.UsageError(
                f"--env {name}: there is no such variable here; NAME=VALUE sets it"
            )
    return {os.fsencode(name): os.fsencode(value) for name, value in sent.items()}
