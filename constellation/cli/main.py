"""The command ``constellation`` itself."""

from __future__ import annotations

from typing import Final

import click

from constellation.cli.commands import Commands
from constellation.cli.options import version_option

__all__ = ["constellation", "main"]

#: Imported when they are used: no command waits for what only others need.
_COMMANDS: Final = {
    "deploy": "constellation.cli.deploy:deploy",
    "events": "constellation.cli.events:events",
    "keygen": "constellation.cli.keygen:keygen",
    "kill": "constellation.cli.kill:kill",
    "status": "constellation.cli.status:status",
}


@click.group(cls=Commands, lazy=_COMMANDS)
@version_option
def constellation() -> None:
    """Run distributed programs on a cluster, and look after it."""


def main() -> None:
    """Run the command that the arguments say, and exit."""
    constellation.main(prog_name="constellation")
