"""A stream socket that carries control messages, and descriptors with them.

On the wire each message is its length (four bytes, big-endian) and then that many bytes of
MessagePack. What was written is in the kernel and survives a ``kill -9`` of its writer: the reader
gets every whole message, then end-of-file. A message that its writer had no time to finish is
dropped, as if it had never begun.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from constellation.errors import ConstellationError

MESSAGE_LIMIT = 1 << 20
"""The most bytes that a message may have: far above what any of ours needs."""

_READ_AT_ONCE = 1 << 20  # one receive() takes no more, so that one chatty peer starves no other
_CHUNK = 1 << 16
_DESCRIPTORS_AT_ONCE = 16
_HEADER = struct.Struct(">I")
_ANCILLARY = socket.CMSG_SPACE(_DESCRIPTORS_AT_ONCE * array.array("i").itemsize)
# Linux marks received descriptors close-on-exec itself; elsewhere it is done right after.
_RECEIVE_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

M = TypeVar("M")


class ControlError(ConstellationError):
    """The peer of a control stream sent what is no message of that stream."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"malformed control message: {self.reason}"


class MessageStream(Generic[M]):
    """One end of a control stream. It takes ownership of ``sock``.

    Not thread-safe: the caller serialises its use, except that one thread may send while another
    receives.

    Args:
        sock: A connected Unix stream socket.
        decoder: Decodes the union of messages that the peer may send.
        descriptors: Whether the peer may send descriptors with its messages.
    """

    def __init__(
        self,
        sock: socket.SocketType,
        decoder: msgspec.msgpack.Decoder[M],
        *,
        descriptors: bool = False,
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._decoder = decoder
        self._encoder = msgspec.msgpack.Encoder()
        self._descriptors: deque[int] | None = deque() if descriptors else None
        self._incoming = bytearray()
        self._ended = False
        # What post() could not write yet: bytes, and the descriptors that go with their first one.
        self._outgoing: deque[tuple[memoryview, tuple[int, ...]]] = deque()

    def fileno(self) -> int:
        """The socket's descriptor, for a selector."""
        return self._socket.fileno()

    @property
    def unsent(self) -> bool:
        """Whether posted messages wait for the socket to have room."""
        return bool(self._outgoing)

    def send(self, message: object) -> None:
        """Write a message, waiting for room in the socket where there is none.

        Raises:
            ConnectionError: The peer is gone. The message may or may not have been read.
        """
        self.post(message)
        while self._outgoing:
            _wait_for_room(self._socket)
            self.flush()

    def post(self, message: object, descriptors: Sequence[int] = ()) -> None:
        """Write a message without ever waiting; what finds no room is kept for :meth:`flush`.

        Args:
            message: A message of the union that the peer expects.
            descriptors: Go with the message. They are this stream's from here on, and closed when
                they have been sent.

        Raises:
            ConnectionError: The peer is gone.
        """
        body = self._encoder.encode(message)
        data = _HEADER.pack(len(body)) + body
        if not self._outgoing and not descriptors:
            # The common case, without a queue.
            sent = self._write(data)
            if sent == len(data):
                return
            self._outgoing.append((memoryview(data)[sent:], ()))
            return
        self._outgoing.append((memoryview(data), tuple(descriptors)))
        self.flush()

    def offer(self, message: object, descriptors: Sequence[int]) -> bool:
        """Write a message with descriptors now, or not at all.

        Args:
            message: A message of the union that the peer expects.
            descriptors: Go with the message.

        Returns:
            Whether it was written. Then the descriptors are closed; else they are the caller's.
        """
        if self._outgoing:
            return False
        body = self._encoder.encode(message)
        data = memoryview(_HEADER.pack(len(body)) + body)
        try:
            sent = self._write_with(data, tuple(descriptors))
        except OSError:
            return False
        if not sent:
            return False
        if sent < len(data):
            self._outgoing.append((data[sent:], ()))
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def flush(self) -> None:
        """Write what :meth:`post` had to keep, as far as there is room.

        Raises:
            ConnectionError: The peer is gone.
        """
        while self._outgoing:
            data, descriptors = self._outgoing[0]
            sent = self._write_with(data, descriptors) if descriptors else self._write(data)
            if not sent:
                return
            if sent == len(data):
                self._outgoing.popleft()
            else:
                # The descriptors went with the first byte.
                self._outgoing[0] = (data[sent:], ())
            for descriptor in descriptors:
                os.close(descriptor)

    def receive(self) -> list[M]:
        """Take the messages that are there, without waiting.

        Returns:
            What has arrived, in order; an empty list when nothing has. With very much to read it
            stops early: what is left keeps the descriptor readable.

        Raises:
            EOFError: The peer is gone and every message of it was returned before.
            ControlError: The peer sent something malformed. The stream is of no use any more.
        """
        self._read()
        messages = self._decode()
        if self._ended and not messages:
            raise EOFError("the peer has closed the control stream")
        return messages

    def take_descriptors(self, count: int) -> list[int]:
        """Take descriptors that came with the messages received, in the order they were sent.

        Raises:
            ControlError: Fewer have come.
        """
        held = self._descriptors
        if held is None or len(held) < count:
            raise ControlError(f"{count} descriptors announced, {len(held or ())} received")
        return [held.popleft() for _ in range(count)]

    def close(self) -> None:
        """Close the socket, and the descriptors that were not sent or not taken."""
        for _, descriptors in self._outgoing:
            for descriptor in descriptors:
                os.close(descriptor)
        self._outgoing.clear()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._socket.close()

    def _write(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def _write_with(self, data: memoryview, descriptors: tuple[int, ...]) -> int:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            return self._socket.sendmsg([data], ancillary)
        except BlockingIOError:
            return 0

    def _read(self) -> None:
        taken = 0
        while not self._ended and taken < _READ_AT_ONCE:
            try:
                data = self._read_once()
            except BlockingIOError:
                return
            except ConnectionResetError:
                # It closed with something of ours unread. What it wrote has been read by now.
                data = b""
            if data:
                self._incoming += data
                taken += len(data)
            else:
                self._ended = True

    def _read_once(self) -> bytes:
        if self._descriptors is None:
            return self._socket.recv(_CHUNK)
        data, ancillary, flags, _ = self._socket.recvmsg(_CHUNK, _ANCILLARY, _RECEIVE_FLAGS)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                for descriptor in received:
                    os.set_inheritable(descriptor, False)
                self._descriptors.extend(received)
        if flags & socket.MSG_CTRUNC:
            raise ControlError("descriptors were lost on the way: too many, or none free here")
        return data

    def _decode(self) -> list[M]:
        incoming = self._incoming
        end = len(incoming)
        position = 0
        messages: list[M] = []
        with memoryview(incoming) as view:
            while end - position >= _HEADER.size:
                (length,) = _HEADER.unpack_from(view, position)
                start = position + _HEADER.size
                if end - start < length <= MESSAGE_LIMIT:
                    break
                try:
                    if length > MESSAGE_LIMIT:
                        raise ControlError(f"{length} bytes, of {MESSAGE_LIMIT} allowed")
                    messages.append(self._decoder.decode(view[start : start + length]))
                except (ControlError, msgspec.MsgspecError, UnicodeDecodeError) as error:
                    if messages:
                        break  # what came before it is good, and told first
                    if isinstance(error, ControlError):
                        raise
                    raise ControlError(str(error)) from error
                position = start + length
        del incoming[:position]
        return messages


def _wait_for_room(sock: socket.SocketType) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    poll.poll()
