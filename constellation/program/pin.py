"""What of a store is in use, and by whom: files that are locked by who uses it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from constellation.program.disk import create_locked, in_use, write_all

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Pin", "pinned"]

_Sizes = dict[bytes, int]
_decoder = msgspec.msgpack.Decoder(_Sizes)


def pinned(directory: str) -> dict[bytes, int]:
    """What is in use now: by digest the size. The pins of processes that are dead are removed.

    Args:
        directory: Of the pins. Nobody else makes one in it meanwhile.
    """
    found: dict[bytes, int] = {}
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if in_use(path):
            # It may be released at any moment.
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                found.update(_decoder.decode(file.read()))
    return found


class Pin:
    """What is in use, until it is released or the process ends, however it does.

    Args:
        directory: Of the pins.
        sizes: By digest the size of each blob.
    """

    def __init__(self, directory: str, sizes: Mapping[bytes, int]) -> None:
        self._descriptor, self._path = create_locked(directory)
        try:
            write_all(self._descriptor, msgspec.msgpack.encode(sizes))
        except BaseException:  # also an interrupt: nobody else will release it
            self.release()
            raise

    def release(self) -> None:
        """Let others evict it. Whoever does so twice does nothing the second time."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        os.close(self._descriptor)
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
