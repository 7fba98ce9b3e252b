"""The same round trips in asyncio, next to pyzmq.asyncio; one event loop drives both."""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import time
from typing import Any

import zmq.asyncio
from bare import FAR, pair

from constellation import Pid, Receiver, Sender, init, spawn


async def obey(parent: Pid) -> None:
    async with Sender[int](parent) as sender, Receiver[int](parent) as receiver:
        async for count in receiver:
            for _ in range(count):
                value = await receiver.recv()
                await sender.send(value)


async def ours(sender: Sender[int], receiver: Receiver[int], count: int) -> float:
    """Seconds of a round trip."""
    await sender.send(count)
    start = time.perf_counter()
    for number in range(count):
        await sender.send(number)
        await receiver.recv()
    return (time.perf_counter() - start) / count


async def bare(socket: Any, count: int) -> float:
    """Seconds of a round trip."""
    await socket.send_multipart([FAR, pickle.dumps(("echo", count))])
    start = time.perf_counter()
    for number in range(count):
        await socket.send_multipart([FAR, pickle.dumps(number)])
        _, frame = await socket.recv_multipart()
        pickle.loads(frame)
    return (time.perf_counter() - start) / count


async def serve() -> None:
    far = await spawn(obey)
    with pair(zmq.asyncio.Context(), "asyncio") as socket:
        async with Sender[int](far) as sender, Receiver[int](far) as receiver:
            # Nothing else happens between two jobs, so the loop may wait for the next.
            for line in sys.stdin:
                job, count = json.loads(line)
                if job == "ours round_trip":
                    seconds = await ours(sender, receiver, count)
                else:
                    seconds = await bare(socket, count)
                print(json.dumps(seconds), flush=True)


def main() -> None:
    init()
    asyncio.run(serve())


if __name__ == "__main__":
    main()
