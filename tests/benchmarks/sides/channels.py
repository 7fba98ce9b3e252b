"""Channels of ours next to bare pyzmq: one process drives both, each with a peer of its own."""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import zmq
from bare import FAR, pair
from serve import serve

from constellation import Pid, Receiver, Sender, WouldBlock, init, spawn

# -- the process at the other end of ours


def obey(parent: Pid) -> None:
    jobs: dict[str, Callable[[Sender[Any], Receiver[Any], int], None]] = {
        "echo": echo,
        "sink": sink,
        "sink_try": sink_try,
        "sink_for": sink_for,
        "arrays": arrays,
        "bytes": several_bytes,
    }
    with Sender[Any](parent) as sender, Receiver[Any](parent) as receiver:
        for job, count in receiver:
            jobs[job](sender, receiver, count)


def echo(sender: Sender[Any], receiver: Receiver[Any], count: int) -> None:
    for _ in range(count):
        value = receiver.recv().block()
        sender.send(value).block()


def sink(sender: Sender[Any], receiver: Receiver[Any], count: int) -> None:
    for _ in range(count):
        receiver.recv().block()
    sender.send(None).block()


def sink_try(sender: Sender[Any], receiver: Receiver[Any], count: int) -> None:
    for _ in range(count):
        try:
            receiver.try_recv()
        except WouldBlock:
            receiver.recv().block()
    sender.send(None).block()


def sink_for(sender: Sender[Any], receiver: Receiver[Any], count: int) -> None:
    if count:
        left = count
        for _ in receiver:
            left -= 1
            if not left:
                break
    sender.send(None).block()


def arrays(sender: Sender[Any], receiver: Receiver[Any], count: int) -> None:
    from touch import touch

    sender.send(sum(touch(receiver.recv().block()) for _ in range(count))).block()


def several_bytes(sender: Sender[Any], receiver: Receiver[Any], count: int) -> None:
    from touch import touch_bytes

    sender.send(sum(touch_bytes(receiver.recv().block()) for _ in range(count))).block()


# -- this end


