"""Bare pyzmq: a ROUTER here, and one in a process of its own, over ipc.

A value is one `send_multipart` of two frames, the route and its pickle. Run as a program, this is
the process at the other end: it is told what to do, and does it with its own plain loops.
"""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio

FAR = b"far"


@contextmanager
def pair(context: zmq.Context[Any], mode: str) -> Iterator[Any]:
    """The socket at this end, whose peer answers on the route `FAR`."""
    with tempfile.TemporaryDirectory() as directory:
        endpoint = f"ipc://{directory}/far"
        far = subprocess.Popen([sys.executable, __file__, endpoint, mode])
        socket = open_router(context)
        try:
            while not Path(directory, "far").exists():
                time.sleep(0.01)
            socket.setsockopt(zmq.CONNECT_ROUTING_ID, FAR)
            socket.connect(endpoint)
            yield socket
            plain = zmq.Socket.shadow(socket.underlying)
            plain.send_multipart([FAR, pickle.dumps(("stop", 0))])
            far.wait()
        finally:
            far.kill()
            far.wait()
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


async def echo_asyncio(socket: Any, count: int) -> None:
    for _ in range(count):
        route, frame = await socket.recv_multipart()
        value = pickle.loads(frame)
        await socket.send_multipart([route, pickle.dumps(value)])


def obey(endpoint: str) -> None:
    jobs: dict[str, Callable[[Any, int], None]] = {"echo": echo, "sink": sink, "arrays": arrays}
    with zmq.Context() as context, open_router(context) as socket:
        socket.bind(endpoint)
        while True:
            _, frame = socket.recv_multipart()
            job, count = pickle.loads(frame)
            if job == "stop":
                return
            jobs[job](socket, count)


async def obey_asyncio(endpoint: str) -> None:
    with zmq.asyncio.Context() as context, open_router(context) as socket:
        socket.bind(endpoint)
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
