"""Channels of bytes as files."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from constellation.errors import ChannelClosed

if TYPE_CHECKING:
    from constellation.channel.receiver import Receiver
    from constellation.channel.sender import Sender

__all__ = ["ReceiverFile", "SenderFile"]


class SenderFile(io.RawIOBase):
    """Writes into a channel of bytes.

    Args:
        sender: Takes the bytes.
        end: Closes the channel when the file is closed; else `sender.close()` does.
    """

    def __init__(self, sender: Sender[bytes], end: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._sender = sender
        self._end = sender.close if end is None else end

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def write(self, data: Any) -> int:
        """Send the bytes as one value."""
        chunk = bytes(data)
        if chunk:
            self._sender.send(chunk).block()
        return len(chunk)

    def close(self) -> None:
        """Close the file and the channel."""
        if not self.closed:
            super().close()
            self._end()


class ReceiverFile(io.RawIOBase):
    """Reads a channel of bytes: its end is the end of the file."""

    def __init__(self, receiver: Receiver[bytes]) -> None:
        super().__init__()
        self._receiver = receiver
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Whether it can be read from."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what is left of a value, or with the next one."""
        while not self._left:
            try:
                value: object = self._receiver.recv().block()
            except ChannelClosed:
                return 0
            if not isinstance(value, (bytes, bytearray, memoryview)):
                remote = self._receiver.remote_pid
                raise TypeError(
                    f"a file reads bytes, and {type(value).__qualname__!r} came from pid {remote}"
                )
            self._left = memoryview(value)
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size]
        self._left = self._left[size:]
        return size

    def close(self) -> None:
        """Close the file and the channel."""
        if not self.closed:
            super().close()
            self._receiver.close()
