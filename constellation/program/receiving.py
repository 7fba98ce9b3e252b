"""The end of a transfer where blobs are missing: what to ask for, and what to take. Pure.

The rules are those of :mod:`~constellation.program.transfer`. A blob is in one of three states: it
is lacking and has yet to come, or come again; it is complete, and being verified by the owner; or
it is kept, and forgotten here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from constellation.program.errors import TransferError
from constellation.program.manifest import File, shown
from constellation.program.transfer import (
    ATTEMPTS,
    WINDOW,
    Chunk,
    Done,
    Failed,
    Progress,
    Room,
    ToReceiver,
    Want,
)

__all__ = ["BlobReceiver", "Complete", "Step", "Write"]


@dataclass(frozen=True, slots=True)
class Write:
    """The receiver's owner is to add this to what it has of the content of a file."""

    file: File
    data: bytes


@dataclass(frozen=True, slots=True)
class Complete:
    """The receiver's owner has all of the content of a file, and is to verify and keep it.

    Then it says :meth:`BlobReceiver.kept`, or :meth:`BlobReceiver.spoiled` if it was wrong.
    """

    file: File


Step: TypeAlias = Write | Complete | Want | Room | Done
"""What a receiver's owner does: the messages among them are to be sent."""


class BlobReceiver:
    """The end where blobs are missing.

    Args:
        missing: A file for each of them, in the order in which they are wanted.
        window: How far the sender may be ahead, which both have to agree on.
        after: The number of the last request that this sender has had, of another receiver: it
            takes no notice of the same number again.
    """

    def __init__(self, missing: Iterable[File], *, window: int = WINDOW, after: int = 0) -> None:
        self._lacking = {file.sha256: file for file in missing}  # not kept yet
        self._checked: set[bytes] = set()  # complete, and neither kept nor spoiled yet
        self._spoiled: dict[bytes, int] = {}  # how often
        self._total = sum(file.size for file in self._lacking.values())
        self._window = window
        self._transfer = after
        self._wanted: list[File] = []  # what has yet to come in this transfer, the first one partly
        self._has = 0  # bytes of the first one
        self._received = 0  # bytes of the row, up to which nothing is missing
        self._told = 0  # of those, what the sender knows

    @property
    def done(self) -> bool:
        """Whether all that was missing has been kept."""
        return not self._lacking

    @property
    def requests(self) -> int:
        """The number of the last request."""
        return self._transfer

    @property
    def progress(self) -> Progress:
        """What is here, verified or not, of all that was missing."""
        left = sum(
            file.size for sha256, file in self._lacking.items() if sha256 not in self._checked
        )
        return Progress(self._total - left + self._has, self._total)

    def ask(self) -> list[Step]:
        """Begin, or begin again after a cut or a silence.

        What the owner has of a blob that is not complete it still needs.
        """
        partly = self._wanted[:1] if self._has else []
        others = [
            file
            for sha256, file in self._lacking.items()
            if sha256 not in self._checked and file not in partly
        ]
        self._wanted = partly + [file for file in others if file.size]
        self._transfer += 1
        self._received = self._told = self._has
        steps: list[Step] = []
        for file in others:
            if not file.size:  # there is nothing to wait for
                self._checked.add(file.sha256)
                steps.append(Complete(file))
        if self._wanted:
            digests = tuple(file.sha256 for file in self._wanted)
            steps.append(Want(self._transfer, self._has, digests))
        elif self.done:
            steps.append(Done(self._transfer))
        return steps

    def receive(self, message: ToReceiver) -> list[Step]:
        """Take what the sender has sent.

        Raises:
            TransferError: It cannot go on, or has sent what it may not. Nothing has changed.
        """
        if message.transfer < self._transfer:
            return []
        if message.transfer > self._transfer:
            raise TransferError(
                f"the sender answers request {message.transfer}; the last one was {self._transfer}"
            )
        if type(message) is Failed:
            raise TransferError(f"the other side cannot send the program: {message.reason}")
        assert type(message) is Chunk
        if message.position + len(message.data) <= self._received:
            return []  # it came twice
        if message.position > self._received:
            return self.ask()  # one before it is lost
        return self._take(message)

    def _take(self, chunk: Chunk) -> list[Step]:
        data = chunk.data
        if chunk.position < self._received:
            raise TransferError(
                f"a chunk of {len(data)} bytes at {chunk.position}, some of which came before"
            )
        if not self._wanted or self._has + len(data) > self._wanted[0].size:
            where = shown(self._wanted[0].path) if self._wanted else "everything"
            raise TransferError(f"a chunk of {len(data)} bytes that goes over the end of {where}")
        file = self._wanted[0]
        self._received += len(data)
        self._has += len(data)
        steps: list[Step] = [Write(file, data)]
        if self._has == file.size:
            del self._wanted[0]
            self._has = 0
            self._checked.add(file.sha256)
            steps.append(Complete(file))
        # At the end there is nothing more to have room for.
        if self._wanted and self._received - self._told >= self._window // 2:
            self._told = self._received
            steps.append(Room(self._transfer, self._received))
        return steps

    def kept(self, file: File) -> list[Step]:
        """The content of a file was verified, and is kept."""
        self._checked.remove(file.sha256)
        del self._lacking[file.sha256]
        return [Done(self._transfer)] if self.done else self._again()

    def spoiled(self, file: File) -> list[Step]:
        """The content of a file was not what it should be, and was thrown away.

        Raises:
            TransferError: Too often.
        """
        self._checked.remove(file.sha256)
        times = self._spoiled[file.sha256] = self._spoiled.get(file.sha256, 0) + 1
        if times >= ATTEMPTS:
            raise TransferError(
                f"the content of {shown(file.path)} came {times} times, and never was what it "
                "should be: the file is changed while it is sent, or damaged on the way"
            )
        return self._again()

    def _again(self) -> list[Step]:
        """Ask for what was spoiled, when all else is there."""
        return [] if self._wanted or self._checked else self.ask()