class Ours:
    """The near end of a channel. Times are in seconds, rates in values or bytes a second."""

    def __init__(self, far: Pid) -> None:
        self._sender = Sender[Any](far)
        self._receiver = Receiver[Any](far)

    def round_trip(self, count: int) -> float:
        sender, receiver = self._sender, self._receiver
        sender.send(("echo", count)).block()
        start = time.perf_counter()
        for number in range(count):
            sender.send(number).block()
            receiver.recv().block()
        return (time.perf_counter() - start) / count

    def throughput(self, count: int, form: str) -> float:
        sender = self._sender
        start = time.perf_counter()
        if form == "try":
            sender.send(("sink_try", count)).block()
            for number in range(count):
                value = (number, "abc")
                try:
                    sender.try_send(value)
                except WouldBlock:
                    sender.send(value).block()
        elif form == "many":
            sender.send(("sink_for", count)).block()
            sender.send_many((number, "abc") for number in range(count)).block()
        else:
            sender.send(("sink", count)).block()
            for number in range(count):
                sender.send((number, "abc")).block()
        self._receiver.recv().block()
        return count / (time.perf_counter() - start)

    def arrays(self, count: int, size: int) -> float:
        import numpy as np

        array = np.arange(size // 8, dtype=np.float64)
        sender = self._sender
        start = time.perf_counter()
        sender.send(("arrays", count)).block()
        for number in range(count):
            array[0] = number
            sender.send(array).block()
        total = self._receiver.recv().block()
        seconds = time.perf_counter() - start
        check(total, array, count)
        return count * size / seconds

    def bytes(self, count: int, size: int) -> float:
        value = a_value(size)
        sender = self._sender
        start = time.perf_counter()
        sender.send(("bytes", count)).block()
        for _ in range(count):
            sender.send(value).block()
        total = self._receiver.recv().block()
        seconds = time.perf_counter() - start
        check_bytes(total, value, count)
        return count * size / seconds


class Bare:
    """The near end of bare pyzmq."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    def round_trip(self, count: int) -> float:
        socket = self._socket
        socket.send_multipart([FAR, pickle.dumps(("echo", count))])
        start = time.perf_counter()
        for number in range(count):
            socket.send_multipart([FAR, pickle.dumps(number)])
            _, frame = socket.recv_multipart()
            pickle.loads(frame)
        return (time.perf_counter() - start) / count

    def throughput(self, count: int) -> float:
        socket = self._socket
        start = time.perf_counter()
        socket.send_multipart([FAR, pickle.dumps(("sink", count))])
        for number in range(count):
            socket.send_multipart([FAR, pickle.dumps((number, "abc"))])
        socket.recv_multipart()
        return count / (time.perf_counter() - start)

    def arrays(self, count: int, size: int) -> float:
        import numpy as np

        array = np.arange(size // 8, dtype=np.float64)
        socket = self._socket
        start = time.perf_counter()
        socket.send_multipart([FAR, pickle.dumps(("arrays", count))])
        for number in range(count):
            array[0] = number
            socket.send_multipart([FAR, array.copy()], copy=False)
        total = pickle.loads(socket.recv_multipart()[1])
        seconds = time.perf_counter() - start
        check(total, array, count)
        return count * size / seconds

    def bytes(self, count: int, size: int) -> float:
        value = a_value(size)
        socket = self._socket
        start = time.perf_counter()
        socket.send_multipart([FAR, pickle.dumps(("bytes", count))])
        for _ in range(count):
            socket.send_multipart([FAR, value], copy=False)
        total = pickle.loads(socket.recv_multipart()[1])
        seconds = time.perf_counter() - start
        check_bytes(total, value, count)
        return count * size / seconds

    def pickled_arrays(self, count: int, size: int) -> float:
        import numpy as np

        array = np.arange(size // 8, dtype=np.float64)
        socket = self._socket
        start = time.perf_counter()
        socket.send_multipart([FAR, pickle.dumps(("pickled arrays", count))])
        for number in range(count):
            array[0] = number
            socket.send_multipart([FAR, pickle.dumps(array)], copy=False)
        total = pickle.loads(socket.recv_multipart()[1])
        seconds = time.perf_counter() - start
        check(total, array, count)
        return count * size / seconds

    def pickled_bytes(self, count: int, size: int) -> float:
        value = a_value(size)
        socket = self._socket
        start = time.perf_counter()
        socket.send_multipart([FAR, pickle.dumps(("pickled bytes", count))])
        for _ in range(count):
            socket.send_multipart([FAR, pickle.dumps(value)], copy=False)
        total = pickle.loads(socket.recv_multipart()[1])
        seconds = time.perf_counter() - start
        check_bytes(total, value, count)
        return count * size / seconds


def a_value(size: int) -> bytes:
    return bytes(range(1, 1 + 64)) * (size // 64)


def check_bytes(total: int, value: bytes, count: int) -> None:
    from touch import touch_bytes

    if total != touch_bytes(value) * count:
        raise AssertionError("other bytes arrived than were sent")


def check(total: float, array: Any, count: int) -> None:
    """Each array that arrived was as it was when it was sent: its first number counts."""
    from touch import touch

    array[0] = 0
    if total != touch(array) * count + sum(range(count)):
        raise AssertionError("other arrays arrived than were sent")


def main() -> None:
    init()
    ours = Ours(spawn(obey).block())
    with pair(zmq.Context(), "blocking", curve="curve" in sys.argv) as socket:
        bare = Bare(socket)
        serve(
            {
                "ours round_trip": ours.round_trip,
                "ours throughput": ours.throughput,
                "ours arrays": ours.arrays,
                "ours bytes": ours.bytes,
                "bare round_trip": bare.round_trip,
                "bare throughput": bare.throughput,
                "bare arrays": bare.arrays,
                "bare bytes": bare.bytes,
                "bare pickled arrays": bare.pickled_arrays,
                "bare pickled bytes": bare.pickled_bytes,
            }
        )


if __name__ == "__main__":
    main()
