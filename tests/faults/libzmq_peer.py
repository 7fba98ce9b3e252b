"""Programs that play the other side for ``test_libzmq_facts.py``: one function each, chosen by
name.

Each runs in a process of its own, because what it does ends in a signal, an abort or an exit that
the test has to survive. ``python libzmq_peer.py NAME ARGUMENTS`` prints ``ready`` once it is set
up.
"""

from __future__ import annotations

import resource
import sys

import zmq

#: Keeps contexts from being terminated as their functions return.
KEPT: list[object] = []


def router(context: zmq.Context[zmq.Socket[bytes]], name: bytes) -> zmq.Socket[bytes]:
    """A ROUTER set up as the library's own, less what a test varies."""
    made = context.socket(zmq.ROUTER)
    made.linger = 0
    made.setsockopt(zmq.ROUTING_ID, name)
    made.setsockopt(zmq.ROUTER_MANDATORY, 1)
    return made


def say(text: str) -> None:
    """Tell the test, at once."""
    print(text, flush=True)


def echo(bind: str, connect: str) -> None:
    """Bind ``bind``; unless ``connect`` is ``-``, connect there and say hi; then send all back."""
    here = router(zmq.Context(), b"peer")
    here.bind(bind)
    if connect != "-":
        here.setsockopt(zmq.CONNECT_ROUTING_ID, b"out")
        here.connect(connect)
        here.send_multipart([b"out", b"hi"])
    say("ready")
    while True:
        here.send_multipart(here.recv_multipart())


def adopt(descriptor: str, endpoint: str) -> None:
    """Take over a listening socket that another process bound; answer one message; end with
    stdin."""
    context = zmq.Context()
    here = router(context, b"adopter")
    here.setsockopt(zmq.USE_FD, int(descriptor))
    here.bind(endpoint)
    here.setsockopt(zmq.USE_FD, -1)
    say("ready")
    here.send_multipart(here.recv_multipart())
    sys.stdin.read()  # what is sent just before a close may be lost
    here.close()
    context.term()


def clash(first: str, second: str, order: str) -> None:
    """Two ROUTERs connect to each other, each naming the route by the other's own id.

    ``together``: both connect, then each sends 100 messages; says how many arrived.
    ``in turn``: the second connects when the first one's message has come.
    """
    context = zmq.Context()
    a, b = router(context, b"a"), router(context, b"b")
    a.bind(first)
    b.bind(second)
    a.setsockopt(zmq.CONNECT_ROUTING_ID, b"b")
    a.connect(second)
    if order == "in turn":
        a.send_multipart([b"b", b"hi"])
        b.recv_multipart()
    b.setsockopt(zmq.CONNECT_ROUTING_ID, b"a")
    b.connect(first)
    for number in range(100):
        a.send_multipart([b"b", b"%d" % number])
        b.send_multipart([b"a", b"%d" % number])
    arrived = 0
    while a.poll(500) or b.poll(500):
        for here in (a, b):
            while here.poll(0):
                here.recv_multipart()
                arrived += 1
    say(f"{arrived} of 200")


def duplicate(endpoint: str) -> None:
    """Use one name for two routes."""
    here = router(zmq.Context(), b"peer")
    here.setsockopt(zmq.ROUTER_HANDOVER, 1)
    for _ in range(2):
        here.setsockopt(zmq.CONNECT_ROUTING_ID, b"same")
        here.connect(endpoint)
    say("alive")


def leave(endpoint: str, count: str, size: str, how: str) -> None:
    """Send ``count`` messages, LINGER=-1, and leave the interpreter, with or without closing."""
    context = zmq.Context()
    here = router(context, b"leaver")
    KEPT.extend([context, here])
    here.linger = -1
    here.setsockopt(zmq.SNDHWM, 0)
    here.setsockopt(zmq.CONNECT_ROUTING_ID, b"out")
    here.connect(endpoint)
    for number in range(int(count)):
        here.send_multipart([b"out", b"%d" % number, bytes(int(size))])
    say("ready")
    if how == "close":
        here.close()
        context.term()


def linger(endpoint: str, milliseconds: str) -> None:
    """Send to nobody, then close and terminate with this LINGER."""
    context = zmq.Context()
    here = router(context, b"leaver")
    here.setsockopt(zmq.CONNECT_ROUTING_ID, b"out")
    here.connect(endpoint)
    here.send_multipart([b"out", b"to nobody"])
    say("ready")
    here.close(linger=int(milliseconds))
    context.term()


def crowd(endpoint: str, descriptors: str) -> None:
    """Listen with this soft limit of descriptors and answer; at half a second's silence say how
    many."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(descriptors), int(descriptors)))
    here = router(zmq.Context(), b"crowd")
    here.setsockopt(zmq.BACKLOG, 1000)
    here.bind(endpoint)
    say("ready")
    served = 0
    here.poll(10_000)
    while here.poll(500):
        here.send_multipart(here.recv_multipart())
        served += 1
    say(f"{served}")
    sys.stdin.read()


if __name__ == "__main__":
    {made.__name__: made for made in (echo, adopt, clash, duplicate, leave, linger, crowd)}[
        sys.argv[1]
    ](*sys.argv[2:])
