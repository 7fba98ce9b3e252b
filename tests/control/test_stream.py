from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.control.messages import (
    Accept,
    Fork,
    FromMonitor,
    FromProcess,
    Output,
    Ready,
    ToZygote,
)
from constellation.control.stream import MESSAGE_LIMIT, ControlError, MessageStream

Pair = tuple[socket.socket, MessageStream[FromProcess]]


def stream(sock: socket.socket) -> MessageStream[FromProcess]:
    return MessageStream(sock, msgspec.msgpack.Decoder(FromProcess))


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    end = stream(theirs)
    with ours:
        yield ours, end
    end.close()


def raw(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(body)) + body


def test_messages_arrive_whole_and_in_order(pair: Pair) -> None:
    ours, end = pair
    data = raw(Accept(1)) + raw(Ready()) + raw(Accept(2))
    assert end.receive() == []
    received = []
    for byte in data:
        ours.send(bytes([byte]))
        received += end.receive()
    assert received == [Accept(1), Ready(), Accept(2)]


def test_end_of_file_comes_after_the_messages(pair: Pair) -> None:
    ours, end = pair
    ours.send(raw(Accept(1)) + raw(Accept(2))[:-1])
    ours.close()
    assert end.receive() == [Accept(1)]
    for _ in range(2):
        with pytest.raises(EOFError):
            end.receive()


def test_a_peer_that_left_something_unread_is_read_to_the_end(pair: Pair) -> None:
    ours, end = pair
    end.send(Ready())
    ours.send(raw(Accept(1)))
    ours.close()
    assert end.receive() == [Accept(1)]
    with pytest.raises(EOFError):
        end.receive()


def test_sending_to_a_peer_that_is_gone(pair: Pair) -> None:
    ours, end = pair
    ours.close()
    with pytest.raises(ConnectionError):
        end.send(Ready())


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", MESSAGE_LIMIT + 1),
        struct.pack(">I", 0),
        struct.pack(">I", 3) + b"\xc1\xc1\xc1",
        raw(["Accept"]),
        raw(["Accept", "x"]),
        raw(["Go"]),
        raw(7),
    ],
)
def test_a_malformed_message_is_one_error_after_the_good_ones(pair: Pair, data: bytes) -> None:
    ours, end = pair
    ours.send(raw(Ready()) + data)
    assert end.receive() == [Ready()]
    with pytest.raises(ControlError, match="malformed control message"):
        end.receive()


@given(st.binary(max_size=64))
def test_any_bytes_give_messages_or_the_one_error(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    end = stream(theirs)
    with ours:
        ours.send(data)
        ours.shutdown(socket.SHUT_WR)
        try:
            while True:
                end.receive()
        except (EOFError, ControlError):
            pass
    end.close()


def test_send_waits_for_room() -> None:
    ours, theirs = socket.socketpair()
    sender: MessageStream[FromMonitor] = MessageStream(ours, msgspec.msgpack.Decoder(FromMonitor))
    receiver: MessageStream[FromMonitor] = MessageStream(
        theirs, msgspec.msgpack.Decoder(FromMonitor)
    )
    sent = [Output(1, bytes([number]) * 60_000) for number in range(50)]

    def send_all() -> None:
        for message in sent:
            sender.send(message)
        sender.close()

    thread = threading.Thread(target=send_all)
    thread.start()
    received: list[object] = []
    while len(received) < len(sent):
        received += receiver.receive()
    thread.join()
    with pytest.raises(EOFError):
        receiver.receive()
    receiver.close()
    assert received == sent


def test_post_never_waits() -> None:
    ours, theirs = socket.socketpair()
    sender: MessageStream[FromMonitor] = MessageStream(ours, msgspec.msgpack.Decoder(FromMonitor))
    receiver: MessageStream[FromMonitor] = MessageStream(
        theirs, msgspec.msgpack.Decoder(FromMonitor)
    )
    sent = [Output(1, bytes([number]) * 60_000) for number in range(50)]
    for message in sent:
        sender.post(message)
    assert sender.unsent
    received: list[object] = []
    while len(received) < len(sent):
        received += receiver.receive()
        sender.flush()
    assert received == sent
    assert not sender.unsent
    sender.close()
    receiver.close()


def test_descriptors_travel_with_their_message() -> None:
    ours, theirs = socket.socketpair()
    sender: MessageStream[ToZygote] = MessageStream(ours, msgspec.msgpack.Decoder(ToZygote))
    receiver: MessageStream[ToZygote] = MessageStream(
        theirs, msgspec.msgpack.Decoder(ToZygote), descriptors=True
    )
    pipes = [os.pipe() for _ in range(3)]
    identities = [os.fstat(read).st_ino for read, _ in pipes]

    def fork(number: int) -> Fork:
        return Fork(number, b"k" * 16, "ipc:///a", False, False)

    sender.post(fork(1), [pipes[0][0], pipes[1][0]])
    sender.post(fork(2))
    sender.post(fork(3), [pipes[2][0]])
    assert receiver.receive() == [fork(1), fork(2), fork(3)]
    taken = receiver.take_descriptors(2) + receiver.take_descriptors(1)
    assert [os.fstat(descriptor).st_ino for descriptor in taken] == identities
    assert not any(os.get_inheritable(descriptor) for descriptor in taken)
    with pytest.raises(ControlError):
        receiver.take_descriptors(1)
    for descriptor in [*taken, *(write for _, write in pipes)]:
        os.close(descriptor)
    for read, _ in pipes:
        with pytest.raises(OSError):  # sent, so no longer open here
            os.fstat(read)
    sender.close()
    receiver.close()


def test_close_closes_what_was_not_sent_or_not_taken() -> None:
    ours, theirs = socket.socketpair()
    sender: MessageStream[ToZygote] = MessageStream(ours, msgspec.msgpack.Decoder(ToZygote))
    receiver: MessageStream[ToZygote] = MessageStream(
        theirs, msgspec.msgpack.Decoder(ToZygote), descriptors=True
    )
    read, write = os.pipe()
    sender.post(Fork(1, b"k" * 16, "ipc:///a", False, False), [os.dup(write)])
    receiver.receive()
    while not sender.unsent:
        sender.post(Fork(2, b"k" * 16, "x" * 60_000, False, False))
    sender.post(Fork(3, b"k" * 16, "ipc:///a", False, False), [os.dup(write)])
    os.close(write)
    sender.close()
    receiver.close()
    assert os.read(read, 1) == b""
    os.close(read)


def test_what_is_offered_is_written_at_once_or_not_at_all() -> None:
    ours, theirs = socket.socketpair()
    writer = MessageStream(ours, msgspec.msgpack.Decoder(FromMonitor))
    reader = MessageStream(theirs, msgspec.msgpack.Decoder(ToZygote), descriptors=True)
    fork = Fork(number=1, key=b"k" * 16, endpoint="ipc://x", initial=False, stdin=False)
    read, write = os.pipe()
    assert writer.offer(fork, [read])
    assert reader.receive() == [fork]
    (received,) = reader.take_descriptors(1)
    os.write(write, b"x")
    assert os.read(received, 2) == b"x"
    os.close(received)
    with pytest.raises(BrokenPipeError):
        os.write(write, b"nobody has the other end")
    while not writer.unsent:
        writer.post(fork)
    assert not writer.offer(fork, [write]), "something is before it"
    os.fstat(write)
    while writer.unsent:
        reader.receive()
        writer.flush()
    reader.close()
    assert not writer.offer(fork, [write]), "nobody is there"
    os.close(write)
    writer.close()
