"""A service that echoes, and on each line of its input says how it is.

Its one argument is the descriptor that it gets the key of the cluster over.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

import psutil
import zmq

from constellation.address import Address
from constellation.security.keypair import receive_key
from constellation_daemons.entrance import Entrance


def main() -> None:
    descriptor = int(sys.argv[1])
    keypair = receive_key(descriptor)
    os.close(descriptor)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    lines: list[str] = []
    entrance = Entrance(context, keypair, tell=lines.append)
    listener = entrance.open(zmq.ROUTER, Address("127.0.0.1", 0))
    router = listener.socket
    taken: list[str] = []
    us = psutil.Process()

    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    for each in [0, *entrance.descriptors()]:
        poller.register(each, zmq.POLLIN)
    print(listener.address, flush=True)
    while True:
        wait = None
        if entrance.deadline is not None:
            wait = max(0.0, entrance.deadline - time.monotonic()) * 1000
        ready = dict(poller.poll(wait))
        entrance.serve()
        with contextlib.suppress(zmq.Again):
            while True:
                message = router.recv_multipart(zmq.NOBLOCK)
                taken.append(message[-1].decode(errors="replace"))
                router.send_multipart(message)
        if 0 in ready:
            if not sys.stdin.readline():
                break
            state = {
                "descriptors": us.num_fds(),
                "memory": us.memory_info().rss,
                "taken": taken,
                "lines": lines,
            }
            print(json.dumps(state), flush=True)
    entrance.close()
    context.term()


if __name__ == "__main__":
    main()
