"""The progress bar of a transfer, where that takes long enough for one to wonder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from constellation.program.transfer import Progress as Amount

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["TransferBar"]

_AFTER = 1.0  # seconds


class TransferBar:
    """Shows how far a transfer is, from a second after it began, on stderr.

    Args:
        enabled: Whether there is somebody to look at it.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._enabled = enabled
        self._began: float | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def show(self, amount: Amount, now: float) -> None:
        """So much has been sent by now."""
        if not self._enabled or not amount.total:
            return
        if amount.done >= amount.total:
            self.close()
        elif self._began is None:
            self._began = now
        elif self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=amount.done)
        elif now >= self._began + _AFTER:
            self._bar = _bar()
            self._task = self._bar.add_task("", total=amount.total, completed=amount.done)
            self._bar.start()

    def close(self) -> None:
        """There is nothing more to show."""
        self._enabled = False
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar() -> Progress:
    # Imported now: it takes longer than most deployments need for their files.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("sending the program"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
