"""`makefile()`: the two raw files by themselves, and a program with both ends."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import programs
import pytest

from constellation.channel.makefile import ReceiverFile, SenderFile
from constellation.errors import ChannelClosed, ProcessExited
from constellation.pid import Pid

SOMEBODY = Pid.new("ipc:///tmp/somewhere")


class Done:
    def __init__(self, call: Callable[[], Any]) -> None:
        self.block = call


class FakeSender:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.closed = 0

    def send(self, value: bytes) -> Done:
        return Done(lambda: self.sent.append(value))

    def close(self) -> None:
        self.closed += 1


class FakeReceiver:
    def __init__(self, *values: Any) -> None:
        self.values = list(values)
        self.closed = 0

    def recv(self) -> Done:
        return Done(self._next)

    def _next(self) -> Any:
        if not self.values:
            raise ChannelClosed(SOMEBODY)
        value = self.values.pop(0)
        if isinstance(value, Exception):
            raise value
        return value

    def close(self) -> None:
        self.closed += 1


def writer(size: int) -> tuple[io.BufferedWriter, FakeSender]:
    sender = FakeSender()
    return io.BufferedWriter(SenderFile(sender), size), sender  # type: ignore[arg-type]


def reader(*values: Any) -> tuple[io.BufferedReader, FakeReceiver]:
    receiver = FakeReceiver(*values)
    return io.BufferedReader(ReceiverFile(receiver), 16), receiver  # type: ignore[arg-type]


def test_what_is_written_is_sent_when_it_is_flushed_or_the_buffer_is_full() -> None:
    file, sender = writer(8)
    file.write(b"abc")
    assert sender.sent == []
    file.flush()
    assert sender.sent == [b"abc"]
    file.write(b"0123456789")
    file.write(b"")
    assert sender.closed == 0
    file.close()
    assert b"".join(sender.sent) == b"abc0123456789"
    assert b"" not in sender.sent
    assert sender.closed == 1
    file.close()
    assert sender.closed == 1


def test_what_is_sent_is_not_the_writers_memory() -> None:
    sender = FakeSender()
    raw = SenderFile(sender)  # type: ignore[arg-type]
    data = bytearray(b"abc")
    assert raw.write(data) == 3
    data[0] = 0
    assert sender.sent == [b"abc"]
    assert raw.write(memoryview(b"0123")[1:3]) == 2
    assert sender.sent[1] == b"12"
    raw.close()


def test_a_writer_is_a_writer() -> None:
    file, _ = writer(8)
    assert file.writable()
    assert not file.readable()
    assert not file.seekable()
    with pytest.raises(io.UnsupportedOperation):
        file.read()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.write(b"x")


def test_values_are_read_as_one_stream() -> None:
    file, receiver = reader(b"ab\ncd", b"", b"e\n", bytes(40), b"\n")
    assert file.readline() == b"ab\n"
    assert file.read(3) == b"cde"
    assert file.readline() == b"\n"
    assert file.read(41) == bytes(40) + b"\n"
    for _ in range(2):
        assert file.read() == b""
        assert file.read(1) == b""
    assert receiver.closed == 0
    file.close()
    file.close()
    assert receiver.closed == 1
    with pytest.raises(ValueError, match="closed"):
        file.read()


def test_any_value_of_bytes_is_read() -> None:
    file, _ = reader(bytearray(b"ab"), memoryview(b"cd"))
    assert file.read() == b"abcd"
    file.close()


def test_a_reader_is_a_reader() -> None:
    file, _ = reader()
    assert file.readable()
    assert not file.writable()
    assert not file.seekable()
    assert list(file) == []
    file.close()


def test_the_end_of_the_process_is_no_end_of_the_file() -> None:
    file, _ = reader(b"abc", ProcessExited(SOMEBODY))
    assert file.read1() == b"abc"
    with pytest.raises(ProcessExited):
        file.read()
    file.close()


def test_files_over_channels(tmp_path: Path) -> None:
    path = programs.write(
        tmp_path,
        """
        import gc, hashlib, io, os, pickle, threading
        from constellation import *

        DATA = bytes(range(256)) * 20_000

        def upper(parent):
            with Receiver[bytes](parent).makefile() as source:
                with Sender[bytes](parent, codec="raw").makefile() as target:
                    for line in source:
                        target.write(line.upper())

        def bulk(parent):
            with Receiver(parent).makefile() as source, Sender(parent).makefile() as target:
                while data := source.read1():
                    target.write(data)
                    target.flush()

        def half(parent):
            sender = Sender(parent)
            file = sender.makefile()
            file.write(b"half")
            file.flush()
            sender.flush().block()
            os._exit(3)

        def main():
            init()
            child = spawn(upper).block()
            with Sender[bytes](child).makefile() as target:
                text = io.TextIOWrapper(target)
                text.write("one\\ntwo\\n")
                text.write("no end")
                text.flush()
                text.detach()
            with Receiver[bytes](child).makefile() as source:
                print(source.read())

            child = spawn(bulk).block()
            sender = Sender(child)
            target = sender.makefile()
            source = Receiver(child).makefile()
            pickle.dump({"a": 1}, target)
            target.flush()
            print(pickle.load(source))
            def feed():
                target.write(DATA)
                target.close()
            thread = threading.Thread(target=feed)
            thread.start()
            print(hashlib.sha256(source.read()).digest() == hashlib.sha256(DATA).digest())
            thread.join()
            try:
                sender.send(b"x").block()
            except ChannelError:
                print("closed")
            Sender(child).close()

            # A file that is dropped closes the channel, with what was in its buffer.
            child = spawn(bulk).block()
            Sender(child).makefile().write(b"dropped")
            gc.collect()
            with Receiver(child).makefile() as source:
                print(source.read())

            with Receiver(spawn(half).block()).makefile() as source:
                print(source.read(4))
                try:
                    source.read(1)
                except ProcessExited as error:
                    print(error.status.code)

        main()
        """,
    )
    tree = programs.run(path).tree
    assert tree.err == b""
    assert tree.out.decode().splitlines() == [
        "b'ONE\\nTWO\\nNO END'",
        "{'a': 1}",
        "True",
        "closed",
        "b'dropped'",
        "b'half'",
        "3",
    ]
