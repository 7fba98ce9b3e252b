"""Bare pyzmq: a ROUTER here, and one in a process of its own, over ipc, or TCP with CURVE.

A value is one `send_multipart` of two frames, the route and its pickle. Run as a program, this is
the process at the other end: it is told what to do, and does it with its own plain loops.
"""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import zmq
import zmq.asyncio

FAR = b"far"


@contextmanager
def pair(context: zmq.Context[Any], mode: str, *, curve: bool = False) -> Iterator[Any]:
    """The socket at this end, whose peer answers on the route `FAR`."""
    with tempfile.TemporaryDirectory() as directory:
        bound = "tcp://127.0.0.1:*" if curve else f"ipc://{directory}/far"
        far = subprocess.Popen([sys.executable, __file__, bound, mode], stdout=subprocess.PIPE)
        socket = open_router(context)
        try:
            assert far.stdout is not None
            endpoint, *key = far.stdout.readline().split()
            if key:
                socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
                (socket.curve_serverkey,) = key
            socket.setsockopt(zmq.CONNECT_ROUTING_ID, FAR)
            socket.connect(endpoint.decode())
            yield socket
            plain = zmq.Socket.shadow(socket.underlying)
            plain.send_multipart([FAR, pickle.dumps(("stop", 0))])
            far.wait()
        finally:
            far.kill()
            far.communicate()
            socket.close(0)
            context.term()


def open_router(context: zmq.Context[Any]) -> Any:
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    return socket


# -- the process at the other end


def echo(socket: Any, count: int) -> None:
    for _ in range(count):
        route, frame = socket.recv_multipart()
        value = pickle.loads(frame)
        socket.send_multipart([route, pickle.dumps(value)])


def sink(socket: Any, count: int) -> None:
    route = b""
    for _ in range(count):
        route, frame = socket.recv_multipart()
        pickle.loads(frame)
    socket.send_multipart([route, pickle.dumps(None)])


def arrays(socket: Any, count: int) -> None:
    import numpy as np
    from touch import touch

    total = 0.0
    route = b""
    for _ in range(count):
        frames = socket.recv_multipart(copy=False)
        route = frames[0].bytes
        total += touch(np.frombuffer(frames[1].buffer))
    socket.send_multipart([route, pickle.dumps(total)])


def several_bytes(socket: Any, count: int) -> None:
    from touch import touch_bytes

    total = 0
    route = b""
    for _ in range(count):
        route, frame = socket.recv_multipart()
        total += touch_bytes(frame)
    socket.send_multipart([route, pickle.dumps(total)])


def pickled_arrays(socket: Any, count: int) -> None:
    from touch import touch

    total = 0.0
    route = b""
    for _ in range(count):
        route, frame = socket.recv_multipart()
        total += touch(pickle.loads(frame))
    socket.send_multipart([route, pickle.dumps(total)])


def pickled_bytes(socket: Any, count: int) -> None:
    from touch import touch_bytes

    total = 0
    route = b""
    for _ in range(count):
        route, frame = socket.recv_multipart()
        total += touch_bytes(pickle.loads(frame))
    socket.send_multipart([route, pickle.dumps(total)])


async def echo_asyncio(socket: Any, count: int) -> None:
    for _ in range(count):
        route, frame = await socket.recv_multipart()
        value = pickle.loads(frame)
        await socket.send_multipart([route, pickle.dumps(value)])


def listen(socket: Any, endpoint: str) -> None:
    """Bind the socket, and say where, and with which key."""
    words = []
    if endpoint.startswith("tcp:"):
        public, secret = zmq.curve_keypair()
        socket.curve_server, socket.curve_secretkey = True, secret
        words = [public.decode()]
    socket.bind(endpoint)
    print(socket.last_endpoint.decode(), *words, flush=True)


def obey(endpoint: str) -> None:
    jobs: dict[str, Callable[[Any, int], None]] = {
        "echo": echo,
        "sink": sink,
        "arrays": arrays,
        "bytes": several_bytes,
        "pickled arrays": pickled_arrays,
        "pickled bytes": pickled_bytes,
    }
    with zmq.Context() as context, open_router(context) as socket:
        listen(socket, endpoint)
        while True:
            _, frame = socket.recv_multipart()
            job, count = pickle.loads(frame)
            if job == "stop":
                return
            jobs[job](socket, count)


async def obey_asyncio(endpoint: str) -> None:
    with zmq.asyncio.Context() as context, open_router(context) as socket:
        listen(socket, endpoint)
        while True:
            _, frame = await socket.recv_multipart()
            job, count = pickle.loads(frame)
            if job == "stop":
                return
            await echo_asyncio(socket, count)


if __name__ == "__main__":
    if sys.argv[2] == "asyncio":
        asyncio.run(obey_asyncio(sys.argv[1]))
    else:
        obey(sys.argv[1])
