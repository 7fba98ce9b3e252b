"""What all commands have in common: how they are found, and how they fail."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import click

from constellation.errors import ConstellationError, SettingsError
from constellation.plain import plain_lines

__all__ = ["ENTRY_POINTS", "Command", "Commands"]

ENTRY_POINTS: Final = "constellation.commands"
"""The group of entry points whose names are commands too: those of the services, which the library
does not import."""

_HELP: Final = ["-h", "--help"]

_INTERRUPTED: Final = 130
"""What a shell makes of a command that died of Ctrl-C."""

_Result = TypeVar("_Result")


class Command(click.Command):
    """A command whose errors of ours are one line on stderr."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings.setdefault("help_option_names", _HELP)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the arguments."""
        return _reporting(lambda: super(Command, self).make_context(*args, **kwargs))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        return _reporting(lambda: super(Command, self).invoke(ctx))


class Commands(click.Group):
    """A group of commands that are imported when they are used.

    Args:
        lazy: The names of the commands, and where each is, as ``module:attribute``.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings.setdefault("help_option_names", _HELP)
        self._lazy = dict(lazy)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the arguments."""
        return _reporting(lambda: super(Commands, self).make_context(*args, **kwargs))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, for the help."""
        return sorted({*super().list_commands(ctx), *self._lazy, *_entry_points()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            return command
        if cmd_name in self._lazy:
            module, _, attribute = self._lazy[cmd_name].partition(":")
            return _checked(cmd_name, getattr(importlib.import_module(module), attribute))
        entry_point = _entry_points().get(cmd_name)
        return None if entry_point is None else _checked(cmd_name, entry_point.load())

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments begin with."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, self.list_commands(ctx), 1)
            question = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"There is no command {name!r}.{question}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        return _reporting(lambda: super(Commands, self).invoke(ctx))


class _Failure(click.ClickException):
    """An error of ours, as click shows its own."""

    exit_code = 1


class _Misuse(_Failure):
    """An error of ours in what was typed or configured."""

    exit_code = 2


def _reporting(run: Callable[[], _Result]) -> _Result:
    try:
        return run()
    except ConstellationError as error:
        misused = isinstance(error, SettingsError) or getattr(error, "exit_code", 1) == 2
        kind = _Misuse if misused else _Failure
        raise kind(plain_lines(str(error)) or type(error).__name__) from error
    except KeyboardInterrupt:
        raise click.exceptions.Exit(_INTERRUPTED) from None


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _checked(name: str, command: object) -> click.Command:
    if not isinstance(command, click.Command):
        raise TypeError(f"the command {name!r} is {command!r}, and no command of click")
    return command
