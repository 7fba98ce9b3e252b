from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator

import pytest
import zmq

from constellation.session.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def test_things_are_done_in_the_order_of_their_times(loop: Loop) -> None:
    done: list[str] = []
    now = time.monotonic()
    loop.at(now + 0.03, lambda: done.append("c"))
    loop.at(now + 0.01, lambda: done.append("a"))
    loop.at(now + 0.02, lambda: done.append("b"))
    loop.at(now + 0.02, lambda: done.append("b2"))
    loop.at(now - 1, lambda: done.append("late"))
    assert loop.run(lambda: len(done) == 5, 5)
    assert done == ["late", "a", "b", "b2", "c"]


def test_what_is_cancelled_is_not_done(loop: Loop) -> None:
    done: list[int] = []
    timers = [loop.after(0.01 * number, lambda n=number: done.append(n)) for number in range(5)]
    timers[3].cancel()
    timers[3].cancel()
    loop.after(0.0, timers[1].cancel)
    assert loop.run(lambda: 4 in done, 5)
    assert done == [0, 2, 4]
    timers[4].cancel()


def test_what_is_done_may_ask_for_more(loop: Loop) -> None:
    count = 0

    def again() -> None:
        nonlocal count
        count += 1
        loop.after(0, again)

    again()
    assert loop.run(lambda: count >= 10, 5)


def test_a_limit_ends_the_wait_and_says_so(loop: Loop) -> None:
    start = time.monotonic()
    assert not loop.run(lambda: False, 0.1)
    assert time.monotonic() - start >= 0.1
    assert loop.run(lambda: True, 0)


def test_who_was_let_go_of_in_the_same_turn_is_not_called(loop: Loop) -> None:
    pipes = [os.pipe() for _ in range(2)]
    called: list[int] = []

    def ready(which: int) -> None:
        called.append(which)
        for read, _ in pipes:
            loop.selector.unregister(read)

    for number, (read, write) in enumerate(pipes):
        loop.selector.register(read, selectors.EVENT_READ, lambda events, n=number: ready(n))
        os.write(write, b"x")
    loop.run(lambda: bool(called), 5)
    assert len(called) == 1
    for pipe in pipes:
        for end in pipe:
            os.close(end)


def test_a_zeromq_socket_is_served_though_its_edge_was_taken(loop: Loop) -> None:
    with (
        zmq.Context() as context,
        context.socket(zmq.PAIR) as ours,
        zmq.Socket(context, zmq.PAIR) as theirs,
    ):
        ours.bind("inproc://x")
        theirs.connect("inproc://x")
        got: list[bytes] = []
        loop.watch_socket(ours, lambda: got.append(ours.recv()))
        for number in range(3):
            theirs.send(b"%d" % number)
        # Sending processes what has come, and the descriptor shows nothing any more.
        loop.after(0, lambda: ours.send(b"x"))
        assert loop.run(lambda: len(got) == 3, 5)
        loop.unwatch(int(ours.getsockopt(zmq.FD)))
